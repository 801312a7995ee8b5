"""Fidelity within a minute: what pricing systems report of days that are still open, against what was assigned.

The check of a closed day (`analysis.checks.health`) comes a day after the wrong price. This one compares each unit's
latest report with the assignment in force when it was made; both are read already. Units without a report are left to
the check `reporting`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.checks.delivery import fidelity_of
from analysis.panel_data.analysis_context import CODE_VERSION
from analysis.panel_data.assignment_columns import DAY_US, EPOCH, MICROSECOND, Holds, Integers, microseconds
from analysis.panel_data.ledger import MOST_WAITING, Ledger
from analysis.panel_data.study import Study
from analysis.sequential.running_sequences import settings_of
from controller.definition.field_types import market_of
from controller.messages.findings import MOST_NAMED, Health
from controller.messages.inputs import Applied
from controller.time.periods import local_day

CHECK = "fidelity-today"
#: how long a report of the wrong arm may be put right by the next one, and how often reports are judged: together well
#: under the minute within which a wrong price is to be known
GRACE_SECONDS, JUDGE_SECONDS = 30.0, 5.0
#: an assignment that holds was made at most so many days before
DAYS_BACK = 70
#: bits of an instant within a day, in microseconds
DAY_BITS = 37


class Report(NamedTuple):
    """The latest word of a unit's pricing system."""

    #: microseconds since 1970
    at: int
    arm: str
    system: str | None
    #: when it was read, in seconds of the worker's loop
    read_at: float


@dataclass(frozen=True, slots=True)
class Judged:
    """A report beside the assignment that stood."""

    at: int
    day: date
    #: index of the assigned arm
    arm: int
    right: bool
    system: str | None


