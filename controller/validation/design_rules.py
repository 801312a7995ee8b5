"""What each design asks of its definition, and what balance asks of its strata and covariates."""

from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise

from controller.definition.experiment import Experiment
from controller.definition.field_types import market_of
from controller.definition.parameters import (
    BlockedSwitchback,
    Crossover,
    RandomDays,
    StaggeredRollout,
    TimeBound,
    Triggered,
    fraction,
)
from controller.designs.blocked_switchback import block_starts
from controller.errors import Problem


def design_problems(experiment: Experiment) -> Iterator[Problem]:
    """The rules of the experiment's design that its definition breaks."""
    yield from RULES[type(experiment.design)](experiment)
    yield from _balance(experiment)


def equal_shares(experiment: Experiment) -> bool:
    return len(set(experiment.shares())) == 1


def _washout(experiment: Experiment, washout: int, longest: int, field: str, what: str) -> Iterator[Problem]:
    if washout >= longest:
        yield Problem(field, str(washout), f"shorter than {what} ({longest} days)", "shorten the washout or run longer")
    if washout < experiment.carryover_order:
        yield Problem(
            field,
            str(washout),
            f"at least the carryover order ({experiment.carryover_order} days), or the estimate is biased",
            "throw out more days, or assume a shorter carryover",
        )


def _two_equal_arms(experiment: Experiment, why: str) -> Iterator[Problem]:
    if len(experiment.arms) != 2:
        yield Problem("arms", f"{len(experiment.arms)} arms", f"two arms: {why}", "use random_days or time_bound")
    elif not equal_shares(experiment):
        yield Problem("arms.share", "unequal", f"equal shares: {why}", "leave the shares out")


def _random_days(experiment: Experiment) -> Iterator[Problem]:
    design = experiment.design
    assert isinstance(design, RandomDays)
    if experiment.carryover_order > 0:
        yield Problem(
            "carryover_order",
            str(experiment.carryover_order),
            "random days are valid only where an arm stops acting when it ends (m = 0)",
            "use blocked_switchback or crossover",
        )
    if not design.weekday_balance:
        return
    cycle = 7 * len(experiment.arms)
    if experiment.days % cycle:
        yield Problem(
            "days", str(experiment.days), f"weekday balance needs a multiple of {cycle} days", "run whole cycles"
        )
    if not equal_shares(experiment):
        yield Problem("arms.share", "unequal", "weekday balance needs equal shares", "leave the shares out")


def _time_bound(experiment: Experiment) -> Iterator[Problem]:
    design = experiment.design
    assert isinstance(design, TimeBound)
    yield from _washout(experiment, design.washout_days, experiment.days, "design.washout_days", "the experiment")


