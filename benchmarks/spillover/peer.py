"""The joint regressions beside a loop of pyfixest's, in one run: speed a pair, and how far the numbers lie apart.

Two counts of 200,000 pairs, three runs each by default, with the machine's load before each; the fastest one is `best`.

pyfixest is in no locked group: `python -m venv peer && peer/bin/pip install pyfixest==0.60.0 pydantic scipy`, then
`PYTHONPATH=. peer/bin/python -m benchmarks.spillover.peer --write benchmarks/results/graph_peer.json`.
"""

import argparse
import json
import os
import resource
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pyfixest

from analysis.spillover.graph import substitute_graph
from analysis.spillover.sales import SalesYear

PRODUCTS, DAYS, SAMPLE = 10_000, 365, 10
#: products a category that make at least 200,000 pairs: each counted once, or in both directions
SIZES = {"pairs": 41, "directed_pairs": 22}


def drawn(size: int) -> SalesYear:
    """At least 10,000 products, `size` a category, whose prices move every five days; no zero days."""
    products = -(-PRODUCTS // size) * size
    rng = np.random.default_rng(1)
    price = np.exp(0.14 * np.repeat(rng.normal(size=(products, 1, DAYS // 5)), 5, axis=2))
    quantity = np.exp(rng.normal(4, 0.3, price.shape)) * price**-2
    names = tuple(f"p{i:05d}" for i in range(products))
    category = np.repeat(np.arange(products // size), size)
    labels = tuple(f"c{i:04d}" for i in range(products // size))
    return SalesYear(names, labels, ("m0",), category, np.arange(DAYS), price, quantity)


def one_run(year: SalesYear, size: int) -> dict[str, float]:
    """All pairs by us, a sample of regressions by pyfixest."""
    load, start, cpu = os.getloadavg()[0], time.perf_counter(), time.process_time()
    graph = substitute_graph(year)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pairs = 2 * len(graph.candidates)
    data = pd.DataFrame({f"x{k}": np.log(year.price[k, 0]) for k in range(size)})
    data = data.assign(**{f"y{k}": np.log(year.quantity[k, 0]) for k in range(size)})
    data = data.assign(week=np.arange(DAYS) // 7, weekday=np.arange(DAYS) % 7)
    prices = " + ".join(f"x{k}" for k in range(size))
    pyfixest.feols(f"y0 ~ {prices} | week + weekday", data, vcov={"CRV1": "week"})
    start = time.perf_counter()
    fits = [
        pyfixest.feols(f"y{k} ~ {prices} | week + weekday", data, vcov={"CRV1": "week"}, fixef_tol=1e-12)
        for k in range(SAMPLE)
    ]
    joint = (time.perf_counter() - start) / SAMPLE
    start = time.perf_counter()
    for k in range(1, SAMPLE + 1):
        pyfixest.feols(f"y0 ~ x0 + x{k} | week + weekday", data, vcov={"CRV1": "week"})
    single = (time.perf_counter() - start) / SAMPLE
    apart = 0.0
    for one, two, value in zip(graph.candidates.first, graph.candidates.second, graph.candidates.on_first, strict=True):
        if one < SAMPLE and two < size:
            apart = max(apart, abs(float(value) - float(fits[one].coef()[f"x{two}"])))
    return {
        "load": load,
        "products": len(year.products),
        "directed_pairs": pairs,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_mb": peak,
        "microseconds_a_pair": seconds / pairs * 1e6,
        "sampled_regressions": SAMPLE,
        "largest_difference": apart,
        "pyfixest_milliseconds_a_regression_on_all_prices": joint * 1e3,
        "pyfixest_milliseconds_a_regression_on_two_prices": single * 1e3,
        "ratio_to_a_regression_a_pair_on_all_prices": joint / seconds * pairs,
        "ratio_to_a_regression_a_pair_on_two_prices": single / seconds * pairs,
        "ratio_to_a_regression_a_product_on_all_prices": joint / (size - 1) / seconds * pairs,
    }


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    held: dict[str, object] = {"pyfixest": version("pyfixest")}
    for counted, size in SIZES.items():
        year = drawn(size)
        runs: list[dict[str, float]] = []
        for _ in range(asked.runs):
            runs.append(one_run(year, size))
            print(json.dumps(runs[-1], indent=2), flush=True)
        best = min(runs, key=lambda run: run["seconds"])
        held[counted] = {"best": best, "runs": runs}
        if asked.write:
            asked.write.write_text(json.dumps(held, indent=1) + "\n")


if __name__ == "__main__":
    main()
