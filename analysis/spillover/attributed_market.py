"""The scenario's market with attributes that make substitutes: what a student of the graph is judged on."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from analysis.spillover.market import Market, draw_market, scenario, without_substitution

Floats = NDArray[np.float64]

#: The substitutes of a product are its nearest in the first attributes; the others say nothing.
RELEVANT, IRRELEVANT = 3, 3


def with_attributes(seed: int) -> tuple[Market, Floats, Floats]:
    """The market, attributes (products, attributes) and price levels (products,)."""
    given = scenario()
    market, rng = draw_market(without_substitution(given), seed), np.random.default_rng(seed + 1)
    values = rng.normal(size=(given.products, RELEVANT + IRRELEVANT))
    level = 0.5 * values[:, 0] + rng.normal(size=given.products) * np.sqrt(0.75)
    near = values[:, :RELEVANT]
    apart = ((near[:, None] - near[None]) ** 2).sum(axis=2) + rng.exponential(0.5, (given.products,) * 2)
    apart = np.where(market.category[:, None] == market.category[None], (apart + apart.T) / 2, np.inf)
    np.fill_diagonal(apart, np.inf)
    links = np.zeros_like(apart, dtype=bool)
    # About as many as in the scenario: a link where either has the other among its four nearest.
    links[np.arange(len(apart))[:, None], np.argsort(apart, axis=1)[:, : given.substitutes - 1]] = True
    links |= links.T
    cross = given.cross_elasticity * links
    sold = market.quantity * np.exp(np.einsum("ij,jmt->imt", cross, market.log_price))
    return replace(market, quantity=sold, elasticities=market.elasticities + cross), values, level
