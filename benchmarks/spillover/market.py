"""Does the interval hold what it is about? Experiments on clusters of an estimated graph, on seeds that only judge.

    python -m benchmarks.spillover.market --seeds 200 --write benchmarks/results/spillover_market.json

Each seed is a market of its own: a year without an experiment gives the graph, the graph the clusters; 14 random days
of prices a tenth dearer are drawn by the production generator, and the analysis' own code makes the numbers.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import joblib
import numpy as np
from rich.console import Console
from rich.progress import track

from analysis.panel_data.study import Metric
from analysis.panel_data.substitutes import weights_between
from analysis.spillover.exposure import share_treated
from analysis.spillover.market import scenario
from analysis.worker.spillover import published_spillover
from benchmarks.spillover.shops import COST, LOG_DEAR, PRICE, World, case_of, truths, world_of
from controller.schedule.redraw import redraws

METRICS: tuple[Metric, ...] = ("units", "margin")
#: days behind the expectation of what depends on the design: the naive number, and exposure to some treated neighbours
DAYS_REDRAWN = 560


@dataclass(frozen=True, slots=True)
class Row:
    """One number of one seed."""

    seed: int
    metric: str
    effect: str
    estimator: str
    truth: float
    value: float | None
    se: float | None
    low: float | None
    high: float | None
    dropped: int
    cut: float


def expected(world: World, seed: int) -> dict[str, dict[str, float]]:
    """What naive and spillover contrasts are about: means over the design of sales without noise, of each unit."""
    experiment = world.experiment
    names = {name: number for number, name in enumerate(experiment.cluster_names())}
    of_unit = experiment.cluster_by_unit()
    label = np.array([names[of_unit[unit]] for unit in experiment.units])
    weights = weights_between(world.substitutes, experiment.units)
    arms = redraws(experiment, DAYS_REDRAWN // experiment.days, f"expected-{seed}")
    dear = arms.transpose(0, 2, 1).reshape(-1, arms.shape[1])[:, label] == 1
    sold = world.shop.level * np.exp(LOG_DEAR * dear @ world.shop.elasticities.T)
    near = np.nan_to_num(share_treated(dear, weights)) > 1e-12
    profit = sold * np.where(dear, PRICE * np.exp(LOG_DEAR) - COST, PRICE - COST)
    nothing = {"units": world.shop.level, "margin": world.shop.level * (PRICE - COST)}
    # The others have no neighbour in another cluster: they are dropped from the estimate too.
    reached = np.flatnonzero((~dear & near).any(axis=0))

    def mean(values: np.ndarray, where: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.where(where, values, 0).sum(axis=0) / np.maximum(where.sum(axis=0), 1)
        return found

    found = {}
    for metric, values in (("units", sold), ("margin", profit)):
        partly = mean(values, ~dear & near) - nothing[metric]
        found[metric] = {
            "naive": float((mean(values, dear) - mean(values, ~dear)).mean()),
            "spillover": float(partly[reached].mean()),
        }
    return found


def rows_of(seed: int) -> list[Row]:
    """Every published number of one seed beside what it is about."""
    world = world_of(seed)
    found, planted, by_design = published_spillover(case_of(world, seed)), truths(world), expected(world, seed)
    rows = []
    for metric in METRICS:
        for e in found[metric].effects:
            about = by_design[metric].get(e.effect) if e.estimator == "hajek" else None
            truth = getattr(planted[metric], e.effect) if about is None else about
            rows.append(
                Row(
                    seed, metric, e.effect, e.estimator, truth, e.value, e.se, e.ci_low, e.ci_high, e.dropped, world.cut
                )
            )
    return rows


def summary(rows: list[Row]) -> list[dict[str, object]]:
    """For each number: intervals that miss, bias and what the errors say of the spread."""
    told = []
    for metric in METRICS:
        for effect, estimator in dict.fromkeys((row.effect, row.estimator) for row in rows):
            mine = [row for row in rows if (row.metric, row.effect, row.estimator) == (metric, effect, estimator)]
            known = [row for row in mine if row.low is not None and row.high is not None]
            entry: dict[str, object] = {"metric": metric, "effect": effect, "estimator": estimator}
            entry |= {"seeds": len(mine), "absent": len(mine) - len(known)}
            if known:
                off = np.array([(row.value or 0) - row.truth for row in known])
                entry |= {
                    "misses": sum(not (row.low or 0) <= row.truth <= (row.high or 0) for row in known),
                    "truth": float(np.mean([row.truth for row in known])),
                    "bias": float(off.mean()),
                    "bias_error": _spread(off) / len(off) ** 0.5,
                    "spread": _spread(off),
                    "mean_se": float(np.mean([row.se for row in known if row.se is not None])),
                    "dropped": float(np.mean([row.dropped for row in known])),
                }
            told.append(entry)
    return told


def _spread(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--write", type=Path)
    chosen = parser.parse_args()
    first = scenario().judging_seeds[0]
    rows: list[Row] = []
    work = joblib.Parallel(n_jobs=chosen.jobs, return_as="generator")
    for some in track(
        work(joblib.delayed(rows_of)(first + k) for k in range(chosen.seeds)), "markets", chosen.seeds,
        console=Console(stderr=True),
    ):  # fmt: skip
        rows += some
        if chosen.write:  # whatever ends it, what is done is kept
            _write(rows, first, chosen.write)
    told = summary(rows)
    for entry in told:
        print(json.dumps(entry))


def _write(rows: list[Row], first: int, path: Path) -> None:
    body = {
        "seeds": [first, max(row.seed for row in rows)],
        "summary": summary(rows),
        "rows": [{k: round(v, 6) if isinstance(v, float) else v for k, v in asdict(row).items()} for row in rows],
    }
    path.write_text(json.dumps(body, indent=1) + "\n")


if __name__ == "__main__":
    main()
