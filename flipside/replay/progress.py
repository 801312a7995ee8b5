"""What a replay was: its progress while it runs, and, at its end, what came out against what was planted."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from controller.definition.experiment import Experiment
from controller.definition.field_types import Message
from controller.messages.control import Entered, TriggerIgnored
from controller.messages.events import OBSERVATIONAL, Assignment, Estimate, Registered, UnitDay
from controller.messages.findings import RunningSequence
from controller.messages.inputs import Blackout, CompetitorPrice
from flipside.checks.entry_promises import check_entries
from flipside.checks.promises import Violation, check, check_shown

if TYPE_CHECKING:
    from analysis.export.headline import Headline


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay is: what a live view shows."""

    period: int
    periods: int
    day: date
    events: int
    #: units whose arm changed for this day, and units that a blackout kept
    flips: int
    blocked: int
    estimate: Estimate | None
    seconds: float
    #: the running sequence of the same metric and arm: quoted before the planned day
    sequence: RunningSequence | None = None

    @property
    def headline(self) -> "Headline | None":
        """What is quoted of units sold as of now; None where no day is closed yet."""
        # The libraries of the analysis take as long to load as all the rest: arms come first.
        from analysis.export.headline import of_messages

        return next(iter(of_messages(m for m in (self.estimate, self.sequence) if m is not None)), None)


@dataclass(frozen=True, slots=True)
class Ended:
    """A guardrail ended or paused an experiment."""

    #: the first local day on control
    day: date
    action: str
    metric: str
    #: days that were played, of those that the definition has
    after_days: int
    of_days: int


@dataclass(frozen=True, slots=True)
class Result:
    """What came out, against what was planted."""

    experiment: str
    design_hash: str
    truth: float
    estimate: float | None
    se: float | None
    ci_low: float | None
    ci_high: float | None
    cells: int
    events_in: int
    events_counted: int
    dead_lettered: int
    revisions: int
    flips: int
    flips_blocked: int
    violations: int
    seconds: float
    #: why there is no estimate, if there is none
    reason_absent: str | None = None
    first_assignment_seconds: float | None = None
    #: rules that fired on a rival's price, and clusters that entered because of it
    triggers: int = 0
    entries: int = 0
    #: what a guardrail did; None: it ran to its end
    ended: Ended | None = None
    broken_promises: tuple[Violation, ...] = ()
    estimates: tuple[Estimate, ...] = ()
    log: tuple[Assignment, ...] = field(default=(), repr=False)
    #: all that the system said: what an export is made of
    messages: tuple[Message, ...] = field(default=(), repr=False)
    #: what is quoted of units sold, as the report has it
    headline: "Headline | None" = field(default=None, repr=False)


def sequence_of_units_sold(messages: Iterable[Message], experiment: Experiment) -> RunningSequence | None:
    """The last running sequence of the first treated arm's effect on units sold."""
    arm = experiment.arms[1].name
    found = [m for m in messages if isinstance(m, RunningSequence) and (m.metric, m.arm) == ("units", arm)]
    return found[-1] if found else None


def of_units_sold(messages: Iterable[Message], experiment: Experiment) -> list[Estimate]:
    """Design-based estimates of the first treated arm's effect on units sold, in the order of their days."""
    arm = experiment.arms[1].name
    units = [m for m in messages if isinstance(m, Estimate) and (m.metric, m.arm) == ("units", arm)]
    drawn = [m for m in units if m.through is not None and m.estimator != OBSERVATIONAL]
    return sorted(drawn, key=lambda e: (e.through or date.min, e.revision))


def judged(
    registered: Registered,
    *,
    log: Sequence[Message],
    panel: Sequence[Message],
    estimates: Sequence[Message],
    shown: Mapping[tuple[str, date], str],
    blackouts: Iterable[Blackout],
    rivals: Sequence[CompetitorPrice],
    listed: Mapping[str, int],
    truth: float,
    events_in: int,
    dead_lettered: int,
    seconds: float,
    first_assignment_seconds: float | None,
    findings: Iterable[Message] = (),
    ended: Ended | None = None,
) -> Result:
    """Hold what the topics say against the promises and the truth. Pure."""
    from analysis.export.headline import of_messages

    findings = list(findings)
    experiment = registered.experiment
    messages = list(log)
    assignments = tuple(m for m in messages if isinstance(m, Assignment) and m.experiment == experiment.name)
    entered = [m for m in messages if isinstance(m, Entered) and m.experiment == experiment.name]
    ignored = [m for m in messages if isinstance(m, TriggerIgnored) and m.experiment == experiment.name]
    census, violations = check(registered, assignments, blackouts, entered)
    violations += check_entries(experiment, entered, ignored, rivals, listed)
    violations += check_shown(assignments, shown, experiment)
    rows: dict[tuple[str, date], UnitDay] = {}
    for message in panel:
        if isinstance(message, UnitDay):
            held = rows.get((message.unit, message.day))
            if held is None or (message.revision, message.events) >= (held.revision, held.events):
                rows[message.unit, message.day] = message
    final = of_units_sold(estimates, experiment)[-1]
    relative = final.relative
    quotable = {(h.metric, h.arm): h for h in of_messages([*estimates, *findings])}
    return Result(
        experiment=experiment.name,
        design_hash=registered.design_hash,
        truth=truth,
        estimate=relative.value if relative else None,
        se=relative.se if relative else None,
        ci_low=relative.ci_low if relative else None,
        ci_high=relative.ci_high if relative else None,
        cells=final.cells,
        events_in=events_in,
        events_counted=sum(row.events for row in rows.values()),
        dead_lettered=dead_lettered,
        revisions=sum(1 for row in rows.values() if row.revision),
        flips=census.flips,
        flips_blocked=census.flips_blocked,
        violations=len(violations),
        seconds=seconds,
        reason_absent=final.reason_absent,
        first_assignment_seconds=first_assignment_seconds,
        triggers=len({m.trigger for m in entered} | {m.trigger for m in ignored}),
        entries=len({m.trigger for m in entered}),
        ended=ended,
        broken_promises=tuple(violations),
        estimates=tuple(m for m in estimates if isinstance(m, Estimate)),
        log=assignments,
        messages=(*log, *panel, *estimates, *findings),
        headline=quotable.get((final.metric, final.arm)),
    )
