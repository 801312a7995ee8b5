"""What the analysis worker costs: a closed day, a start, a thousand experiments, an exact test.

Run: python -m benchmarks.worker.worker [--units N] [--days N] [--experiments N] [--only NAME] [--json] [--profile]

``refresh``: N units (100,000), each a cluster of its own, held for N days (90) of random days; one more day closes, and
all that is due of three metrics is computed: estimates, running sequences, checks. ``start``: the same from a snapshot
on the disk, up to being ready to publish. ``many``: a thousand small experiments in twenty markets, one more day each,
in one process and in two. ``exact``: the test over 10,000 redraws, 100 clusters and 60 days, drawing included.
"""

import argparse
import cProfile
import json
import os
import pstats
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from rich.console import Console
from rich.table import Table

from analysis.panel_data.assignment_columns import COLUMNS, Bucket, microseconds, packed
from analysis.panel_data.ledger import Ledger
from analysis.panel_data.sales_columns import Day
from analysis.panel_data.study import number_of
from analysis.randomised.cluster_day import cluster_day_difference
from analysis.randomised.randomisation_test import randomization_test
from analysis.worker.analyse import Finding, Mark, Share, due, key, mark_of
from analysis.worker.parallel import share_of
from analysis.worker.snapshot import Snapshot, load, save
from analysis.worker.worker import BATCH
from controller.definition.experiment import Arm, Experiment, Market, PriceRule, design_hash
from controller.errors import UnreadableMessage
from controller.messages.codec import GivenHeaders, decode_many, encode
from controller.messages.events import Assignment, Estimate, PeriodClosed, Reason, Registered, UnitDay
from controller.schedule.calendar import calendar
from controller.schedule.redraw import redraws
from controller.time.periods import period

START = date(2026, 3, 2)
ZONE = "Europe/Vienna"
#: what a thousand experiments hold before they are measured: to settle a month of 20,000 market-days takes minutes
DAYS_OF_MANY = 14
#: headers and value of records as they lie in Kafka
Sent = list[tuple[GivenHeaders, bytes]]


@dataclass(frozen=True, slots=True)
class Taken:
    """Seconds that passed, and seconds of processor time of this process: the latter hardly move with other load."""

    passed: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Measured:
    """One figure."""

    what: str
    taken: Taken
    #: what it must be under; None where it is only told
    bar: float | None
    note: str = ""


def experiment(
    name: str, markets: tuple[str, ...], products: int, days: int, clusters: str, *, first: int = 0
) -> Experiment:
    """Random days, two arms; products counted from ``first``."""
    return Experiment(
        name=name,
        currency="EUR",
        units=tuple(f"{market}/p{k:06d}" for market in markets for k in range(first, first + products)),
        markets=tuple(Market(name=market, time_zone=ZONE) for market in markets),
        clusters=clusters,  # type: ignore[arg-type]
        arms=(Arm(name="control"), Arm(name="low", price=PriceRule(percent=Decimal(-10)))),
        start=START,
        days=days,
        seed="benchmark",
    )


def registered(definition: Experiment) -> Registered:
    return Registered(
        id=definition.name,
        experiment=definition,
        design_hash=design_hash(definition),
        registered_at=period(START - timedelta(days=1), ZONE).start,
    )


def held(definitions: list[Experiment], days: int, rng: np.random.Generator) -> Ledger:
    """A ledger that read all of it: the columns are filled at once, because decoding is measured on the last day."""
    ledger = Ledger()
    for definition in definitions:
        ledger.fold(registered(definition))
    placed = _placed(ledger, definitions)
    for k in range(days):
        _fill(ledger, definitions, placed, START + timedelta(days=k), rng)
    for market in list(ledger.books):
        for k in range(days):
            ledger.fold(closing(ledger, market, START + timedelta(days=k)))
    return ledger


#: market -> slots, numbers of experiments, places among all clusters of the experiments
Placed = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]


