"""Estimates that are weighted sums of outcomes, and their variance where exposures of many units hang together."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from analysis.spillover.exposure import Bools, Floats, Ints


@dataclass(frozen=True, slots=True)
class Form:
    """The estimate `coefficient @ outcome`, and what is taken off an outcome to leave its residual."""

    #: Shape (rows,).
    coefficient: Floats
    #: Residuals are y - basis @ (projection @ y): shapes (rows, k) and (k, rows).
    basis: sparse.csr_array
    projection: sparse.csr_array

    def __add__(self, other: "Form") -> "Form":
        """Of two forms of one regression."""
        return Form(self.coefficient + other.coefficient, self.basis, self.projection)


@dataclass(frozen=True, slots=True)
class Part:
    """The rows that one draw decided, and which of them depend on a common cluster."""

    rows: Ints
    #: Rows by clusters of this draw, 1 where it is the row's own.
    own: sparse.csr_array
    #: Rows by rows, 1 where both exposures depend on a common cluster.
    linked: sparse.csr_array


@dataclass(frozen=True, slots=True)
class Layout:
    """Rows of different draws are independent."""

    parts: tuple[Part, ...]

    @classmethod
    def of(cls, cluster: Ints, draw: Ints, unit: Ints, weights: sparse.csr_array | None) -> "Layout":
        """Without `weights` a row depends on its own cluster alone."""
        names, label = np.unique(cluster, return_inverse=True)
        if weights is None:
            reach = None
        else:
            # The clusters of units without a row count too: their arm reaches those that have one.
            of_unit = np.full(weights.shape[0], -1)
            of_unit[unit] = label
            known = np.flatnonzero(of_unit >= 0)
            home = sparse.csr_array(
                (np.ones(len(known)), (known, of_unit[known])), shape=(weights.shape[0], len(names))
            )
            reach = ((home + (weights != 0).astype(float) @ home) > 0).astype(float).tocsr()
        parts = []
        # Most draws are seen in the same units.
        known_links: dict[bytes, sparse.csr_array] = {}
        for one in np.unique(draw):
            rows = np.flatnonzero(draw == one)
            own = sparse.csr_array((np.ones(len(rows)), (np.arange(len(rows)), label[rows])), (len(rows), len(names)))
            who = unit[rows].tobytes()
            if who not in known_links:
                reached = own if reach is None else reach[unit[rows]]
                known_links[who] = sparse.csr_array((reached @ reached.T > 0).astype(float))
            parts.append(Part(rows, own, known_links[who]))
        return cls(tuple(parts))


def contrast_form(one: Floats, two: Floats, stretch: Ints) -> Form | None:
    """The difference of two weighted means within stretches; None where no stretch has both.

    Stretches count with v w / (v + w), the weight of a regression with an effect of each stretch.

    Args:
        one, two: weights of the rows in each exposure, 0 elsewhere; shape (rows,).
    """
    count = int(stretch.max()) + 1
    v, w = np.bincount(stretch, one, count), np.bincount(stretch, two, count)
    both = (v > 0) & (w > 0)
    if not both.any():
        return None
    h = np.where(both, v * w / np.where(both, v + w, 1), 0)
    h = h / h.sum()
    within = [
        np.where(both[stretch], side / np.where(both, total, 1)[stretch], 0) for side, total in ((one, v), (two, w))
    ]
    rows = np.arange(len(stretch))
    used = [rows[side > 0] for side in within]
    place = [stretch[used[0]], count + stretch[used[1]]]
    shape = (len(stretch), 2 * count)
    basis = sparse.csr_array((np.ones(sum(map(len, used))), (np.concatenate(used), np.concatenate(place))), shape)
    values = np.concatenate([within[0][used[0]], within[1][used[1]]])
    projection = sparse.csr_array((values, (np.concatenate(place), np.concatenate(used))), shape[::-1])
    return Form(h[stretch] * (within[0] - within[1]), basis, projection)


def least_squares_forms(columns: Floats, kept: Bools, stretch: Ints) -> list[Form] | None:
    """One form for each column of a regression on them and on an effect of each stretch; None where they are collinear.

    Args:
        columns: shape (rows, k).
        kept: rows that are used.
    """
    if kept.sum() < 4:
        return None
    names, label = np.unique(stretch[kept], return_inverse=True)
    rows = np.flatnonzero(kept)
    size = np.bincount(label)
    x = columns[kept]
    means = np.column_stack([np.bincount(label, column) / size for column in x.T])
    centred = x - means[label]
    if np.linalg.matrix_rank(centred) < x.shape[1] or len(x) < len(names) + x.shape[1] + 1:
        return None
    inverse = np.linalg.pinv(centred)
    n, k = len(columns), x.shape[1]
    effect = np.arange(len(names))[label]
    basis = sparse.csr_array(
        (
            np.concatenate([np.ones(len(rows)), centred.ravel()]),
            (
                np.concatenate([rows, np.repeat(rows, k)]),
                np.concatenate([effect, np.tile(len(names) + np.arange(k), len(rows))]),
            ),
        ),
        (n, len(names) + k),
    )
    projection = sparse.csr_array(
        (
            np.concatenate([1 / size[label], inverse.ravel()]),
            (
                np.concatenate([effect, np.repeat(len(names) + np.arange(k), len(rows))]),
                np.concatenate([rows, np.tile(rows, k)]),
            ),
        ),
        (len(names) + k, n),
    )
    forms = []
    for row in inverse:
        coefficient = np.zeros(n)
        coefficient[rows] = row
        forms.append(Form(coefficient, basis, projection))
    return forms


def variance(form: Form, outcome: Floats, layout: Layout) -> tuple[float, float]:
    """The linearised variance, made unbiased for shocks common to a cluster, and Satterthwaite's degrees of freedom.

    The sum runs over all pairs of rows whose exposures depend on a common cluster of one draw. Residuals are from
    fitted means, which takes from every pair; the factor that gives it back is Bell and McCaffrey's idea (2002) with
    the dependence of exposures in place of clusters. Shocks are common to the rows of a cluster that one draw decided.
    """
    residual = outcome - form.basis @ (form.projection @ outcome)
    raw = trace = frobenius = target = 0.0
    for part in layout.parts:
        used = np.flatnonzero(form.coefficient[part.rows])
        if not len(used):
            continue
        rows, own, linked = part.rows[used], part.own[used], part.linked[used][:, used]
        coefficient = form.coefficient[rows]
        score = coefficient * residual[rows]
        raw += float(score @ (linked @ score))
        shocks = own[:, np.unique(own.indices)].toarray()
        fitted = form.basis[rows] @ (form.projection[:, rows] @ shocks)
        influence = coefficient[:, None] * (shocks - fitted)
        expected = influence.T @ (linked @ influence)
        trace += float(np.trace(expected))
        frobenius += float((expected**2).sum())
        summed = coefficient @ shocks
        target += float(summed @ summed)
    if not trace > 0 or not frobenius > 0:
        return float("nan"), 0.0
    return raw * target / trace, trace**2 / frobenius
