"""Groups that differ are found, and none where nothing does.

    python -m benchmarks.heterogeneity.groups
    python -m benchmarks.heterogeneity.groups --json benchmarks/results/groups.json

1,000 units with four attributes of four levels; each unit's own difference between arms is its effect and noise of sd
.15. Planted: -.10, but +.10 in one conjunction of two attributes, about 6 % of the units. Without heterogeneity: -.10
throughout. Beside it what one finds that takes the strongest group of all units by its p-value of .05.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from analysis.heterogeneity.group_attributes import levels_of
from analysis.heterogeneity.group_statistics import UnitEffects, group_statistics
from analysis.heterogeneity.groups import _conjunctions, _members, find_groups

UNITS, ATTRIBUTES, LEVELS, NOISE = 1000, 4, 4, 0.15


def one(seed: int, planted: bool, parallel: bool = False) -> dict[str, Any]:
    """One draw; ``parallel``: each unit under one arm only, as many more units as make it comparable."""
    rng = np.random.default_rng(seed)
    n = UNITS * (4 if parallel else 1)
    levels = rng.integers(0, LEVELS, (n, ATTRIBUTES))
    inside = (levels[:, 0] == 1) & (levels[:, 2] == 3)
    effect = np.where(inside & planted, 0.10, -0.10)
    treated = rng.permutation(n) % 2 == 0 if parallel else None
    value = effect * (1 if treated is None else treated) + rng.normal(0, NOISE, n)
    attributes = levels_of({f"a{k}": [f"l{v}" for v in levels[:, k]] for k in range(ATTRIBUTES)}, n)
    shown = UnitEffects(value, treated, np.arange(n))
    found = find_groups(shown, attributes, rng=rng)
    named = found.named
    overlaps = [float((g.members & inside).sum() / (g.members | inside).sum()) for g in named]
    hit = [g for g, jaccard in zip(named, overlaps, strict=True) if jaccard >= 0.7]
    conjunctions, _ = _conjunctions(attributes, 3)
    naive = np.nanmax(np.abs(group_statistics(shown, _members(attributes, conjunctions)).t))
    return {
        "named": len(named),
        "found": bool(hit),
        "right_sign": bool(hit) and all(g.effect > 0 and g.contrast > 0 for g in hit),
        "covered": [bool(g.low <= 0.10 <= g.high) for g, j in zip(named, overlaps, strict=True) if j == 1.0],
        "naive_names": bool(naive > 1.96),
    }


def summary(planted: list[dict[str, Any]], nothing: list[dict[str, Any]]) -> dict[str, Any]:
    covered = [c for draw in planted for c in draw["covered"]]
    wrong = float(np.mean([draw["named"] > 0 for draw in nothing]))
    return {
        "draws": len(planted),
        "found": float(np.mean([draw["found"] for draw in planted])),
        "found_with_the_right_sign": float(np.mean([draw["right_sign"] for draw in planted])),
        "named_on_average": float(np.mean([draw["named"] for draw in planted])),
        "coverage_of_95_percent_intervals": float(np.mean(covered)) if covered else None,
        "intervals": len(covered),
        "draws_without": len(nothing),
        "any_named_without": wrong,
        "any_named_without_error": float(np.sqrt(wrong * (1 - wrong) / len(nothing))),
        "strongest_of_all_below_p_05_without": float(np.mean([draw["naive_names"] for draw in nothing])),
    }


def main() -> None:
    """Print one JSON object; exit code 1 where a figure misses what was promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--draws",
        type=int,
        default=200,
        help="with the planted group; twice as many without, half of both in parallel arms",
    )
    parser.add_argument(
        "--json", type=Path, help="write the figures here, after every ten draws; gone on with if there"
    )
    chosen = parser.parse_args()
    figures: dict[str, Any] = {"units": UNITS, "attributes": ATTRIBUTES, "levels": LEVELS, "noise": NOISE}
    if chosen.json and chosen.json.exists():
        figures = json.loads(chosen.json.read_text())
    for name, parallel in (("own differences", False), ("parallel arms, 4,000 units", True)):
        draws = chosen.draws // (2 if parallel else 1)
        each = figures.setdefault(name, {}).setdefault("each", {"planted": [], "nothing": []})
        while len(each["planted"]) < draws:
            seed = len(each["planted"])
            each["planted"].append(one(seed, True, parallel))
            each["nothing"] += [one(10_000 + 2 * seed + k, False, parallel) for k in (0, 1)]
            if chosen.json and (seed % 10 == 9 or seed + 1 == draws):
                figures[name] = {**summary(each["planted"], each["nothing"]), "each": each}
                part = chosen.json.with_suffix(".part")
                part.write_text(json.dumps(figures) + "\n")
                part.replace(chosen.json)
        figures[name] = {**summary(each["planted"], each["nothing"]), "each": each}
    short = {
        k: {n: v for n, v in part.items() if n != "each"} if isinstance(part, dict) else part
        for k, part in figures.items()
    }
    print(json.dumps(short, indent=2))
    own = figures["own differences"]
    met = own["found_with_the_right_sign"] >= 0.9 and own["any_named_without"] <= 0.05
    raise SystemExit(0 if met else "the figures miss what was promised")


if __name__ == "__main__":
    main()
