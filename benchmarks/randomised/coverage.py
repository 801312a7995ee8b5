"""How often do published intervals hold the truth? Six designs, four numbers of clusters, seven kinds of shops.

    python -m benchmarks.randomised.coverage                      # 2,000 runs of each (make calibration): long
    python -m benchmarks.randomised.coverage --runs 200 --designs "random days" --clusters 6 20
    python -m benchmarks.randomised.coverage --page               # write the pages of coverage from the committed
    figures

Every run goes through the analysis' own front door, from unit-days to effects, sequences and checks. The truth is that
of the simulated shop itself: what its units would have sold under both arms.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from rich.console import Console
from rich.progress import track

from analysis.checks.arm_cells import cluster_shares
from analysis.checks.concentration import concentration
from analysis.randomised.effects import Answer, cluster_weights, effects
from analysis.sequential.interim_analyses import plans_of
from analysis.sequential.running_sequences import advance, sequence_of
from benchmarks.randomised.coverage_page import pages
from benchmarks.randomised.simulated_shops import DESIGNS, WORLDS, Shop, clean_days, shop_of
from benchmarks.streams.installation import machine
from controller.definition.experiment import Target
from controller.errors import NotEstimable

CLUSTERS = (6, 10, 20, 40)
EFFECT = -0.1
#: shops that are simulated without an effect as well
WITHOUT_EFFECT = ("base", "margin of 3 %", "margin of 10 %")
RESULTS = Path(__file__).parents[1] / "results" / "coverage.json"
DOCS = Path(__file__).parents[2] / "docs"
TARGETS: tuple[Target, ...] = ("average", "total")
#: runs that go to a process at once
BATCH = 50


def one_run(design: str, world: str, clusters: int, effect: float, seed: Sequence[int]) -> dict[str, Any]:
    """What one experiment comes to."""
    shop = shop_of(design, WORLDS[world], clusters, effect, np.random.default_rng(list(seed)))
    days = shop.case.days
    found: dict[str, Any] = {}
    weight = cluster_weights(days)
    answers: dict[str, Answer] = {}
    for target in TARGETS:
        same = target == "total" and weight is None
        answer = answers["average"] if same else effects(
            shop.case, days, weight if target == "total" else None, (shop.metric,)
        )[shop.metric, 1]  # fmt: skip
        answers[target] = answer
        truth, base = _truth(shop, clean_days(shop), weight if target == "total" else None)
        found[target] = _judged(answer, truth, truth / base)
    found["sequence"] = _sequence(shop, weight)
    shares = cluster_shares(days, "units")
    check = concentration(shares, shop.case.roster.clusters)
    found["warned"] = check.verdict == "warn"
    return found


def _truth(shop: Shop, cells: np.ndarray, weight: np.ndarray | None) -> tuple[float, float]:
    """The effect and control's mean over cluster-days, (T, G) ``cells`` counting as often as they say."""
    cluster = shop.case.days.cluster
    starts = np.flatnonzero(np.r_[True, np.diff(cluster) > 0])
    size = np.bincount(cluster)
    of = cells * (1.0 if weight is None else weight)
    means = [np.add.reduceat(part, starts, axis=1) / size for part in (shop.control, shop.treated)]
    base, arm = (float((of * mean).sum() / of.sum()) for mean in means)
    return arm - base, base


def _judged(answer: Answer, truth: float, share: float) -> dict[str, Any]:
    found, _ = answer
    if found is None:
        return {"absolute": None, "relative": None}
    relative = found.relative
    return {
        "absolute": _holds(found.absolute.ci_low, found.absolute.ci_high, truth),
        "relative": None if relative is None else _holds(relative.ci_low, relative.ci_high, share),
        "unbounded": relative is not None and relative.unbounded is not None,
        "p": found.absolute.p,
        "disagree": relative is not None
        and _holds(relative.ci_low, relative.ci_high, 0.0) != _holds(found.absolute.ci_low, found.absolute.ci_high, 0.0)
        and relative.unbounded is None,
    }


def _sequence(shop: Shop, weight: np.ndarray | None) -> list[bool] | None:
    """Whether some look's always-valid interval missed what it is about: absolute, relative."""
    case, days = shop.case, shop.case.days
    experiment = case.roster.experiment
    try:
        plans = plans_of(experiment)
    except NotEstimable:
        return None
    sums: dict[Any, Any] = {}
    advance(sums, days, experiment, plans, None)
    sequence = sequence_of(case, shop.metric, 1, sums[shop.metric, 1], plans, {})
    if not sequence.looks:
        return None
    rows = {str(plan.label): plan.rows + days.before for plan in plans}
    truths, bases, missed = [], [], [False, False]
    usable = clean_days(shop)
    for look in sequence.looks:
        cells = np.zeros_like(usable)
        mine = rows[str(look.block)]
        cells[mine] = usable[mine] > 0
        if design_excludes_entered(shop, look.block, cells):
            return None
        truth, base = _truth(shop, cells, weight)
        truths.append(truth)
        bases.append(base)
        missed[0] |= not _holds(look.ci_low, look.ci_high, float(np.mean(truths)))
        if look.relative is not None:
            share = float(np.sum(truths) / np.sum(bases))
            missed[1] |= not _holds(look.relative_low, look.relative_high, share)
    return missed


