"""Closed forms before the start: standard error, smallest effect that will be seen, days until it is."""

import math
from dataclasses import dataclass
from statistics import NormalDist

from controller.decisions.always_valid_bounds import tuning_ratio


@dataclass(frozen=True, slots=True)
class Power:
    """What a balanced switchback of this size can tell."""

    #: standard error of the effect at the planned horizon, in the outcome's unit
    se: float
    #: smallest effect found with probability ``power``, by one look on the planned day
    mde: float
    #: the same, by the interval that is valid at every look
    mde_anytime: float
    alpha: float
    power: float


@dataclass(frozen=True, slots=True)
class DaysToDecide:
    """How long until an effect of a given size is expected to be seen; whole weeks, so that weekdays weigh alike."""

    effect: float
    blocks: int
    days: int
    blocks_anytime: int
    days_anytime: int


def standard_error(
    *, clusters: int, blocks: float, observations: float, cv: float, macro_share: float, sd: float, inflate: float = 0.0
) -> float:
    """``sqrt(4 sd^2 / (J H) [S_res / n + S_macro (1 / n + 1 + cv^2)])``, times ``1 + inflate``.

    J clusters, H blocks, n mean ``observations`` per cluster and block, ``cv`` the coefficient of variation of those
    counts, S_macro = ``macro_share`` the share of variance between cells, S_res = 1 - S_macro, ``sd`` of one
    observation (Pankratev, arXiv 2606.03012). Real experiments lose cells: inflate by .1 to .2.

    Raises:
        ValueError: a size that is not positive, or a share outside [0, 1]; the message names it.
    """
    sizes = {"clusters": clusters, "blocks": blocks, "observations": observations, "sd": sd}
    for name, value in sizes.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} = {value}: it must be a positive number")
    if not 0.0 <= macro_share <= 1.0:
        raise ValueError(f"macro_share = {macro_share}: a share of variance lies between 0 and 1")
    if not (cv >= 0.0 and inflate >= 0.0):
        raise ValueError(f"cv = {cv}, inflate = {inflate}: neither can be negative")
    within = (1.0 - macro_share) / observations
    between = macro_share * (1.0 / observations + 1.0 + cv * cv)
    return math.sqrt(4.0 * sd * sd / (clusters * blocks) * (within + between)) * (1.0 + inflate)


def multipliers(alpha: float, power: float) -> tuple[float, float]:
    """Standard errors in the smallest effect: ``z_{1-a/2} + z_{1-b}`` fixed, ``sqrt(1 + x) + z_{1-b}`` anytime.

    ``sqrt(1 + x)`` is the anytime radius at the planned horizon
    (``controller.decisions.always_valid_bounds.tuning_ratio``): 1.549 z at alpha .05.
    """
    for name, value in (("alpha", alpha), ("power", power)):
        if not 0.0 < value < 1.0:
            raise ValueError(f"{name} = {value}: a probability strictly between 0 and 1")
    normal = NormalDist()
    found = normal.inv_cdf(power)
    return normal.inv_cdf(1.0 - alpha / 2.0) + found, math.sqrt(1.0 + tuning_ratio(alpha)) + found


def power_of(se: float, *, alpha: float = 0.05, power: float = 0.8) -> Power:
    """Smallest detectable effects at a standard error."""
    fixed, anytime = multipliers(alpha, power)
    return Power(se, fixed * se, anytime * se, alpha, power)


def days_to_decide(
    effect: float, se_of_one_block: float, *, block_days: int = 1, alpha: float = 0.05, power: float = 0.8
) -> DaysToDecide:
    """Blocks and days until an effect of this size is seen with the wanted power; days rounded up to whole weeks.

    ``se_of_one_block``: the standard error with one block, so that ``se / sqrt(H)`` is that of H; the anytime figure
    is for a mixing tuned to the day that it names.
    """
    if not (math.isfinite(effect) and effect != 0.0):
        raise ValueError(f"effect = {effect}: name the smallest effect that would change the decision; it is not zero")
    if block_days < 1:
        raise ValueError(f"block_days = {block_days}: a block lasts at least one day")
    counts = [max(1, math.ceil((m * se_of_one_block / effect) ** 2 - 1e-9)) for m in multipliers(alpha, power)]
    days = [math.ceil(count * block_days / 7) * 7 for count in counts]
    return DaysToDecide(effect, counts[0], days[0], counts[1], days[1])