def _placed(ledger: Ledger, definitions: list[Experiment]) -> Placed:
    """Where the units of all experiments stand."""
    found: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
    first = 0
    for definition in definitions:
        number, of = number_of(f"{definition.name}.{definition.version}"), definition.cluster_by_unit()
        place = {cluster: first + k for k, cluster in enumerate(definition.cluster_names())}
        first += len(place)
        for market, units in definition.units_by_market().items():
            slots = ledger.books[market].rows.slots_of(units)
            clusters = np.array([place[of[unit]] for unit in units])
            found.setdefault(market, []).append((slots, np.full(len(units), number), clusters))
    return {
        market: (
            np.concatenate([part[0] for part in parts]),
            np.concatenate([part[1] for part in parts]),
            np.concatenate([part[2] for part in parts]),
        )
        for market, parts in found.items()
    }


def _fill(ledger: Ledger, definitions: list[Experiment], placed: Placed, day: date, rng: np.random.Generator) -> None:
    """One more day of sales and assignments: exact halves of each experiment's clusters treated."""
    span = period(day, ZONE)
    treated = np.concatenate(
        [rng.permutation(len(names)) < len(names) // 2 for one in definitions for names in [one.cluster_names()]]
    )
    for market, (slots, studies, clusters) in placed.items():
        book = ledger.books[market]
        _sell(ledger, market, day, len(book.rows.slots), slots, rng)
        columns: dict[str, Any] = {
            "effective_at": microseconds(span.start),
            "epoch": 1,
            "sequence": (day - START).days,
            "expires_at": microseconds(span.end),
            "study": studies,
            "arm": np.where(treated[clusters], number_of("low"), number_of("control")),
            "code": number_of("scheduled"),
            "slot": slots,
        }
        bucket = book.assignments.buckets.setdefault(microseconds(span.start) // 86_400_000_000, Bucket())
        bucket.columns = tuple(packed(np.broadcast_to(np.int64(columns[name]), slots.shape)) for name in COLUMNS)


def _sell(ledger: Ledger, market: str, day: date, known: int, slots: np.ndarray, rng: np.random.Generator) -> None:
    columns: Any = (np.zeros(known, kind) for kind in 3 * (np.int64,) + 3 * (np.int32,))
    held = Day(*columns)
    held.revision[:] = -1
    quantity = rng.poisson(5, len(slots))
    held.quantity[slots], held.revenue[slots], held.cost[slots] = quantity, 3 * quantity, 2 * quantity
    held.events[slots], held.revision[slots] = 1, 0
    held.rows, held.total_events = int((held.revision >= 0).sum()), int(held.events.sum())
    ledger.books[market].rows.days[day] = held


def closing(ledger: Ledger, market: str, day: date) -> PeriodClosed:
    held, span = ledger.books[market].rows.days[day], period(day, ZONE)
    return PeriodClosed(
        market=market,
        day=day,
        watermark=span.end + timedelta(minutes=15),
        offsets={"0": (day - START).days},
        unit_days=held.rows,
        events=held.total_events,
        revised=0,
        revision=0,
    )


def records(definition: Experiment, day: date, rng: np.random.Generator) -> Sent:
    """A day's assignments and unit-days as they lie in Kafka."""
    span, digest = period(day, ZONE), design_hash(definition)
    found: Sent = []
    treated = rng.random(len(definition.units)) < 0.5
    for unit, low, quantity in zip(definition.units, treated, rng.poisson(5, len(definition.units)), strict=True):
        sent = (
            Assignment(
                id=f"{definition.name}.1/{day}/{unit}", unit=unit, cluster=unit, experiment=definition.name,
                experiment_version=1, design_hash=digest, block=(day - START).days, day=day,
                arm="low" if low else "control", planned_arm="low" if low else "control", price_minor=None,
                currency="EUR", effective_at=span.start, expires_at=span.end, decided_at=span.start, epoch=1,
                sequence=(day - START).days, reason=Reason(code="scheduled"),
            ),
            UnitDay(
                unit=unit, day=day, starts_at=span.start, ends_at=span.end, quantity=int(quantity),
                revenue_minor=3 * int(quantity), cost_minor=2 * int(quantity), currency="EUR", events=1, revision=0,
            ),
        )  # fmt: skip
        kept = (encode(message, "id", span.start) for message in sent)
        found += [(record.headers, record.value or b"") for record in kept]
    return found


def timed(work: Callable[[], object]) -> tuple[Taken, object]:
    begin, cpu = time.perf_counter(), time.process_time()
    result = work()
    return Taken(time.perf_counter() - begin, time.process_time() - cpu), result


def refreshed(ledger: Ledger, published: dict[str, Mark], share: Share | None = None) -> list[Finding]:
    found = list(due(ledger, dict(published), share))
    published.update({key(finding): mark_of(finding) for finding in found})
    for finding in found:
        finding.model_dump_json()
    return found


def memory() -> float:
    """Peak resident memory in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def last_steps(ledger: Ledger, through: date) -> dict[str, Mark]:
    """As if everything up to a day had been published."""
    marks: dict[str, Mark] = {}
    for study in ledger.studies.values():
        name, mark = study.key[0], Mark(1, through, 0)
        for metric in ("units", "revenue", "margin"):
            marks |= {f"{name}/{metric}/low/cluster_day_difference": mark, f"{name}/{metric}/low": mark}
    return marks


def refresh(units: int, days: int, profile: bool) -> tuple[list[Measured], Ledger, dict[str, Mark]]:
    rng = np.random.default_rng(1)
    definition = experiment("large", ("m",), units, days + 30, "unit")
    ledger = held([definition], days, rng)
    built = memory()
    published = last_steps(ledger, START + timedelta(days=days - 1))
    refreshed(ledger, published)
    found = []
    day = START + timedelta(days=days)
    sent = records(definition, day, rng)
    took, _ = timed(lambda: _read(ledger, sent))
    found.append(Measured("decode and fold the day's records", took, None, f"{len(sent):,} records, as they come in"))
    ledger.fold(closing(ledger, "m", day))
    profiler = cProfile.Profile()
    if profile:
        profiler.enable()
    took, out = timed(lambda: refreshed(ledger, published))
    if profile:
        profiler.disable()
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(25)
    note = f"{len(out)} messages; {days} days of {units:,} units held"  # type: ignore[arg-type]
    found.append(Measured("one more day closed: everything of three metrics", took, None, note))
    _touch(ledger, "m", definition.units[0], day)
    took, _ = timed(lambda: estimates_only(ledger, published))
    found.append(Measured("  of this, the estimates of three metrics", took, 1.0, "after a late sale of that day"))
    found.append(
        Measured("memory, peak", Taken(0.0, 0.0), None, f"{memory():.2f} GB; {built:.2f} before the first refresh")
    )
    return found, ledger, published


def _read(ledger: Ledger, sent: Sent) -> None:
    """In batches, as the worker does."""
    for first in range(0, len(sent), BATCH):
        for message in decode_many(sent[first : first + BATCH]):
            assert not isinstance(message, UnreadableMessage)
            ledger.fold(message)


def _touch(ledger: Ledger, market: str, unit: str, day: date) -> None:
    """A late sale."""
    held = ledger.books[market].rows
    slot, rows = held.slot(unit), held.days[day]
    span = period(day, ZONE)
    ledger.fold(
        UnitDay(
            unit=unit, day=day, starts_at=span.start, ends_at=span.end, quantity=int(rows.quantity[slot]) + 1,
            revenue_minor=9, cost_minor=6, currency="EUR", events=2, revision=1,
        )
    )  # fmt: skip


def estimates_only(ledger: Ledger, published: dict[str, Mark]) -> list[Finding]:
    """The due estimates; sequences and checks are left for the next time."""
    found: list[Finding] = []
    for finding in due(ledger, dict(published)):
        found.append(finding)
        if len([one for one in found if isinstance(one, Estimate)]) == 3:
            return found
    raise AssertionError("three estimates are due")


def start(ledger: Ledger, published: dict[str, Mark]) -> list[Measured]:
    with tempfile.TemporaryDirectory() as folder:
        wrote, path = timed(lambda: save(Path(folder), Snapshot(ledger, {}, ())))
        size = sum(file.stat().st_size for file in path.iterdir()) / 1e6  # type: ignore[attr-defined]
        read, found = timed(lambda: load(Path(folder)))
        again = found.ledger  # type: ignore[attr-defined]
        study = next(iter(again.studies.values()))
        through = again.horizon(study)
        assert through is not None
        settled, _ = timed(lambda: again.settle(study, through))
        first, _ = timed(lambda: refreshed(again, published))
    return [
        Measured("snapshot written", wrote, None, f"{size:.0f} MB"),
        Measured("cold start from a snapshot: read", read, 5.0),
        Measured("  and settled", settled, None),
        Measured("  and everything computed once", first, None),
    ]


def many(count: int) -> list[Measured]:
    rng = np.random.default_rng(2)
    markets = tuple(f"m{k:02d}" for k in range(20))
    definitions = [experiment(f"e{k:04d}", markets, 5, 90, "market", first=5 * k) for k in range(count)]
    ledger = held(definitions, DAYS_OF_MANY, rng)
    placed = _placed(ledger, definitions)
    published = last_steps(ledger, START + timedelta(days=DAYS_OF_MANY - 1))
    refreshed(ledger, published)
    found = []
    for number, processes, bar in ((0, 1, None), (1, 2, None), (2, 2, 10.0)):
        k = DAYS_OF_MANY + number
        day = START + timedelta(days=k)
        _fill(ledger, definitions, placed, day, rng)
        for market in markets:
            ledger.fold(closing(ledger, market, day))
            ledger.books[market].changed_from = microseconds(period(day, ZONE).start)
        share = share_of(processes)
        took, out = timed(lambda share=share: refreshed(ledger, published, share))  # type: ignore[misc]
        note = f"{len(out):,} messages; 20 markets, 100 units each, {k} days held"  # type: ignore[arg-type]
        first = ", first (they start)" if number == 1 else ""
        found.append(Measured(f"{count:,} experiments, a day each, {processes} processes{first}", took, bar, note))
    return found


def exact() -> list[Measured]:
    rng = np.random.default_rng(3)
    definition = experiment("exact", tuple(f"m{k:03d}" for k in range(100)), 1, 60, "market")
    outcome = rng.lognormal(1, 0.5, (100, 60))
    arm = calendar(definition).arms
    drawing, draws = timed(lambda: redraws(definition, 10_000, "benchmark"))
    took, _found = timed(lambda: randomization_test(outcome, arm, draws))  # type: ignore[arg-type]
    whole = Taken(drawing.passed + took.passed, drawing.cpu + took.cpu)
    treated = (arm == 1).T
    plain, _ = timed(lambda: cluster_day_difference(outcome.T, treated, np.arange(100)))
    note = f"the estimate alone {plain.passed * 1e3:.1f} ms"
    return [
        Measured("exact test, 10,000 redraws, 100 clusters x 60 days", whole, 2.0, note),
        Measured("  of this, drawing", drawing, None),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--units", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--only", choices=("refresh", "many", "exact"))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    found: list[Measured] = []
    if options.only in (None, "refresh"):
        measured, ledger, published = refresh(options.units, options.days, options.profile)
        found += measured + start(ledger, published)
    if options.only in (None, "many"):
        found += many(options.experiments)
    if options.only in (None, "exact"):
        found += exact()
    if options.json:
        print(json.dumps([asdict(one) for one in found]))
        return
    table = Table("what", "seconds", "of processor", "bar", "note")
    for one in found:
        bar = "" if one.bar is None else f"{one.bar:g}{'' if one.taken.passed <= one.bar else '  MISSED'}"
        table.add_row(one.what, f"{one.taken.passed:.3f}", f"{one.taken.cpu:.3f}", bar, one.note)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
