"""Does the interval contain the planted effect? Each design, on real sales, many seeds.

    python -m benchmarks.replays.replay_designs                    # 200 seeds a design

The production draw and the production estimator, with the effect planted in arrays and without a stream. The same
designs through the whole system: `python -m benchmarks.replays.whole_replays`.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from analysis.panel_data.design_facts import method_of
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray
from analysis.panel_data.study import PRE_PERIOD_DAYS
from analysis.randomised.cluster_day import Effect, cluster_day_difference
from benchmarks.randomised.worlds import interval
from controller.definition.experiment import Experiment
from controller.schedule.calendar import calendar
from flipside.replay.fitted_definition import Fitted, fit
from flipside.replay.plan import FIRST_DAY, default_experiment
from flipside.sales_history.history import History, read_history

#: what is changed of a definition of random days over all stores
DESIGNS: dict[str, dict[str, object]] = {
    "random_days": {"design": {"kind": "random_days"}},
    "random_days, weekdays balanced": {"design": {"kind": "random_days", "weekday_balance": True}},
    "random_days, three prices": {
        "design": {"kind": "random_days"},
        "arms": [{"name": n, "price": {"percent": p}} for n, p in (("control", "0"), ("less", "-5"), ("least", "-10"))],
    },
    "blocked_switchback, burn-in": {
        "design": {"kind": "blocked_switchback", "block_days": 4, "burn_in_days": 1},
        "carryover_order": 1,
    },
    "blocked_switchback, held windows": {
        "design": {"kind": "blocked_switchback", "points": "optimal"},
        "carryover_order": 2,
    },
    "crossover": {"design": {"kind": "crossover", "washout_days": 3}, "carryover_order": 3},
    "time_bound": {"design": {"kind": "time_bound", "washout_days": 3}, "carryover_order": 3},
    "time_bound, pairs": {
        "design": {"kind": "time_bound", "washout_days": 3},
        "carryover_order": 3,
        "balance": {"strata": "covariates", "stratum_size": 2},
    },
    "staggered_rollout": {
        "design": {
            "kind": "staggered_rollout",
            "washout_days": 2,
            "steps": [{"day": 4, "share": "1/4"}, {"day": 11, "share": "1/2"}, {"day": 18, "share": "3/4"}],
        },
        "carryover_order": 2,
    },
}


@dataclass(frozen=True, slots=True)
class Row:
    """How one design did."""

    design: str
    seeds: int
    covered: int
    #: Monte-Carlo error of the share that covers, in points
    monte_carlo_error: float
    median_se: float
    #: standard deviation of the estimates: what the standard error should be, or less
    spread: float
    bias: float


def definition(history: History, name: str, seed: str) -> Experiment:
    """A definition as an owner would write it."""
    body = default_experiment(history, "designs", seed).model_dump(mode="json")
    return Experiment.model_validate_json(json.dumps(body | DESIGNS[name]))


@dataclass(frozen=True, slots=True)
class Panel:
    """Sales of a history: (T, U) packs, NaN where nothing is known."""

    packs: FloatArray
    units: tuple[str, ...]


def panel(history: History) -> Panel:
    """The history as an array."""
    units = tuple(sorted(entry.unit for entry in history.catalog))
    column = {unit: number for number, unit in enumerate(units)}
    packs = np.full((len(history.periods), len(units)), np.nan)
    for row, week in enumerate(history.periods):
        for sold in week:
            packs[row, column[sold.unit]] = sold.packs
    return Panel(packs, units)


def estimate(fitted: Fitted, sold: Panel, effect: float, rng: np.random.Generator) -> Effect | None:
    """The first arm's relative effect on what the history sold, with the effect planted, rounded as the shop does."""
    experiment = fitted.experiment
    begin = max(0, fitted.before - PRE_PERIOD_DAYS)
    packs = sold.packs[begin : fitted.before + experiment.days]
    before = fitted.before - begin
    plan = calendar(experiment)
    of_unit = experiment.cluster_by_unit()
    number = {cluster: k for k, cluster in enumerate(plan.clusters)}
    cluster: IntArray = np.array([number[of_unit[unit]] for unit in sold.units])
    held = plan.arms.T[:, cluster].astype(np.int64)
    method = method_of(experiment)
    arm = np.where(method.washout(experiment, held), -1, held)
    treated: BoolArray = np.vstack([np.zeros((before, len(cluster)), dtype=np.bool_), held > 0])
    outcome = np.floor(packs * np.where(treated, 1 + effect, 1.0) + rng.random(packs.shape))
    compared = np.vstack([np.ones((before, len(cluster)), dtype=np.bool_), (arm == 0) | (arm == 1)])
    draws = method.draws(experiment, experiment.days)
    draws = np.vstack([np.zeros((before, draws.shape[1]), dtype=np.bool_), draws])
    usable = np.where(compared, outcome, np.nan)
    in_arm = np.vstack([np.zeros((before, len(cluster)), dtype=np.bool_), arm == 1])
    return cluster_day_difference(usable, in_arm, cluster, draws=draws).relative


def row_of(name: str, effect: float, found: Sequence[tuple[float, float, float, float]]) -> Row:
    """A row from (estimate, standard error, lower end, upper end) of each seed."""
    value, se, low, high = np.array(found).T
    covered = (low <= effect) & (effect <= high)
    share = covered.mean()
    error = float(100 * np.sqrt(max(share * (1 - share), 0.05 * 0.95) / len(covered)))
    spread = float(value.std(ddof=1)) if len(value) > 1 else 0.0
    return Row(
        name, len(value), int(covered.sum()), error, float(np.median(se)), spread, float(value.mean()) - effect,
    )  # fmt: skip


def fast(history: History, names: Sequence[str], seeds: int, effect: float) -> Iterator[Row]:
    """Coverage without streams."""
    sold = panel(history)
    for name in names:
        rng, found = np.random.default_rng(1), []
        for seed in range(seeds):
            relative = estimate(fit(definition(history, name, f"seed-{seed}"), history, FIRST_DAY, None, None), sold,
                                effect, rng)  # fmt: skip
            if relative is None:
                raise SystemExit(f"{name}: control's mean is not positive")
            found.append((relative.value, relative.se, *interval(relative)))
        yield row_of(name, effect, found)


def show(rows: Sequence[Row]) -> Iterator[str]:
    """The table."""
    yield f"{'design':34} {'seeds':>5} {'cover %':>8} {'+-':>4} {'median se':>10} {'spread':>8} {'bias':>8}"
    for r in rows:
        yield (
            f"{r.design:34} {r.seeds:5} {100 * r.covered / r.seeds:8.1f} {r.monte_carlo_error:4.1f}"
            f" {r.median_se:10.4f} {r.spread:8.4f} {r.bias:+8.4f}"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("../shared/data/orange_juice"))
    parser.add_argument("--design", action="append", choices=list(DESIGNS), help="only this one; may be repeated")
    parser.add_argument("--seeds", type=int, default=200, help="seeds a design")
    parser.add_argument("--weeks", type=int, default=40)
    parser.add_argument("--effect", type=float, default=-0.10)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    history = read_history(chosen.folder).first(chosen.weeks)
    rows = list(fast(history, chosen.design or list(DESIGNS), chosen.seeds, chosen.effect))
    if chosen.json:
        print(json.dumps([asdict(row) for row in rows]))
    else:
        print("\n".join(show(rows)))


def as_mapping(rows: Sequence[Row]) -> Mapping[str, Row]:
    """Rows by design."""
    return {row.design: row for row in rows}


if __name__ == "__main__":
    main()
