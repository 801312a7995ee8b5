"""The part of docs/methods/heterogeneity.md that is written from the committed results."""

import json
from pathlib import Path
from textwrap import fill
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"
PAGE = Path(__file__).parents[2] / "docs" / "methods" / "heterogeneity.md"
HEADING = "## Measured\n"
METHODS = {"ours, centring none": "plain", "ours, centring auto": "chosen", "grf": "grf", "econml": "econml"}


def kept(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


def written() -> str:
    """The page with this part anew; it is the last one."""
    before = PAGE.read_text("utf-8").split(HEADING, 1)[0]
    parts = (_panels(), _two_ways(), _trimming(), _groups(), *(_forest(rows) for rows in forests()))
    return before + HEADING + "\n" + "\n\n".join(parts) + "\n"


def forests() -> list[int]:
    """Sizes of the forest's committed results, in rows."""
    return sorted(int(path.stem.removeprefix("forest_")) for path in RESULTS.glob("forest_*.json"))


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _told(text: str) -> str:
    """Lines of the page's width."""
    return fill(text, 120, break_on_hyphens=False, break_long_words=False)


def _panels() -> str:
    rows = []
    for name in ("50", "200", "1000", "5000"):
        found = kept(f"hpte_{name}")
        s = found["summary"]
        rows.append([
            f"{found['units']:,}", found["noise"], str(s["draws"]),
            f"{_share(s['covers'])} ({_share(s['covers_monte_carlo_error'])})", f"{_share(s['cross_check_covers'])}",
            f"{s['rmse']:.3f}", f"{s['rmse_category_means']:.3f}", f"{s['rmse_raw_forest']:.3f}",
            f"{_share(s['unit_coverage'])}", f"{_share(s['intervals_hold'])}",
        ])  # fmt: skip
    text = _told(
        "Panels with trend, weekdays, t3 tails and effects of .5 that differ by category and within it "
        "(`make bench-hpte`, `benchmarks/results/hpte_*.json`). Coverage of the average's 95 % interval with its "
        "Monte-Carlo error; RMSE of units' effects; coverage of units' intervals, and in how many draws they were said "
        "to hold. From 500 clusters the forest chooses its centring."
    )
    head = "units, noise, draws, average covered, cross-check, RMSE, category means, raw forest, units covered, hold"
    return text + "\n\n" + _table(head.split(", "), rows)


def _two_ways() -> str:
    s = kept("hpte_200_refits")["summary"]
    return _told(
        f"Refits and scores on the same {s['draws']} panels of 200 units: mean standard error of the average "
        f"{s['error']:.4f} and {s['beside_error']:.4f}, covered {_share(s['covers'])} and "
        f"{_share(s['beside_covers'])};"
        f" the average's own spread was {s['spread_of_average']:.4f}."
    )


def _trimming() -> str:
    found = kept("trimming_50")
    return _told(
        f"Trimming 50 units with t2 noise ({found['draws']:,} draws, effect {found['effect']}): "
        f"bias {found['bias']:.3f}, "
        f"median absolute error {found['ratio']:.2f} of that without trimming."
    )


def _groups() -> str:
    found = kept("groups")
    own = found["own differences"]
    return _told(
        f"Groups of {found['units']:,} units with own differences: found, with the right sign, in "
        f"{_share(own['found_with_the_right_sign'])} of {own['draws']} draws; intervals on the other half covered "
        f"{_share(own['coverage_of_95_percent_intervals'])} of {own['intervals']}; without heterogeneity any named in "
        f"{_share(own['any_named_without'])} of {own['draws_without']}."
    )


def _forest(rows: int) -> str:
    found = kept(f"forest_{rows}")
    told = []
    for one in found["summary"]:
        faster = one.get("times_as_fast_cpu")
        told.append([
            one["design"], METHODS[one["method"]], str(one["draws"]), f"{one['rmse']:.4f}",
            "" if faster is None else f"{one['rmse_to_grf']:.3f}", f"{_share(one['coverage'])}",
            f"{one['cpu_seconds']:.1f}", "" if faster is None else f"{faster:.1f}", str(one["said_not_to_hold"]),
        ])  # fmt: skip
    text = _told(
        f"The forest on {rows:,} rows, {found['trees']} trees (`make bench-forest`): plain, with "
        "the centring that the R-loss "
        "chooses, and peers. CPU seconds of all threads, nuisances and standard errors included, "
        "on a machine that other "
        "work shares. The last column counts draws whose intervals were said not to hold."
    )
    if "note" in found:
        text += "\n" + _told(found["note"])
    head = "design, forest, draws, RMSE, of grf's, covered, CPU s, times as fast, said"
    return text + "\n\n" + _table(head.split(", "), told)
