"""Simplex weights after a small change of their problem, from where they were.

``min_w |X'w - b|^2 + ridge |w|^2`` on the simplex, with or without an intercept, for n donors and m observations; then
again without some donors, without some observations, with another target or another ridge. Up to ``EXACT_SUPPORT``
donors with weight the active set goes on from its old support until no donor wants to enter or to leave: that is the
new optimum. Larger supports (a ridge gives weight to nearly all) move in closed form. With H the support's Gram matrix
plus the ridge, and ``P = H^-1 - H^-1 1 1'H^-1 / (1'H^-1 1)``:

- without donors J: ``w - P[:, J] P[J, J]^-1 w_J``, exact on the support; weights that turn negative leave too;
- without observations O of residuals r: ``w - P X_O (I - h)^-1 r_O``, h their leverages, exact on the support;
- another target: ``w + P X db``, exact on the support; another ridge: ``w - P w d(ridge)``, of first order.

What the closed form does not see is a donor that enters.
"""

from dataclasses import dataclass, field

import numpy as np

from analysis.heterogeneity.support_inverse import SupportInverse
from analysis.panel_data.panel import BoolArray, FloatArray, IntArray

EXACT_SUPPORT = 150
#: without a ridge a support has no more donors than observations and one, and which they are matters more
EXACT_WITHOUT_RIDGE = 600
#: donors whose Gram matrix is kept
MOST_DONORS = 3000
#: exchanges of the active set; the first ones move many donors at once
ROUNDS, ROUNDS_AT_ONCE = 400, 25
#: duality gap, relative to the objective's parts, at which the active set is done
DONE = 1e-11


