"""The promises of entering, checked from outside: written apart from the product's own rules on purpose."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from itertools import pairwise

from controller.definition.experiment import Experiment
from controller.definition.parameters import Triggered
from controller.messages.control import Entered, TriggerIgnored
from controller.messages.inputs import CompetitorPrice
from controller.randomisation.hash_scores import coin
from controller.time.periods import day_start
from flipside.checks.promises import Violation


def check_entries(
    experiment: Experiment,
    entered: Sequence[Entered],
    ignored: Sequence[TriggerIgnored],
    rivals: Sequence[CompetitorPrice],
    listed: Mapping[str, int],
) -> list[Violation]:
    """Every promise about triggers and entries that the log can break, given what rivals did. Needs the seed."""
    design = experiment.design
    if not isinstance(design, Triggered):
        return [Violation("entry", f"{e.id}: {experiment.name} starts on no trigger") for e in entered]
    entries = sorted({e.id: e for e in entered}.values(), key=lambda e: (e.cluster, e.ordinal))
    return [
        *_answered_once(entered, ignored),
        *_true_to_the_coin(experiment, entries),
        *_caused(experiment, entries, rivals, listed),
        *_timely(experiment, design, entries),
        *_apart(experiment, design, entries),
        *_capped(design, entries),
    ]


def _answered_once(entered: Sequence[Entered], ignored: Sequence[TriggerIgnored]) -> Iterator[Violation]:
    answers: dict[str, set[str]] = {}
    for entry in entered:
        answers.setdefault(entry.trigger, set()).add(entry.model_dump_json())
    for refusal in ignored:
        answers.setdefault(refusal.trigger, set()).add(refusal.model_dump_json())
    for trigger, said in answers.items():
        if len(said) > 1:
            yield Violation("entry", f"{trigger} was answered {len(said)} times, differently")


def _true_to_the_coin(experiment: Experiment, entries: Sequence[Entered]) -> Iterator[Violation]:
    ordinals: dict[str, int] = {}
    for entry in entries:
        expected = ordinals[entry.cluster] = ordinals.get(entry.cluster, -1) + 1
        if entry.ordinal != expected:
            yield Violation("entry", f"{entry.id} has ordinal {entry.ordinal}, it is the cluster's {expected}")
        tossed = coin(experiment.seed, experiment.name, entry.cluster, entry.ordinal, experiment.shares())
        if experiment.arms[tossed].name != entry.arm:
            yield Violation("determinism", f"{entry.id} has {entry.arm}, its coin {experiment.arms[tossed].name}")


def _caused(
    experiment: Experiment, entries: Sequence[Entered], rivals: Sequence[CompetitorPrice], listed: Mapping[str, int]
) -> Iterator[Violation]:
    """Each entry follows an event that was really seen; of an undercut, one that crosses our price."""
    design, clusters = experiment.design, experiment.cluster_by_unit()
    assert isinstance(design, Triggered)
    before: dict[str, int | None] = {}
    causes: dict[str, tuple[CompetitorPrice, int | None]] = {}
    for event in rivals:
        causes[f"{clusters[event.unit]}/{event.id}"] = (event, before.get(event.unit))
        before[event.unit] = event.price_minor
    prefix = f"{experiment.plan_name}/"
    for entry in entries:
        cause = causes.get(entry.trigger.removeprefix(prefix))
        if cause is None:
            yield Violation("entry", f"{entry.id} follows no event that was sent")
            continue
        event, old = cause
        if event.observed_at != entry.triggered_at:
            yield Violation("entry", f"{entry.id} says {entry.triggered_at}, its event {event.observed_at}")
        crossed = event.price_minor is not None and old is not None and event.price_minor < listed[event.unit] <= old
        if design.rule.kind == "undercut" and not crossed:
            yield Violation("entry", f"{entry.id}: {old} to {event.price_minor} crosses no {listed[event.unit]}")


def _timely(experiment: Experiment, design: Triggered, entries: Sequence[Entered]) -> Iterator[Violation]:
    zones = experiment.time_zones()
    last = experiment.start + timedelta(days=min(design.enrolment_days or experiment.days, experiment.days))
    for e in entries:
        if not experiment.start <= e.first_day < last or e.end_day > experiment.end:
            yield Violation("entry", f"{e.id} lasts from {e.first_day} to {e.end_day}, outside of its window")
        if e.decided_at - e.triggered_at > timedelta(minutes=design.max_staleness_minutes):
            yield Violation("entry", f"{e.id} was decided at {e.decided_at}, its event is of {e.triggered_at}")
        if e.starts_at < e.triggered_at or e.starts_at < e.decided_at:
            yield Violation("ahead", f"{e.id} starts at {e.starts_at}, decided at {e.decided_at}")
        if design.delay_minutes is None and e.starts_at != day_start(e.first_day, zones[e.market]):
            yield Violation("boundary", f"{e.id} starts at {e.starts_at}, which begins no local day")


def _apart(experiment: Experiment, design: Triggered, entries: Sequence[Entered]) -> Iterator[Violation]:
    zones = experiment.time_zones()
    for before, after in pairwise(entries):
        if before.cluster != after.cluster:
            continue
        if after.first_day < before.end_day + timedelta(days=design.cool_down_days):
            yield Violation("entry", f"{after.id} begins on {after.first_day}, {before.id} ended on {before.end_day}")
        quiet = day_start(before.end_day, zones[before.market]) + timedelta(days=design.quiet_days)
        if design.quiet_days and after.triggered_at < quiet:
            yield Violation("entry", f"{after.id} was triggered at {after.triggered_at}, quiet lasts until {quiet}")


def _capped(design: Triggered, entries: Sequence[Entered]) -> Iterator[Violation]:
    if design.max_concurrent is None:
        return
    running: dict[tuple[str, date], int] = {}
    for e in entries:
        for k in range((e.end_day - e.first_day).days):
            at = (e.market, e.first_day + timedelta(days=k))
            running[at] = running.get(at, 0) + 1
    for (market, day), number in sorted(running.items()):
        if number > design.max_concurrent:
            yield Violation("entry", f"{number} entries run in {market} on {day}, at most {design.max_concurrent} may")
