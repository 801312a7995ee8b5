"""Does 95 % mean 95 %? Coverage, ever-miss, test sizes and power by simulation, each with its Monte-Carlo error.

python -m benchmarks.randomised.calibration                  # everything, some minutes; prints tables
python -m benchmarks.randomised.calibration --json out.json  # the same figures for machines
python -m benchmarks.randomised.calibration --scale 0.1      # a tenth of the repetitions
python -m benchmarks.randomised.calibration --study looks    # one study
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from analysis.checks.carryover import carryover_test, less_other_draws, non_anticipation_test
from analysis.checks.trigger_rates import sequential_ratio_p
from analysis.planning.power import power_of, standard_error
from analysis.randomised.contrasts import stratified_difference
from analysis.randomised.intervals import t_interval, z_interval
from analysis.randomised.randomisation_test import randomization_test
from analysis.randomised.switchback import hajek
from analysis.randomised.variance import cluster_interval, cluster_linearised
from analysis.sequential.block_differences import block_differences, mean_of_blocks
from analysis.sequential.confidence_sequences import (
    expected_variance,
    guardrail_sequence,
)
from benchmarks.randomised.looks import EFFECT, EVER_MISS, MISPLANNED
from benchmarks.randomised.worlds import (
    World,
    ar1,
    balanced_blocks,
    lognormal_ar1,
    white,
    with_effect,
)


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of repetitions, with the Monte-Carlo standard error of that share."""

    study: str
    setting: str
    figure: str
    rate: float
    error: float
    repetitions: int


def rate(study: str, setting: str, figure: str, hits: list[bool]) -> Rate:
    """Count hits."""
    share = float(np.mean(hits))
    return Rate(study, setting, figure, share, float(np.sqrt(share * (1 - share) / len(hits))), len(hits))


def cover_time_bound(rng: np.random.Generator, clusters: int, world: World = lognormal_ar1) -> dict[str, bool]:
    """Half of the clusters treated for four weeks after four weeks of history; is the effect inside?"""
    outcome = world(rng, clusters, 56)
    treated = rng.permutation(clusters) < clusters // 2
    change = outcome[:, 28:].mean(axis=1) - outcome[:, :28].mean(axis=1) + EFFECT * treated
    found = stratified_difference(change, treated)
    exact = t_interval(found.effect, found.se, clusters=clusters, method="t(G-2)")
    contrast = hajek(change[:, None], treated[:, None].astype(np.int64), 0)
    naive = z_interval(contrast.effect, cluster_linearised(contrast) ** 0.5, clusters=clusters, method="robust z")
    return {
        "time-bound, t(G-2)": exact.lower <= EFFECT <= exact.upper,
        "time-bound, naive z": naive.lower <= EFFECT <= naive.upper,
    }


def cover_switchback(rng: np.random.Generator, clusters: int, world: World = lognormal_ar1) -> dict[str, bool]:
    """Eight weeks in blocks of four days, the first washed out, exact halves; is the effect inside?"""
    outcome = world(rng, clusters, 28 + 56)
    arm = balanced_blocks(rng, clusters, 14, 4)
    level = outcome[:, :28].mean(axis=1, keepdims=True)
    value = with_effect(outcome[:, 28:], arm, EFFECT) - level
    block = np.repeat(np.arange(14), 4)
    clean = np.broadcast_to(np.arange(56) % 4 >= 1, value.shape)
    of_blocks = mean_of_blocks(block_differences(value, arm, block, clean=clean))
    # exact halves: a day's mean over the clusters cancels from the effect, but not from a cluster's own influence
    contrast = hajek(np.where(clean, value - value.mean(axis=0), np.nan), arm, 0)
    of_clusters = cluster_interval(contrast)
    return {
        "switchback, blocks, Welch t": of_blocks.lower <= EFFECT <= of_blocks.upper,
        "switchback, cluster jackknife, t(G-1)": of_clusters.lower <= EFFECT <= of_clusters.upper,
    }


def cover_exact(rng: np.random.Generator, clusters: int, world: World = lognormal_ar1) -> dict[str, bool]:
    """The interval by inversion of the exact test, 399 redraws."""
    value = world(rng, clusters, 40)
    arm = balanced_blocks(rng, clusters, 10, 4)
    draws = balanced_blocks(rng, clusters, 399 * 10, 4).reshape(clusters, 399, 40).swapaxes(0, 1).astype(np.int8)
    test = randomization_test(with_effect(value, arm, EFFECT), arm, draws)
    return {"switchback, exact test inverted": test.lower <= EFFECT <= test.upper}


def cover_naive(rng: np.random.Generator, clusters: int) -> dict[str, bool]:
    """What a robust error and the normal quantile cover where outcomes are normal: the published figures' setting."""
    return {"time-bound, naive z, normal outcomes": cover_time_bound(rng, clusters, ar1)["time-bound, naive z"]}


