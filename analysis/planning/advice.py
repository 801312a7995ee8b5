"""What the advisor is asked, and its answer."""

from dataclasses import dataclass
from typing import Any

from analysis.planning.candidates import Constraints
from analysis.planning.rehearsal import Truth


@dataclass(frozen=True, slots=True)
class DesignAdvice:
    """What one design would tell. Effects and errors are shares of control's mean: .1 is ten per cent."""

    name: str
    kind: str
    #: fields of a definition that make it this design
    definition: dict[str, Any]
    periods: int
    #: rows of the history before the start
    pre_periods: int
    #: why the owner may not run it; its figures, if any, are for comparison
    refused: str | None = None
    #: days of history that it lacks
    missing_days: int = 0
    #: why there are no figures, where nothing else says so
    no_figures: str | None = None
    runs: int = 0
    #: mean estimate less the planted effect, and its Monte-Carlo error
    bias: float | None = None
    bias_error: float | None = None
    #: as the analysis will publish it (root mean square over schedules)
    se: float | None = None
    #: the same on the quietest and on the wildest part of the history on which the design was rehearsed
    se_range: tuple[float, float] | None = None
    #: standard deviation of the estimates over schedules
    scatter: float | None = None
    #: share of A/A runs whose interval misses zero, and of runs with the effect whose interval holds it
    false_positives: float | None = None
    coverage: float | None = None
    #: share of runs with the effect whose interval, looked at once at the end, leaves out zero
    found: float | None = None
    mde: float | None = None
    mde_anytime: float | None = None
    changes_per_unit: float | None = None
    most_changes_a_week: int | None = None
    periods_to_decide: int | None = None
    periods_to_decide_anytime: int | None = None
    #: notes on what is absent
    notes: tuple[str, ...] = ()

    @property
    def may_run(self) -> bool:
        """Nothing forbids it, and it was rehearsed."""
        return self.refused is None and self.se is not None


@dataclass(frozen=True, slots=True)
class Advice:
    """All designs, the recommended one first among them by name, and why."""

    effect: float
    designs: tuple[DesignAdvice, ...]
    recommended: str | None
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """What the advisor is asked."""

    constraints: Constraints
    truth: Truth
    runs: int = 200
    alpha: float = 0.05
    power: float = 0.8
    seed: str = "advice"
    #: rows of the history before each start; None: half of what is spare, 56 at most
    before: int | None = None
