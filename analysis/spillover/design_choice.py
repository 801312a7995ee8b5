"""Bias against variance: what is lost to spillover and to precision if products, clusters or markets are randomised."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.spillover.clustering import clusters
from analysis.spillover.graph import Evidence, Graph
from analysis.spillover.sales import SalesYear
from controller.errors import NotEstimable

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to randomise, for an effect on all products of a price changed for all of them. In log sales."""

    name: str
    #: What is randomised: products, clusters of them, or blocks of days.
    units: int
    #: Share of substitution between what is randomised apart.
    cut: float
    #: Expected naive contrast less the total effect.
    bias: float
    #: Standard error by the history's own differences between two stretches of the experiment's length.
    se: float

    @property
    def rmse(self) -> float:
        """Root mean square error: bias and standard error together."""
        return float(np.hypot(self.bias, self.se))


def weighed(
    graph: Graph,
    change: Floats,
    days: Floats,
    periods: int,
    price_change: float,
    sizes: Sequence[int],
    seed: int = 0,
    evidence: Evidence = "edges",
) -> tuple[Choice, ...]:
    """Products alone, clusters of each size and days alone, by root mean square error, the best first.

    A product's naive contrast lacks what its neighbours' prices do to it: the sum of its elasticities times the log of
    the price change. Of that, randomised clusters keep the share within. Half of the clusters are treated. Days alone
    treat all products at once, so nothing leaves; the market's own ups and downs are then the error. Carryover from one
    day to the next is no part of this: `flipside advise` rehearses it.

    Args:
        graph: of a history without the experiment.
        change: log sales in a stretch of the experiment's length less those in the stretch before, shape (stretches,
            products); NaN where a product has none.
        days: log sales of all products in one period less those in the period before, shape (periods of history - 1,).
        periods: of the experiment; every second one is treated where days are randomised.
        price_change: of the treated, as a share: .1 is ten per cent more.
        sizes: largest clusters to try.
        evidence: "all" where substitution is too weak to be told pair by pair: by edges alone, products then look as if
            they had no bias.

    Raises:
        NotEstimable: no substitutes, fewer than six clusters at every size, or fewer than two stretches.
    """
    if len(change) < 2 or len(days) < 2:
        raise NotEstimable("a history must have two stretches of the experiment's length with one before each")
    moved = float(np.log1p(price_change))
    weights = graph.weights(evidence)
    per_product = float(weights.sum()) / len(graph.products) * moved
    alone = np.arange(len(graph.products))
    found = [Choice("products", len(alone), 1.0, -per_product, _se(change, alone))]
    for size in sorted(set(sizes)):
        one = clusters(graph, size, seed=seed, evidence=evidence)
        if len(one.sizes) >= 6:
            name = f"clusters of at most {size}"
            found.append(Choice(name, len(one.sizes), one.cut, -per_product * one.cut, _se(change, one.label)))
    found.append(Choice("days", periods, 0.0, 0.0, float(np.std(days, ddof=1) / np.sqrt(periods / 2))))
    return tuple(sorted(found, key=lambda choice: choice.rmse))


def stretches(graph: Graph, year: SalesYear, periods: int) -> tuple[Floats, Floats]:
    """What `weighed` takes of a history: changes between neighbouring stretches, by product and of all sales by period.

    Args:
        periods: days or weeks, as the history has, of one stretch.

    Raises:
        NotEstimable: the history is too short, or has none of the graph's products.
    """
    place = {name: number for number, name in enumerate(year.products)}
    missing = [name for name in graph.products if name not in place]
    if missing:
        raise NotEstimable(f"the history has no product {missing[0]}: it is not that of graph {graph.version}")
    sold = np.nansum(year.quantity, axis=1)[[place[name] for name in graph.products]]
    count = sold.shape[1] // periods
    if count < 3:
        raise NotEstimable(
            f"{sold.shape[1]} periods hold {count} stretches of {periods}: three are needed to tell an error; shorten"
            " the experiment or give a longer history"
        )
    totals = sold[:, : count * periods].reshape(len(sold), count, periods).sum(axis=2)
    with np.errstate(divide="ignore"):
        logs = np.where(totals > 0, np.log(totals), np.nan)
    every = sold.sum(axis=0)
    with np.errstate(divide="ignore"):
        daily = np.log(every)
    daily = daily[np.isfinite(daily)]
    return np.diff(logs, axis=1).T, np.diff(daily)


def verdict(choices: Sequence[Choice]) -> str:
    """Which one to take, and what it gives up, in a sentence."""
    best = choices[0]
    naive = next(choice for choice in choices if choice.name == "products")
    if best is naive:
        other = min((choice for choice in choices if choice is not naive), key=lambda choice: choice.rmse)
        return (
            f"randomise products: {other.name} would take {abs(naive.bias) - abs(other.bias):.4f} of bias away and add"
            f" {other.se - naive.se:.4f} of standard error, more than it is worth (RMSE {naive.rmse:.4f} against"
            f" {other.rmse:.4f}); read the effect with its bias of {naive.bias:+.4f}"
        )
    return (
        f"randomise {best.name}: RMSE {best.rmse:.4f} (bias {best.bias:+.4f}, standard error {best.se:.4f}), products"
        f" {naive.rmse:.4f} (bias {naive.bias:+.4f}, standard error {naive.se:.4f})"
    )


def _se(change: Floats, label: Ints) -> float:
    """Of the difference of means over half of the clusters each, by the variance of cluster totals in the history."""
    count = int(label.max()) + 1
    sizes = np.bincount(label, minlength=count)
    variances = []
    for stretch in change:
        known = np.isfinite(stretch)
        off = np.where(known, stretch - stretch[known].mean(), 0.0)
        totals = np.bincount(label, off, minlength=count)
        variances.append(4 * (totals**2).sum() / sizes.sum() ** 2 * count / max(count - 1, 1))
    return float(np.sqrt(np.mean(variances)))