def coverage(rng: np.random.Generator, scale: float) -> list[Rate]:
    """Share of 95 % intervals that contain the effect, lognormal outcomes with AR(1) .9 unless said."""
    rows = []
    studies = ((cover_time_bound, 4000), (cover_switchback, 4000), (cover_naive, 4000), (cover_exact, 4000))
    for study, repetitions in studies:
        for clusters in (6, 10, 20, 40):
            hits: dict[str, list[bool]] = {}
            for _ in range(max(20, round(repetitions * scale))):
                for name, hit in study(rng, clusters).items():
                    hits.setdefault(name, []).append(hit)
            rows += [rate("coverage", f"{clusters} clusters", name, found) for name, found in hits.items()]
    return rows


def ever_miss(rng: np.random.Generator, scale: float) -> tuple[list[Rate], dict[str, float]]:
    """Share of experiments whose interval misses at one look or more, from the first block on."""
    rows, widths = [], {}
    for name, run in (EVER_MISS | MISPLANNED).items():
        found = [run(rng) for _ in range(max(20, round(2000 * scale)))]
        rows.append(rate("ever-miss", name, "anytime", [one.missed for one in found]))
        rows.append(rate("ever-miss", name, "naive t at every look", [one.naive_missed for one in found]))
        widths[name] = float(np.mean([one.width for one in found]))
    return rows, widths


def guardrails(rng: np.random.Generator, scale: float) -> list[Rate]:
    """False alarms of the one-sided form at alpha .05, and alarms when the metric falls by a standard deviation."""
    rows = []
    for effect, figure in ((0.0, "false alarm"), (-1.0, "alarm when harmful")):
        hits = []
        for _ in range(max(20, round(2000 * scale))):
            outcome = ar1(rng, 10, 28 + 80)
            level = outcome[:, :28].mean(axis=1, keepdims=True)
            arm = balanced_blocks(rng, 10, 20, 4)
            found = block_differences(
                with_effect(outcome[:, 28:], arm, effect) - level, arm, np.repeat(np.arange(20), 4)
            )
            planned = expected_variance(outcome[:, :28] - level, 4, 20)
            hits.append(bool((guardrail_sequence(found, planned_variance=planned).upper < 0.0).any()))
        rows.append(rate("guardrail", "10 clusters, AR(1) .9, 20 looks", figure, hits))
    return rows


