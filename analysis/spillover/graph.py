"""The graph of substitutes: which products' sales follow which other products' prices."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse, stats

from analysis.spillover.regression import JointFit, clustered, effects_basis, joint_fit, matched_freedom, penalised
from analysis.spillover.sales import CategorySales, SalesYear, sales_year
from controller.errors import NotEstimable

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

Clustering = Literal["week", "market", "both"]
Zeros = Literal["drop", "half"]
Evidence = Literal["edges", "all"]

#: The way errors are clustered: the ways that are added, and the one that is taken off again.
_WAYS: dict[str, tuple[tuple[str, float], ...]] = {
    "week": (("week", 1.0),),
    "market": (("market", 1.0),),
    "both": (("week", 1.0), ("market", 1.0), ("market-week", -1.0)),
}


@dataclass(frozen=True, slots=True)
class Pairs:
    """Candidate pairs of products, or those of them that are edges; every array has shape (pairs,)."""

    first: Ints
    second: Ints
    #: What the second's price does to the first's sales, and the other way round.
    on_first: Floats
    on_second: Floats
    error_on_first: Floats
    error_on_second: Floats
    #: The mean of the two elasticities, its standard error and the error's degrees of freedom.
    mean: Floats
    error: Floats
    freedom: Floats
    #: One-sided: of no substitution (for a positive mean) or no complementarity (for a negative one).
    p: Floats
    #: After Benjamini and Hochberg, among all candidates, for the side of the mean.
    q: Floats
    #: The mean of the two elasticities by the Lasso: beside the number, no part of the test.
    penalised: Floats

    def __len__(self) -> int:
        return len(self.first)

    def where(self, keep: NDArray[Any]) -> "Pairs":
        """The pairs that `keep` selects."""
        return Pairs(*(getattr(self, name)[keep] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Graph:
    """Products, the pairs that were tried and those that became edges."""

    version: str
    products: tuple[str, ...]
    #: Category of each product.
    categories: tuple[str, ...]
    candidates: Pairs
    #: Substitutes have a positive mean, complements a negative one.
    edges: Pairs
    #: Own-price elasticity of each product, NaN where there is none; and its error. Shape (products,).
    own: Floats
    own_error: Floats
    #: Products without edges because nothing could be estimated, and why.
    left_out: Mapping[str, str]

    def weights(self, evidence: Evidence = "edges") -> sparse.csr_array:
        """Substitution as a symmetric matrix of means, complements left out; shape (products, products).

        Args:
            evidence: "edges" takes what passed the test. "all" takes every candidate with a positive mean, shrunk by
                one less its error's share of its square (the positive part of James and Stein 1961, a pair at a time):
                where substitution is too weak to be told pair by pair, clusters still hold more of it than chance.
        """
        if evidence == "edges":
            kept = self.edges.where(self.edges.mean > 0)
        else:
            told = self.candidates.where((self.candidates.mean > 0) & np.isfinite(self.candidates.error))
            kept = replace(told, mean=told.mean * np.maximum(0.0, 1 - (told.error / told.mean) ** 2))
            kept = kept.where(kept.mean > 0)
        rows = np.concatenate([kept.first, kept.second])
        columns = np.concatenate([kept.second, kept.first])
        values = np.concatenate([kept.mean, kept.mean])
        return sparse.csr_array((values, (rows, columns)), shape=(len(self.products),) * 2)


def substitute_graph(
    frame: Mapping[str, Any] | SalesYear | Any,
    *,
    cluster: Clustering = "week",
    zeros: Zeros = "drop",
    rate: float = 0.05,
    least: float = 0.05,
    days_a_period: Literal[1, 7] = 1,
    week_effects: bool = True,
    progress: Callable[[int], None] | None = None,
    across: Iterable[tuple[str, str]] = (),
) -> Graph:
    """Estimate the graph of substitutes from sales and prices, all pairs within a category jointly.

    A pair is an edge if the mean of its two cross-price elasticities is at least `least` in size and its one-sided test
    passes the false-discovery rate. The test is of the *mean*: substitution in one direction alone is found with the
    power of half its size.

    Args:
        frame: columns product, category, market, day, price, quantity; a pandas frame or a mapping.
        cluster: errors by week, by market or both ways. Three markets are no basis for errors by market.
        zeros: "drop" takes a day without sales for an empty shelf; "half" adds one half to every quantity.
        rate: of false discoveries; substitutes get nine tenths of it, complements the rest.
        least: smallest size of an edge.
        days_a_period: 7 if `day` counts weeks: then there are no weekday effects.
        progress: told the products of each category that is done.
        week_effects: without them, promotions of the whole chain look like substitution or complementarity.
        across: pairs of two categories to try as well, as `analysis.spillover.sales.nearest_across` gives them: on all
            prices of the first's category and of the seconds. More pairs mean a stricter test of each.

    Raises:
        NotEstimable: the frame cannot be read, no pair of products can be estimated, or a pair of `across` cannot; the
            message says why.
    """
    year = frame if isinstance(frame, SalesYear) else sales_year(frame)
    moved = np.nanmax(year.price, axis=(1, 2)) > np.nanmin(year.price, axis=(1, 2))
    reasons = {year.products[i]: "its price never moves" for i in np.flatnonzero(~moved)}
    own, own_error = np.full(len(moved), np.nan), np.full(len(moved), np.nan)
    bases: dict[None, Floats] = {}
    parts: list[Pairs] = []
    blocks = chain(((block, None) for block in year.blocks(~moved)), year.blocks_across(across, ~moved))
    for block, wanted in blocks:
        if progress is not None and wanted is None:
            progress(len(block.members))
        names = [year.products[i] for i in block.members]
        codes = _codes(block, days_a_period)
        sales, thin = _log_sales(block, zeros)
        if thin.any():
            few = {names[i]: "fewer than half of its days have sales" for i in np.flatnonzero(thin)}
            if wanted is None:
                reasons |= few
            else:
                _refuse_across(block, {name: said for name, said in few.items() if name not in reasons})
                wanted = wanted[~thin][:, ~thin]
            block = _without(block, thin)
            sales = sales[:, ~thin]
            names = [name for name, gone in zip(names, thin, strict=True) if not gone]
        ways = _WAYS[cluster]
        fit, reason = None, _too_small(codes, len(names), cluster)
        if not reason:
            basis = bases.get(None) if block.whole else None
            if basis is None:
                effects = [codes["market"]]
                effects += [codes["week"]] if week_effects else []
                effects += [block.day % 7] if days_a_period == 1 else []
                basis = effects_basis(*effects)
                if block.whole:
                    bases[None] = basis
            try:
                fit = joint_fit(sales, block.log_price, basis, tuple(codes[way] for way, _ in ways))
            except linalg.LinAlgError:
                reason = "prices of its category move only together or only for all at once"
        if fit is None:
            if wanted is not None:
                _refuse_across(block, dict.fromkeys(names, reason))
            reasons |= dict.fromkeys(names, reason)
            continue
        signs = tuple(sign for _, sign in ways)
        variance = sum(sign * clustered(part) for sign, part in zip(signs, fit.moved, strict=True))
        errors = np.sqrt(np.where(variance > 0, variance, np.nan))
        found = _pairs(block.members, fit, errors, signs)
        if wanted is None:
            own[block.members], own_error[block.members] = np.diag(fit.elasticities), np.diag(errors)
        else:
            found = found.where(wanted[np.triu_indices(len(block.members), 1)])
        parts.append(found)
    if not parts:
        why = "; ".join(sorted(set(reasons.values()))) or "no category has two products"
        raise NotEstimable(f"no pair of products can be estimated: {why}")
    joined = Pairs(*(np.concatenate([getattr(part, name) for part in parts]) for name in Pairs.__slots__))
    candidates = _discovered(joined)
    edges = candidates.where((candidates.q < rate) & (np.abs(candidates.mean) >= least))
    labels = tuple(year.categories[number] for number in year.category)
    tried = {year.products[i] for i in np.union1d(joined.first, joined.second)}
    left_out = {name: why for name, why in reasons.items() if name not in tried}
    return Graph(_version(year.products, edges), year.products, labels, candidates, edges, own, own_error, left_out)


def _refuse_across(block: CategorySales, why: Mapping[str, str]) -> None:
    """Nobody asked for pairs within a category by name; those across are asked for, and none is left out unsaid."""
    for name, reason in why.items():
        raise NotEstimable(f"pairs of {block.category} across categories: {name}: {reason}; leave its pairs out")


def _codes(block: CategorySales, days_a_period: int) -> dict[str, Ints]:
    week = block.day if days_a_period == 7 else block.day // 7
    named = {"week": week, "market": block.market, "market-week": block.market * (int(week.max(initial=0)) + 1) + week}
    return {name: np.unique(codes, return_inverse=True)[1].astype(np.intp) for name, codes in named.items()}


def _log_sales(block: CategorySales, zeros: Zeros) -> tuple[Floats, NDArray[np.bool_]]:
    if zeros == "half":
        sales = np.log(block.quantity + 0.5)
    else:
        sales = np.log(np.where(block.quantity > 0, block.quantity, np.nan))
    return sales, np.isfinite(sales).mean(axis=0) < 0.5


def _without(block: CategorySales, gone: NDArray[np.bool_]) -> CategorySales:
    kept = ~gone
    return CategorySales(
        block.category,
        block.members[kept],
        block.market,
        block.day,
        block.log_price[:, kept],
        block.quantity[:, kept],
        block.whole,
    )


def _too_small(codes: dict[str, Ints], products: int, cluster: Clustering) -> str:
    """Why nothing can be said of a category, or nothing."""
    if products < 2:
        return "it is alone in its category"
    for way, _ in _WAYS[cluster]:
        groups = int(codes[way].max(initial=-1)) + 1
        if groups < 6:
            return f"errors clustered by {way} need at least six of them, its category has {groups}"
    rows, weeks = len(codes["week"]), int(codes["week"].max()) + 1
    if rows < 2 * (products + weeks + 7):
        return f"{rows} days of its category in all markets are too few for {products} prices and {weeks} weeks"
    return ""


def _pairs(members: Ints, fit: JointFit, errors: Floats, signs: tuple[float, ...]) -> Pairs:
    one, two = np.triu_indices(len(members), 1)
    e, shrunk = fit.elasticities, penalised(fit)
    mean = (e[one, two] + e[two, one]) / 2
    variance = np.zeros(len(one))
    freedom = np.full(len(one), np.inf)
    for sign, moved, alike, traces in zip(signs, fit.moved, fit.alike, fit.traces, strict=True):
        variance += sign * clustered((moved[:, one, two] + moved[:, two, one]) / 2)
        # Equation `one` has the price of `two`, and the other way round.
        matched = matched_freedom(alike, traces, two, one, fit.variances[one], fit.variances[two])
        freedom = np.minimum(freedom, matched)
    error = np.sqrt(np.where(variance > 0, variance, np.nan))
    p = np.where(np.isnan(error), 1.0, stats.t.sf(np.abs(mean) / error, freedom))
    return Pairs(
        members[one],
        members[two],
        e[one, two],
        e[two, one],
        errors[one, two],
        errors[two, one],
        mean,
        error,
        freedom,
        p,
        np.ones(len(one)),
        (shrunk[one, two] + shrunk[two, one]) / 2,
    )


def _discovered(pairs: Pairs) -> Pairs:
    """Benjamini and Hochberg, adaptive: one-sided tests, the share of true nulls estimated (Storey 2002, at one half).

    Nine tenths of the rate are for substitutes, the rest for complements: without either, the two together are rarer
    than the rate.
    """
    q = np.ones(len(pairs))
    for side, part in ((pairs.mean > 0, 0.9), (pairs.mean < 0, 0.1)):
        one_sided = np.where(side, pairs.p, 1 - pairs.p)
        nulls = min(1.0, (np.sum(one_sided > 0.5) + 1) / (0.5 * len(pairs)))
        q[side] = np.minimum(1.0, nulls / part * stats.false_discovery_control(one_sided))[side]
    return replace(pairs, q=q)


def _version(products: tuple[str, ...], edges: Pairs) -> str:
    """A digest of the names and the edges: the same sales give the same version."""
    digest = hashlib.sha256("\n".join(products).encode())
    for column in (edges.first, edges.second, np.round(edges.mean, 9)):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()[:12]