class LiveFidelity:
    """Judges the reports of open days. ``clock``: seconds, of any origin."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._clock = clock
        #: unit -> its latest report that is not judged yet
        self._fresh: dict[str, Report] = {}
        #: those of them that nothing else had been read of when they were reported
        self._strange = set[str]()
        #: study -> unit -> its latest report that is
        self._judged: defaultdict[tuple[str, int], dict[str, Judged]] = defaultdict(dict)
        self._looked = -JUDGE_SECONDS
        #: studies of which something was judged, but not said because something wrong waits
        self._unsaid = set[tuple[str, int]]()
        #: experiment -> what was said last, but for the instant
        self._said: dict[tuple[str, int], tuple[object, ...]] = {}

    def heard(self, message: Applied) -> None:
        """Take a report in; only the latest of a unit counts."""
        unit, at = message.unit, microseconds(message.applied_at)
        known = self._fresh.get(unit)
        if known is None and not self._placed(unit):
            if len(self._strange) >= MOST_WAITING:
                return
            self._strange.add(unit)
        if known is None or at >= known.at:
            self._fresh[unit] = Report(at, message.arm, message.system, self._clock())

    def findings(self) -> Iterator[Health]:
        """What is new; call it once everything was read that the brokers had. At most every `JUDGE_SECONDS`."""
        now = self._clock()
        if not self._fresh or now - self._looked < JUDGE_SECONDS:
            return
        self._looked = now
        changed, undecided = self._judge(now)
        for key in sorted(changed):
            found = self._finding(self._ledger.studies[key])
            # All is well only once nothing wrong waits for its next report: not for a while after each restart.
            if found is not None and (found.verdict != "pass" or key not in undecided):
                said = (found.verdict, found.value, found.units, found.systems)
                if self._said.get(key) != said:
                    self._said[key] = said
                    yield found

    def _judge(self, now: float) -> tuple[set[tuple[str, int]], set[tuple[str, int]]]:
        """Judge what is fresh; a wrong one stays for a moment, that the next one may replace it.

        Returns the studies of which something was judged since they were last found well, and those of which something
        wrong waits.
        """
        markets: defaultdict[str, list[str]] = defaultdict(list)
        for unit in self._fresh:
            markets[market_of(unit)].append(unit)
        by_number = {study.number: study for study in self._ledger.studies.values()}
        changed, undecided = self._unsaid, set[tuple[str, int]]()
        for market, units in markets.items():
            book = self._ledger.books.get(market)
            known = [] if book is None else [unit for unit in units if unit in book.rows.slots]
            for unit in set(units) - set(known):
                self._drop(unit, now)
            if book is None or not known:
                continue
            slots = np.array([book.rows.slots[unit] for unit in known], dtype=np.int64)
            instants = np.array([self._fresh[unit].at for unit in known], dtype=np.int64)
            study_of, arm_of, expires = standing_at(book.assignments, slots, instants)
            for place, unit in enumerate(known):
                study, report = by_number.get(int(study_of[place])), self._fresh[unit]
                if study is None or market not in study.columns:
                    self._drop(unit, now)
                    continue
                day = local_day(EPOCH + report.at * MICROSECOND, study.roster.time_zones[market])
                if day <= book.closed_through or not study.first_day <= day <= study.last_day:
                    self._forget(unit)
                    continue
                arm = study.arm_numbers.get(int(arm_of[place]), 0) if expires[place] > report.at else 0
                right = study.arms.get(report.arm) == arm
                if not right and now - report.read_at < GRACE_SECONDS:
                    undecided.add(study.key)
                    continue
                self._forget(unit)
                self._judged[study.key][unit] = Judged(report.at, day, arm, right, report.system)
                changed.add(study.key)
        self._unsaid = changed & undecided
        return set(changed), undecided

    def _drop(self, unit: str, now: float) -> None:
        """A report of which nothing is known: its assignment may be on its way."""
        if now - self._fresh[unit].read_at >= GRACE_SECONDS:
            self._forget(unit)

    def _forget(self, unit: str) -> None:
        del self._fresh[unit]
        self._strange.discard(unit)

    def _placed(self, unit: str) -> bool:
        book = self._ledger.books.get(market_of(unit))
        return book is not None and unit in book.rows.slots

    def _finding(self, study: Study) -> Health | None:
        """The check on the latest day that anything was reported of."""
        everything = self._judged[study.key]
        day = max(judged.day for judged in everything.values())
        # Markets begin their days at different instants: yesterday's report still counts where it is yesterday.
        kept = {unit: judged for unit, judged in everything.items() if judged.day >= day - timedelta(days=1)}
        self._judged[study.key] = kept
        experiment = study.roster.experiment
        cells, hits = np.zeros((2, len(experiment.arms), 1), dtype=np.int64)
        for judged in kept.values():
            cells[judged.arm, 0] += 1
            hits[judged.arm, 0] += judged.right
        check = fidelity_of(cells, hits, [str(day)], [arm.name for arm in experiment.arms])
        wrong = sorted(unit for unit, judged in kept.items() if not judged.right)
        systems = sorted({system for unit in wrong if (system := kept[unit].system) is not None})
        return Health(
            experiment=experiment.name,
            experiment_version=experiment.version,
            design_hash=study.roster.design_hash,
            check=CHECK,
            value=check.value,
            threshold=check.threshold,
            verdict=check.verdict,
            what_to_do=check.what_to_do,
            evidence=check.evidence[:500],
            cells=len(kept),
            left_out={},
            settings=settings_of(experiment),
            through=None,
            watermark=None,
            offsets={},
            revision=0,
            computed_at_event_time=EPOCH + max(judged.at for judged in kept.values()) * MICROSECOND,
            code_version=CODE_VERSION,
            units=tuple(wrong[:MOST_NAMED]),
            systems=tuple(systems[:MOST_NAMED]),
        )


def standing_at(holds: Holds, slots: Integers, instants: Integers) -> tuple[Integers, Integers, Integers]:
    """(n,) study, arm and end of the lease of the assignment that stood over each slot at an instant of its own.

    -1 where none did. Goes back day by day from the latest instant until all are found, `DAYS_BACK` at most.
    """
    study, arm, expires = (np.full(len(slots), -1, dtype=np.int64) for _ in range(3))
    missing = np.arange(len(slots))
    latest = int(instants.max()) // DAY_US if len(slots) else 0
    for number in sorted((n for n in holds.buckets if latest - DAYS_BACK <= n <= latest), reverse=True):
        rows = holds.buckets[number].sorted()
        if not len(missing):
            break
        begin = number * DAY_US
        order = np.argsort(rows["slot"], kind="stable")  # within a slot they stay as they stand: the last one holds
        keys = _keyed(rows["slot"][order], rows["effective_at"][order], begin)
        asked = np.minimum(instants[missing], begin + DAY_US - 1)
        open_yet = asked >= begin
        place = np.searchsorted(keys, _keyed(slots[missing], np.maximum(asked, begin), begin), side="right") - 1
        hit = open_yet & (place >= 0)
        hit[hit] = rows["slot"][order[place[hit]]] == slots[missing[hit]]
        found, row = missing[hit], order[place[hit]]
        study[found], arm[found], expires[found] = rows["study"][row], rows["arm"][row], rows["expires_at"][row]
        missing = missing[~hit]
    return study, arm, expires


def _keyed(slots: NDArray[np.integer], instants: NDArray[np.integer], begin: int) -> Integers:
    """Slot and instant of the day as one number."""
    return (slots.astype(np.int64) << DAY_BITS) | (instants.astype(np.int64) - begin)