def assumptions(rng: np.random.Generator, scale: float) -> list[Rate]:
    """Carryover and anticipation tests, 40 clusters, 42 days, effect of one residual standard deviation."""
    rows = []
    for days in (1, 2, 3, 7):
        points = tuple(range(0, 42, days))
        for spill, figure in ((0.0, "size of the carryover test"), (0.4, "power at a spill of .4")):
            hits: dict[str, list[bool]] = {}
            for _ in range(max(20, round((2000 if spill == 0.0 else 500) * scale))):
                arm = balanced_blocks(rng, 40, 42 // days, days)
                outcome = white(rng, 40, 28 + 42)
                sold = with_effect(outcome[:, 28:], arm, 1.0, spill)
                value = sold - outcome[:, :28].mean(axis=1, keepdims=True)
                # as the worker feeds it: less the clusters' own mean over the days of the experiment
                own = sold - sold.mean(axis=1, keepdims=True)
                settings: dict[str, Any] = {"rng": rng, "bootstraps": 400}
                orders: dict[str, Any] = {"assumed_order": 0, "longer_order": 1}
                found = {
                    figure: carryover_test(value, arm, points, **orders, **settings),
                    f"{figure}, as the worker feeds it": carryover_test(own, arm, points, **orders, **settings),
                    f"{figure}, comparing estimates": carryover_test(
                        value, arm, points, **orders, **settings, steady=False
                    ),
                }
                if spill == 0.0:
                    others = less_other_draws(own, points)
                    found["size of the anticipation test"] = non_anticipation_test(
                        value, arm, points, lead=1, **settings
                    )
                    found["size of the anticipation test, as the worker feeds it"] = non_anticipation_test(
                        others, arm, points, lead=1, **settings
                    )
                for name, check in found.items():
                    hits.setdefault(name, []).append(check.verdict == "fail")
            rows += [rate("assumptions", f"blocks of {days} days", name, hit) for name, hit in hits.items()]
    return rows


def trigger_counts(rng: np.random.Generator, scale: float) -> list[Rate]:
    """The sequential ratio test over 1000 looks at 100 triggers each: false alarms, and a tenth of an arm's missing."""
    rows = []
    planned = np.array([0.5, 0.5])
    for lost, figure in ((0.0, "false alarm"), (0.1, "alarm when a tenth of one arm's is missing")):
        hits = []
        for _ in range(max(20, round(2000 * scale))):
            treated = rng.binomial(100, 0.5, 1000)
            counts = np.cumsum(np.stack([100 - treated, rng.binomial(treated, 1.0 - lost)], axis=1), axis=0)
            hits.append(bool(sequential_ratio_p(counts, planned, 200.0)[-1] < 0.01))
        rows.append(rate("trigger rates", "1000 looks, 100,000 triggers", figure, hits))
    return rows


def closed_forms(rng: np.random.Generator, scale: float) -> dict[str, float]:
    """The power oracle, and the closed form against a simulated switchback of that very variance structure."""
    oracle = standard_error(clusters=100, blocks=168, observations=20, cv=1.5, macro_share=0.2, sd=1000)
    answer = power_of(oracle)
    spread = []
    clusters, blocks, n, share = 20, 28, 10, 0.3
    for _ in range(max(20, round(2000 * scale))):
        arm = balanced_blocks(rng, clusters, blocks, 1)
        value = np.sqrt(share) * rng.standard_normal(arm.shape) + np.sqrt((1 - share) / n) * rng.standard_normal(
            arm.shape
        )
        spread.append(hajek(value, arm, 0).effect)
    # equal cells: cv = 0, and the 1 / n of the macro part is a sampling term that equal cells do not have
    planned = standard_error(clusters=clusters, blocks=blocks, observations=n, cv=0.0, macro_share=share, sd=1.0)
    return {
        "se": answer.se,
        "mde": answer.mde,
        "mde_anytime": answer.mde_anytime,
        "planned over simulated se": planned / float(np.std(spread)),
    }


def exact_test_speed(rng: np.random.Generator) -> dict[str, float]:
    """10,000 redraws on 100 clusters x 60 days, schedules already drawn; and what a loop over them would take."""
    arm = balanced_blocks(rng, 100, 15, 4)
    value = white(rng, 100, 60)
    draws = np.stack([balanced_blocks(rng, 100, 15, 4) for _ in range(10_000)]).astype(np.int8)
    seconds = {}
    for order in (0, 2):
        before = time.perf_counter()
        randomization_test(value, arm, draws, carryover_order=order)
        seconds[f"carryover order {order}"] = time.perf_counter() - before
        before = time.perf_counter()
        for draw in draws[:200]:
            hajek(value, draw, order)
        loop = (time.perf_counter() - before) * len(draws) / 200
        seconds[f"carryover order {order}, loop over fast, ratio"] = loop / seconds[f"carryover order {order}"]
    return seconds


Study = Callable[[np.random.Generator, float], tuple[list[Rate], dict[str, dict[str, float]]]]


def _alone(study: Callable[[np.random.Generator, float], list[Rate]]) -> Study:
    return lambda rng, scale: (study(rng, scale), {})


def _looks(rng: np.random.Generator, scale: float) -> tuple[list[Rate], dict[str, dict[str, float]]]:
    rows, widths = ever_miss(rng, scale)
    return rows, {"width at the horizon, anytime over fixed": widths}


STUDIES: dict[str, Study] = {
    "coverage": _alone(coverage),
    "guardrails": _alone(guardrails),
    "assumptions": _alone(assumptions),
    "trigger-counts": _alone(trigger_counts),
    "looks": _looks,
    "power": lambda rng, scale: ([], {"power": closed_forms(rng, scale)}),
    "exact-test": lambda rng, _: ([], {"exact test, seconds": exact_test_speed(rng)}),
}


def main() -> None:
    """Run every study, print tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--scale", type=float, default=1.0, help="repetitions, as a multiple of the published ones")
    parser.add_argument("--seed", type=int, default=20_260_101)
    parser.add_argument("--study", choices=list(STUDIES), action="append", help="only this one; may be repeated")
    arguments = parser.parse_args()
    console = Console(width=110)
    rows: list[Rate] = []
    scalars: dict[str, dict[str, float]] = {}
    for name in track(arguments.study or list(STUDIES), description="calibrating", console=Console(stderr=True)):
        # each study has chance of its own, so that its figures are the same whether or not the others ran
        rng = np.random.default_rng([arguments.seed, list(STUDIES).index(name)])
        found, more = STUDIES[name](rng, arguments.scale)
        rows += found
        scalars |= more
    table = Table("study", "setting", "figure", "rate", "± Monte Carlo", "repetitions")
    for row in rows:
        table.add_row(row.study, row.setting, row.figure, f"{row.rate:.1%}", f"{row.error:.1%}", str(row.repetitions))
    console.print(table)
    for title, figures in scalars.items():
        console.print(title)
        for name, value in figures.items():
            console.print(f"  {name:<45} {value:.3f}")
    if arguments.json:
        document = {"seed": arguments.seed, "rates": [asdict(row) for row in rows], **scalars}
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