def design_excludes_entered(shop: Shop, block: int, cells: np.ndarray) -> bool:
    """In a roll-out those that entered at an earlier step are no part of a step: its cells are set to the others'."""
    experiment = shop.case.roster.experiment
    if experiment.design.kind != "staggered_rollout":
        return False
    days = shop.case.days
    starts = np.flatnonzero(np.r_[True, np.diff(days.cluster) > 0])
    first = days.before + experiment.design.steps[block - 1].day - 1
    before = np.maximum.reduceat(days.assigned[:first], starts, axis=1).max(axis=0) > 0
    cells[:, before] = 0.0
    return not cells.any()


def _holds(low: float | None, high: float | None, value: float) -> bool:
    """Whether an interval holds a value; an open side holds everything."""
    return (low is None or low <= value) and (high is None or value <= high)


def batch(task: tuple[str, str, int, float, int, int, int]) -> list[dict[str, Any]]:
    """Some runs of one cell."""
    design, world, clusters, effect, seed, first, count = task
    place = [seed, list(DESIGNS).index(design), list(WORLDS).index(world), clusters, int(effect * 1000) + 1000]
    return [one_run(design, world, clusters, effect, [*place, k]) for k in range(first, first + count)]


def rate(hits: int, of: int) -> dict[str, Any]:
    """A share with its Monte-Carlo error."""
    if not of:
        return {"rate": None, "error": None, "of": 0}
    share = hits / of
    return {"rate": round(share, 4), "error": round((share * (1 - share) / of) ** 0.5, 4), "of": of}


def cell(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The rates of one cell."""
    row: dict[str, Any] = {}
    for target in TARGETS:
        for kind in ("absolute", "relative"):
            known = [one[target][kind] for one in found if one[target][kind] is not None]
            row[f"{kind} {target}"] = rate(sum(known), len(known))
    known_total = [one["total"] for one in found if one["total"]["absolute"] is not None]
    row["unbounded"] = sum(one["unbounded"] for one in known_total)
    row["no relative effect"] = sum(one["relative"] is None for one in known_total)
    row["disagree"] = sum(one["disagree"] for one in known_total)
    row["p below .05"] = rate(sum(one["p"] < 0.05 for one in known_total), len(known_total))
    looked = [one["sequence"] for one in found if one["sequence"] is not None]
    for k, kind in enumerate(("absolute", "relative")):
        row[f"ever missed, {kind}"] = rate(sum(one[k] for one in looked), len(looked))
    row["warned"] = rate(sum(one["warned"] for one in found), len(found))
    return row


def measured(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Every cell, with and without an effect."""
    cells = [
        (design, world, clusters, effect)
        for design in chosen.designs
        for world in chosen.worlds
        for clusters in chosen.clusters
        for effect in ((EFFECT, 0.0) if world in WITHOUT_EFFECT else (EFFECT,))
    ]
    tasks = [
        (*one, chosen.seed, first, min(BATCH, chosen.runs - first))
        for one in cells
        for first in range(0, chosen.runs, BATCH)
    ]
    work = joblib.Parallel(n_jobs=chosen.jobs, return_as="generator")(joblib.delayed(batch)(task) for task in tasks)
    by_cell: dict[Any, list[dict[str, Any]]] = {}
    for task, found in zip(tasks, track(work, "runs", total=len(tasks), console=Console(stderr=True)), strict=True):
        by_cell.setdefault(task[:4], []).extend(found)
    return [
        {"design": d, "shop": w, "clusters": g, "effect": e, "runs": len(found), **cell(found)}
        for (d, w, g, e), found in by_cell.items()
    ]


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000, help="of each cell")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=-1)
    parser.add_argument("--designs", nargs="+", default=list(DESIGNS), choices=list(DESIGNS))
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), choices=list(WORLDS))
    parser.add_argument("--clusters", nargs="+", type=int, default=list(CLUSTERS))
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--page", action="store_true", help="write the pages from the committed figures and end")
    chosen = parser.parse_args()
    if chosen.page:
        for name, text in pages(json.loads(RESULTS.read_text())).items():
            (DOCS / name).parent.mkdir(exist_ok=True)
            (DOCS / name).write_text(text)
        return 0
    shown = {"machine": machine(), "seed": chosen.seed, "runs": chosen.runs, "rows": measured(chosen)}
    if chosen.json:
        chosen.json.write_text(json.dumps(shown, indent=1) + "\n")
    print(*pages(shown).values(), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
