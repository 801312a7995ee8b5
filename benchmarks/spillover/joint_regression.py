"""What the graph is to be better than: each product's log sales on all prices of its category, one test a price.

Fixed effects of market, week and weekday; plain errors clustered by week (Stata's correction, t with one degree of
freedom less than there are weeks); Benjamini and Hochberg over all pairs of the year; positive and at least .05.
"""

import numpy as np
from scipy import stats

from analysis.spillover.sales import CategorySales, SalesYear

RATE, LEAST = 0.05, 0.05


def named_by_joint_regression(year: SalesYear) -> np.ndarray:
    """Whether the price of j is named for the sales of i, shape (products, products)."""
    count = len(year.products)
    value, p = np.zeros((count, count)), np.ones((count, count))
    for block in year.blocks(np.zeros(count, dtype=bool)):
        at = np.ix_(block.members, block.members)
        value[at], p[at] = _regressions(block)
    pairs = year.category[:, None] == year.category[None, :]
    np.fill_diagonal(pairs, False)
    q = np.ones((count, count))
    q[pairs] = stats.false_discovery_control(p[pairs])
    named: np.ndarray = pairs & (q < RATE) & (value >= LEAST)
    return named


def _regressions(block: CategorySales) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients on prices and their two-sided p, shape (k, k): equation, price."""
    k, week = len(block.members), block.day // 7
    effects = [_dummies(week), _dummies(block.market)[:, 1:], _dummies(block.day % 7)[:, 1:]]
    regressors = np.hstack([block.log_price, *effects])
    value, p = np.empty((k, k)), np.empty((k, k))
    for equation in range(k):
        sold = block.quantity[:, equation] > 0
        x, y = regressors[sold], np.log(block.quantity[sold, equation])
        x = x[:, x.any(axis=0)]  # a week of which every day is missing has no effect
        inverse = np.linalg.inv(x.T @ x)
        beta = inverse @ (x.T @ y)
        starts = np.flatnonzero(np.diff(np.sort(week[sold], kind="stable"), prepend=-1))
        order = np.argsort(week[sold], kind="stable")
        scores = np.add.reduceat((x * (y - x @ beta)[:, None])[order], starts) @ inverse[:, :k]
        groups, (n, columns) = len(starts), x.shape
        correction = groups / (groups - 1) * (n - 1) / (n - columns)
        error = np.sqrt(correction * (scores * scores).sum(axis=0))
        value[equation], p[equation] = beta[:k], 2 * stats.t.sf(np.abs(beta[:k]) / error, groups - 1)
    return value, p


def _dummies(codes: np.ndarray) -> np.ndarray:
    dummies: np.ndarray = (codes[:, None] == np.unique(codes)[None, :]).astype(float)
    return dummies