def _crossover(experiment: Experiment) -> Iterator[Problem]:
    design = experiment.design
    assert isinstance(design, Crossover)
    yield from _two_equal_arms(experiment, "a crossover swaps them")
    if design.phases is None:
        if experiment.days % 2:
            yield Problem("days", str(experiment.days), "two phases of equal length", "add a day, or name the phases")
        yield from _washout(experiment, design.washout_days, experiment.days // 2, "design.washout_days", "a phase")
        return
    one, two = design.phases
    if two.first_day < one.first_day + one.days:
        yield Problem(
            "design.phases",
            f"days {one.first_day}-{one.first_day + one.days - 1} and {two.first_day}-{two.first_day + two.days - 1}",
            "the second phase begins after the first has ended",
            f"begin it on day {one.first_day + one.days} or later",
        )
    if two.first_day + two.days - 1 != experiment.days or one.first_day != 1:
        yield Problem(
            "design.phases",
            f"days {one.first_day} to {two.first_day + two.days - 1}",
            f"phases begin on day 1 and end on day {experiment.days}, the experiment's last",
            "mend `days` or the phases",
        )
    yield from _washout(
        experiment, design.washout_days, min(one.days, two.days), "design.washout_days", "the shorter phase"
    )


def _blocked_switchback(experiment: Experiment) -> Iterator[Problem]:
    design = experiment.design
    assert isinstance(design, BlockedSwitchback)
    if (design.block_days is None) == (design.points is None):
        yield Problem(
            "design.points",
            "both" if design.points is not None else "neither",
            "blocks are given by `block_days` or by `points`",
            "give one of them",
        )
        return
    try:
        starts = block_starts(experiment)
    except ValueError as error:
        yield Problem(
            "design.points", "optimal", str(error), "run n x m days, or search with `flipside design --search`"
        )
        return
    if not starts or starts[0] != 1 or any(a >= b for a, b in pairwise(starts)) or starts[-1] > experiment.days:
        yield Problem(
            "design.points",
            ", ".join(map(str, starts[:10])) or "none",
            f"days that begin with 1, increase, and are at most {experiment.days}",
            "sort them, without repetitions",
        )
        return
    if len(starts) < 2:
        yield Problem(
            "design.block_days",
            str(design.block_days),
            f"at least two blocks in {experiment.days} days",
            "shorten them",
        )
    shortest = min(b - a for a, b in pairwise((*starts, experiment.days + 1)))
    burn_in, order = design.burn_in_days, experiment.carryover_order
    if burn_in >= shortest:
        yield Problem(
            "design.burn_in_days", str(burn_in), f"shorter than the shortest block ({shortest} days)", "lengthen blocks"
        )
    if 0 < burn_in < order:
        yield Problem(
            "design.burn_in_days",
            str(burn_in),
            f"at least the carryover order ({order} days), or 0 to keep the days whose last {order + 1} saw one arm",
            "throw out more days",
        )


def _staggered_rollout(experiment: Experiment) -> Iterator[Problem]:
    design = experiment.design
    assert isinstance(design, StaggeredRollout)
    if len(experiment.arms) != 2 or any(arm.share is not None for arm in experiment.arms):
        yield Problem("arms", f"{len(experiment.arms)} arms", "two arms, shares by step", "leave the arms' shares out")
    days = [step.day for step in design.steps]
    shares = [fraction(step.share) for step in design.steps]
    for field, grows, values in (
        ("day", all(a < b for a, b in pairwise(days)), days),
        ("share", all(a < b for a, b in pairwise(shares)), shares),
    ):
        if not grows:
            yield Problem(
                f"design.steps.{field}", ", ".join(map(str, values)), "grows from step to step", "sort the steps"
            )
    entering = {b - a for a, b in pairwise((Fraction(0), *shares, Fraction(1))) if a < b}
    if experiment.balance.strata is not None and len(entering) > 1 and len(shares) > 1:
        yield Problem("balance.strata", "given", "strata need one step, or equal shares entering", "even the steps out")
    if shares[-1] > 1:
        yield Problem("design.steps.share", str(shares[-1]), "at most 1", "choose a smaller share")
    if max(days) > experiment.days:
        yield Problem(
            "design.steps.day", str(max(days)), f"at most the number of days ({experiment.days})", "run longer"
        )
        return
    yield from _washout(
        experiment, design.washout_days, experiment.days - max(days) + 1, "design.washout_days", "the last step"
    )


def _triggered(experiment: Experiment) -> Iterator[Problem]:
    design = experiment.design
    assert isinstance(design, Triggered)
    for name in ("treatment_days", "enrolment_days", "cool_down_days", "quiet_days"):
        value = getattr(design, name)
        if value is not None and value > experiment.days:
            yield Problem(f"design.{name}", str(value), f"at most the number of days ({experiment.days})", "shorten it")
    for name, share in (("rule.share", getattr(design.rule, "share", None)), ("quorum", design.quorum)):
        if share is not None and fraction(share) > 1:
            yield Problem(f"design.{name}", str(share), "at most 1", "choose a smaller share")
    yield from _washout(experiment, design.washout_days, design.treatment_days, "design.washout_days", "the treatment")
    markets: dict[str, set[str]] = {}
    for unit, cluster in experiment.cluster_by_unit().items():
        markets.setdefault(cluster, set()).add(market_of(unit))
    wide = sorted(cluster for cluster, names in markets.items() if len(names) > 1)
    if wide:
        yield Problem(
            "clusters",
            ", ".join(wide[:5]),
            "a triggered cluster lies in one market, whose owner starts it",
            "cluster by unit or by market",
        )
    if experiment.balance.strata is not None or experiment.balance.max_distance is not None:
        yield Problem(
            "balance", "given", "coins of triggers are tossed one by one, before anyone knows who enters", "remove it"
        )


RULES: dict[type, Callable[[Experiment], Iterator[Problem]]] = {
    RandomDays: _random_days,
    TimeBound: _time_bound,
    Crossover: _crossover,
    BlockedSwitchback: _blocked_switchback,
    StaggeredRollout: _staggered_rollout,
    Triggered: _triggered,
}


def _balance(experiment: Experiment) -> Iterator[Problem]:
    balance = experiment.balance
    clusters = set(experiment.cluster_names())
    if balance.strata is not None and len(experiment.arms) > 2 and not equal_shares(experiment):
        yield Problem("balance.strata", "given", "strata need two arms or equal shares", "leave out strata or shares")
    if isinstance(balance.strata, dict):
        placed = Counter(cluster for members in balance.strata.values() for cluster in members)
        for rule, hits in (
            ("each cluster is in one stratum", sorted(c for c, times in placed.items() if times > 1)),
            ("every cluster is in a stratum", sorted(clusters - set(placed))),
            ("strata hold clusters of this experiment", sorted(set(placed) - clusters)),
        ):
            if hits:
                yield Problem("balance.strata", ", ".join(hits[:5]), rule, "mend the lists")
    if balance.strata == "covariates" or balance.max_distance is not None:
        missing = sorted(clusters - set(balance.covariates))
        if missing:
            yield Problem(
                "balance.covariates", f"none for {', '.join(missing[:5])}", "every cluster has its numbers", "add them"
            )
    lengths = {len(values) for values in balance.covariates.values()}
    if len(lengths) > 1:
        yield Problem(
            "balance.covariates",
            f"{min(lengths)} to {max(lengths)} numbers",
            "as many for each cluster",
            "fill them up",
        )
