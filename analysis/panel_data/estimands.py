"""What a number means: fixed before the start, and printed beside every estimate."""

from dataclasses import dataclass
from typing import Literal

Scale = Literal["absolute", "relative"]


@dataclass(frozen=True, slots=True)
class Estimand:
    """The average over units and days of treatment held for ``carryover_order`` + 1 days against control as long.

    With Y_it(1) the outcome of unit i on day t had it been treated on the days t - m .. t, and Y_it(0) had it been
    under control on all of them: absolute ``mean(Y(1) - Y(0))``, relative ``mean Y(1) / mean Y(0) - 1``. The mean runs
    over the units and the days that the design makes comparable (Bojinov, Simchi-Levi and Zhao, Management Science
    69(7), equation 3). It is not the effect of one treated day: that one is smaller wherever buyers stock up or wait.
    """

    metric: str
    #: what one outcome is counted in: "EUR per unit-day", "pieces per unit-day"
    outcome_unit: str
    #: m: days for which an arm still acts after it has ended
    carryover_order: int
    scale: Scale = "absolute"
    treatment: str = "treatment"
    control: str = "control"

    def __post_init__(self) -> None:
        if self.carryover_order < 0:
            raise ValueError(f"carryover_order = {self.carryover_order}: a number of days, 0 or more")

    @property
    def days_held(self) -> int:
        """Days that an arm must have been held for a day's outcome to count: m + 1."""
        return self.carryover_order + 1

    def __str__(self) -> str:
        held = "on the day itself" if self.days_held == 1 else f"held for {self.days_held} days"
        counted = f"in {self.outcome_unit}" if self.scale == "absolute" else "relative to control"
        return f"average effect on {self.metric} of {self.treatment} {held} against {self.control}, {counted}"