def _none() -> IntArray:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a problem."""

    donors: IntArray = field(default_factory=_none)
    observations: IntArray = field(default_factory=_none)
    #: (m,) new target less old
    target: FloatArray | None = None
    #: new ridge less old
    ridge: float = 0.0


@dataclass(frozen=True, slots=True)
class MovedWeights:
    """A solved problem; rows are less the target, and centred over observations where there is an intercept."""

    rows: FloatArray
    target: FloatArray
    weights: FloatArray
    ridge: float
    intercept: bool
    #: (n, n) Gram matrix of the rows, without the ridge; None where the closed form is used
    gram: FloatArray | None
    #: the optimum's support, from which the active set goes on; None where the closed form is used
    start: SupportInverse | None
    #: (s,) donors with weight, (s, m) their rows and (s, s) the projector on them; None where the active set goes on
    inside: IntArray
    held_rows: FloatArray
    projector: FloatArray | None

    @classmethod
    def of(
        cls, rows: FloatArray, target: FloatArray, weights: FloatArray, ridge: float, intercept: bool
    ) -> "MovedWeights":
        """``rows`` (n, m), ``target`` (m,), ``weights`` (n,) the optimum."""
        if intercept:
            rows, target = rows - rows.mean(axis=1, keepdims=True), target - target.mean()
        # weights of sum one follow the target as their differences from it follow zero, with far fewer digits lost
        rows, target = rows - target, np.zeros(len(target))
        inside = np.flatnonzero(weights > 0)
        most = EXACT_SUPPORT if ridge > 0 else EXACT_WITHOUT_RIDGE
        if len(inside) <= most and len(rows) <= MOST_DONORS:
            gram = rows @ rows.T
            try:
                start = SupportInverse.of(_with_ridge(gram, ridge), inside)
            except np.linalg.LinAlgError:
                start = None
            return cls(rows, target, weights, ridge, intercept, gram, start, inside, rows[:0], None)
        held_rows = rows[inside]
        inverse = np.linalg.pinv(_lifted(held_rows @ held_rows.T, ridge), hermitian=True)
        ones = inverse.sum(axis=1)
        projector = inverse - np.outer(ones, ones) / ones.sum()
        return cls(rows, target, weights, ridge, intercept, None, None, inside, held_rows, projector)

    @property
    def exact(self) -> bool:
        return self.gram is not None

    def after(self, change: Change) -> FloatArray:
        """(n,) weights after a change; NaN where they were not found."""
        return self._continued(change) if self.gram is not None else self._projected(change)

    def _continued(self, change: Change) -> FloatArray:
        assert self.gram is not None
        nowhere = np.full(len(self.gram), np.nan)
        shift = self.target if change.target is None else self.target + change.target
        linear, lost = self.rows @ shift, self._lost(change.observations)
        for column, picked, factor in lost:
            linear = linear - factor * column * float(picked @ shift)
        allowed = np.ones(len(self.gram), dtype=np.bool_)
        allowed[change.donors] = False
        if not allowed.any():
            return nowhere
        tolerance = DONE * (float(shift @ shift) + float(np.abs(np.diag(self.gram)).mean()))
        try:
            support = self._support(change, linear, allowed)
            for column, _, factor in lost:
                support.lose(column, factor)
            for row in support.rows_of(~allowed):
                support.leave(row)
            for step in range(ROUNDS):
                several = step < ROUNDS_AT_ONCE
                weights, gradient, negative = support.solved(linear, tolerance)
                for row in negative if several else negative[:1]:
                    support.leave(row)
                if negative:
                    continue
                level = float(weights @ gradient)
                wanting = np.flatnonzero(allowed & (gradient < level - tolerance))
                if not wanting.size:
                    return weights
                for donor in wanting[np.argsort(gradient[wanting], kind="stable")][: 3 if several else 1]:
                    support.enter(int(donor))
        except np.linalg.LinAlgError:
            pass
        return nowhere

    def _support(self, change: Change, linear: FloatArray, allowed: BoolArray) -> SupportInverse:
        """To start from: what has weight, or the best donor where nothing that has may stay."""
        assert self.gram is not None
        inside = self.inside
        stays = allowed[inside].any()
        if stays and change.ridge == 0 and self.start is not None:
            return self.start.copy()
        if not stays:
            inside = np.flatnonzero(allowed)[[int(linear[allowed].argmax())]]
        return SupportInverse.of(_with_ridge(self.gram, max(self.ridge + change.ridge, 0.0)), inside)

    def _lost(self, observations: IntArray) -> list[tuple[FloatArray, FloatArray, float]]:
        """(column (n,), selector (m,), factor): ``X X'`` loses ``factor column column'`` of each.

        The last one, where there is an intercept, takes the mean of what is left.
        """
        if not observations.size:
            return []
        picked = np.zeros((len(observations), self.rows.shape[1]))
        picked[np.arange(len(observations)), observations] = 1.0
        lost = [(self.rows[:, o], one, 1.0) for o, one in zip(observations, picked, strict=True)]
        if self.intercept:
            left = max(self.rows.shape[1] - len(observations), 1)
            lost.append((self.rows[:, observations].sum(axis=1), picked.sum(axis=0), 1.0 / left))
        return lost

    def _projected(self, change: Change) -> FloatArray:
        assert self.projector is not None
        inside, rows = self.inside, self.held_rows
        held = self.weights[inside]
        push = np.zeros(len(inside)) if change.target is None else rows @ change.target
        if change.observations.size:
            out = rows[:, change.observations]
            leverage = out.T @ self.projector @ out + (1.0 / rows.shape[1] if self.intercept else 0.0)
            residual = self.target[change.observations] - held @ out
            push = push - out @ np.linalg.solve(np.eye(leverage.shape[0]) - leverage, residual)
        gone = np.flatnonzero(np.isin(inside, change.donors))
        weights = np.full(len(self.weights), np.nan)
        found = held
        for _ in range(8):
            if gone.size >= inside.size:
                return weights
            pull = np.linalg.lstsq(self.projector[np.ix_(gone, gone)], self.projector[gone], rcond=None)[0]
            kept = held - pull.T @ held[gone]
            pushed = push - change.ridge * kept
            found = kept + self.projector @ pushed - self.projector[:, gone] @ (pull @ pushed)
            found[gone] = 0.0
            negative = np.flatnonzero(found < 0)
            if not negative.size:
                break
            gone = np.union1d(gone, negative)
        found = np.maximum(found, 0.0)
        weights[:] = 0.0
        weights[inside] = found / found.sum()
        return weights


def _with_ridge(gram: FloatArray, ridge: float) -> FloatArray:
    found = gram.copy()
    found[np.diag_indices(len(found))] += ridge
    return found


def _lifted(gram: FloatArray, ridge: float) -> FloatArray:
    """With a multiple of 11' added, which weights of sum one cannot tell, and the ridge."""
    lifted = gram + float(np.trace(gram)) / max(len(gram), 1)
    lifted[np.diag_indices(len(gram))] += ridge
    return lifted
