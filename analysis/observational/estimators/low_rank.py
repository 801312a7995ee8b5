"""A panel as unit effects, period effects and a low-rank matrix, by weighted least squares with a nuclear norm.

Matrix completion and the doubly weighted causal panel estimator differ by their weights only; this is what they share:

    minimise over a, b, L, tau:  sum_it r_i p_t m_it (Y_it - a_i - c_i b_t - L_it - tau D_it)^2 + penalty * |L|_*

with row weights r, period weights p, a 0/1 mask m, the loading c of a row on the period effects (1 for a unit; other
values for the rotated rows of matrix completion) and cells D that share one effect tau (none in the masked forms).

L = A B' with the ridge (penalty/2)(|A|^2 + |B|^2), whose minimum over factors is the nuclear norm (Srebro, Rennie,
Jaakkola 2004; Hastie, Mazumder, Lee, Zadeh, JMLR 2015). Rows and columns are solved in turn, in closed form, whatever
the weights; Anderson's extrapolation takes the place of hundreds of such turns. The factors could be too few, which
makes the problem non-convex: so the answer is not believed but certified, by the duality gap of the convex problem,
and directions that the dual still asks for are added to the factors.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from analysis.panel_data.panel import BoolArray, FloatArray
from controller.errors import NotEstimable

#: relative duality gap at which a fit is called solved
GAP_TOLERANCE = 1e-7
#: turns over rows and columns between two looks at the duality gap; later looks are rarer
SWEEPS_PER_LOOK = 8
#: share of the factors' columns that must be alive for the extrapolation to keep its memory
MOSTLY_ALIVE = 0.7
#: steps that Anderson's extrapolation remembers
MEMORY = 10
#: singular values of L below this share of the largest are zeros that have not finished shrinking
DEAD_FACTOR = 1e-9
#: numbers that a block of normal equations may hold at once (0.5 GB)
BLOCK_NUMBERS = 6e7


@dataclass(frozen=True, slots=True)
class LowRankFit:
    """The minimiser, in factors, with the proof that it is one."""

    #: (n,) a, unit effects; only sums a_i + c_i b_t are identified
    unit_effects: FloatArray
    #: (T,) b, period effects
    time_effects: FloatArray
    #: (n, rank) A and (T, rank) B, with L = A B'
    left: FloatArray
    right: FloatArray
    #: the shared effect of the cells D; 0 where there are none
    shared_effect: float
    #: value of the objective
    objective: float
    #: value of a feasible point of the dual: no fit whatever has a smaller objective
    lower_bound: float
    #: turns over rows and columns that it took
    sweeps: int

    @property
    def relative_gap(self) -> float:
        """(objective - lower bound) / objective: how far from the optimum this fit can be at most."""
        return (self.objective - self.lower_bound) / self.objective if self.objective > 0 else 0.0

    @property
    def rank(self) -> int:
        """Rank of L."""
        return int(self.right.shape[1])


@dataclass(frozen=True, slots=True)
class Groups:
    """Lines (rows or columns) that share a mask, and so share one small eigen-problem."""

    #: members of each group
    members: tuple[NDArray[np.intp], ...]
    #: (groups, length of a line) masks
    masks: FloatArray
    #: (lines,) the group of each line
    which: NDArray[np.intp]

    @classmethod
    def of(cls, mask: BoolArray) -> "Groups":
        """Group the rows of ``mask`` by their pattern."""
        packed = np.ascontiguousarray(np.packbits(mask, axis=1))
        keys = packed.view(np.dtype((np.void, packed.shape[1]))).ravel()
        _, first, which = np.unique(keys, return_index=True, return_inverse=True)
        order = np.argsort(which, kind="stable")
        members = tuple(np.split(order, np.cumsum(np.bincount(which, minlength=len(first)))[:-1]))
        return cls(members, mask[first].astype(np.float64), which)


@dataclass(frozen=True, slots=True)
class WeightedPanel:
    """The data of one problem: outcomes, weights, loadings, and what can be computed from them once."""

    outcome: FloatArray
    row_weights: FloatArray
    column_weights: FloatArray
    mask: BoolArray
    loadings: FloatArray
    #: (n, T) cells that share one effect, as 0/1; None in the masked forms
    shared: FloatArray | None
    row_groups: Groups
    column_groups: Groups
    #: (n, T) r_i p_t m_it
    weights: FloatArray
    #: (n,) sum_t of weights
    row_totals: FloatArray
    #: (T, T) pseudo-inverse of the normal equations of the period effects, unit effects profiled out
    profile: FloatArray


def weighted_panel(
    outcome: FloatArray,
    mask: BoolArray,
    row_weights: FloatArray | None = None,
    column_weights: FloatArray | None = None,
    loadings: FloatArray | None = None,
    shared: FloatArray | None = None,
) -> WeightedPanel:
    """Prepare a problem; cells outside ``mask`` may hold anything, NaN too.

    Raises NotEstimable where a row or a column has no cell of positive weight.
    """
    n, t = outcome.shape
    row_weights = np.ones(n) if row_weights is None else row_weights
    column_weights = np.ones(t) if column_weights is None else column_weights
    loadings = np.ones(n) if loadings is None else loadings
    weights = mask * column_weights
    weights *= row_weights[:, None]
    row_totals = weights.sum(axis=1)
    for name, totals in (("row", row_totals), ("column", weights.sum(axis=0))):
        if (totals <= 0).any():
            raise NotEstimable(
                f"{name} {int(np.argmin(totals)) + 1} has no cell that may be used: leave it out of the fit"
            )
    clean = np.where(mask, outcome, 0.0)
    loaded = weights * loadings[:, None]
    normal = np.diag(loadings @ loaded) - (loaded / row_totals[:, None]).T @ loaded
    return WeightedPanel(
        clean,
        row_weights,
        column_weights,
        mask,
        loadings,
        shared,
        Groups.of(mask),
        Groups.of(np.ascontiguousarray(mask.T)),
        weights,
        row_totals,
        np.linalg.pinv(normal, rcond=1e-12, hermitian=True),
    )


def two_way_effects(panel: WeightedPanel, outcome: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weighted two-way fixed effects of ``outcome`` in closed form: a system of T equations, not n + T."""
    weighted = panel.weights * outcome
    sums = weighted.sum(axis=1)
    right_side = panel.loadings @ weighted - panel.weights.T @ (panel.loadings * sums / panel.row_totals)
    b = panel.profile @ right_side
    a = (sums - panel.loadings * (panel.weights @ b)) / panel.row_totals
    return a, b


def solve(
    panel: WeightedPanel,
    penalty: float,
    start: FloatArray | None = None,
    tolerance: float = GAP_TOLERANCE,
    max_sweeps: int = 4000,
) -> LowRankFit:
    """Minimise the objective above.

    ``start`` is the right factor (T, rank) of a fit nearby, e.g. at the next larger penalty. An infinite penalty
    leaves the weighted two-way fixed effects.

    Raises NotEstimable where the penalty is not positive, or ``max_sweeps`` do not bring the relative duality gap
    below ``tolerance``.
    """
    if not penalty > 0:
        raise NotEstimable(
            f"penalty = {penalty}: without a positive penalty on the nuclear norm a hidden cell can take any value"
        )
    n, t = panel.outcome.shape
    if np.isinf(penalty):
        start = np.zeros((t, 0))
    right = np.zeros((t, 0)) if start is None else start
    left = np.zeros((n, right.shape[1]))
    _, b = two_way_effects(panel, panel.outcome)
    if right.shape[1]:
        _, left = ridge_lines(panel.outcome - panel.loadings[:, None] * b, *_by_row(panel), right, penalty / 2)
        left, right = _rotate(left, right)
    fit, asked_for = _certify(panel, penalty, left, right, 0)
    best, turns, plain, asked_before = fit, SWEEPS_PER_LOOK, False, False
    history: list[tuple[FloatArray, FloatArray]] = []
    point = _pack(fit.time_effects, np.column_stack([fit.right, asked_for]), fit.shared_effect)
    while fit.relative_gap > tolerance:
        if fit.sweeps >= max_sweeps:
            raise NotEstimable(
                f"after {fit.sweeps} sweeps the relative duality gap is {fit.relative_gap:.1e}, above {tolerance:.1e}: "
                f"penalty = {penalty:.3g} is too small for these data"
            )
        for _ in range(turns):
            image, left, right = _turn(panel, penalty / 2, point)
            history = [*history, (point, image)][-MEMORY:]
            point = image if plain else _extrapolate(history)
        fit, asked_for = _certify(panel, penalty, *_rotate(left, right), fit.sweeps + turns)
        # extrapolation finds saddles as well as minima, plain turns leave them: take some after a rise of the
        # objective, and where the dual keeps asking for directions that die again
        risen, asking = fit.objective > best.objective, asked_for.shape[1] > 0
        if risen or plain or asking or fit.rank < MOSTLY_ALIVE * left.shape[1]:
            fit = replace(best, sweeps=fit.sweeps) if risen else fit
            new = np.zeros((t, 0)) if risen else asked_for
            point, history = _pack(fit.time_effects, np.column_stack([fit.right, new]), fit.shared_effect), []
        best, plain, asked_before = fit, risen or (asking and asked_before), asking
        turns = max(SWEEPS_PER_LOOK, fit.sweeps // 4)
    return fit


def _pack(b: FloatArray, right: FloatArray, tau: float) -> FloatArray:
    """What a turn maps to itself: period effects, right factor, shared effect; in one matrix (T + 1, 1 + rank)."""
    return np.vstack([np.column_stack([b, right]), np.append(tau, np.zeros(right.shape[1]))])


def _turn(panel: WeightedPanel, ridge: float, point: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """One turn over rows, then columns, then the shared effect; returns the new point and the factors."""
    b, right, tau = point[:-1, 0], point[:-1, 1:], float(point[-1, 0])
    outcome = panel.outcome if panel.shared is None else panel.outcome - tau * panel.shared
    a, left = ridge_lines(outcome - panel.loadings[:, None] * b, *_by_row(panel), right, ridge)
    b, right = ridge_lines((outcome - a[:, None]).T, *_by_column(panel), left, ridge)
    if panel.shared is not None:
        weighted = panel.weights * panel.shared
        residual = panel.outcome - a[:, None] - panel.loadings[:, None] * b - left @ right.T
        tau = float((weighted * residual).sum() / weighted.sum())
    return _pack(b, right, tau), left, right


def _extrapolate(history: list[tuple[FloatArray, FloatArray]]) -> FloatArray:
    """Anderson's extrapolation: the affine combination of images whose steps come closest to cancelling."""
    points = np.array([point.ravel() for point, _ in history])
    images = np.array([image.ravel() for _, image in history])
    last = history[-1][1]
    if len(history) == 1:
        return last
    steps = images - points
    mix = np.linalg.lstsq((steps[1:] - steps[:-1]).T, steps[-1], rcond=1e-10)[0]
    return np.asarray(last - (mix @ (images[1:] - images[:-1])).reshape(last.shape))


_Side = tuple[FloatArray, FloatArray, FloatArray, Groups]


def _by_row(panel: WeightedPanel) -> _Side:
    return panel.row_weights, panel.column_weights, np.ones(panel.outcome.shape[1]), panel.row_groups


def _by_column(panel: WeightedPanel) -> _Side:
    return panel.column_weights, panel.row_weights, panel.loadings, panel.column_groups


def ridge_lines(
    target: FloatArray,
    line_weights: FloatArray,
    cell_weights: FloatArray,
    loadings: FloatArray,
    groups: Groups,
    factor: FloatArray,
    ridge: float,
) -> tuple[FloatArray, FloatArray]:
    """Ridge regression of each line of ``target`` on ``loadings`` (unpenalised) and the columns of ``factor``.

    Returns the coefficients on the loadings (lines,) and on the factor (lines, rank). Lines that share a mask share
    one small system of equations, or one eigen-decomposition where their weights differ; where nearly every line has
    a mask of its own, each has its own system.
    """
    if 4 * len(groups.members) > len(target) and len(target) > 8:
        return _ridge_each(target, line_weights, cell_weights, loadings, groups, factor, ridge)
    intercept, slope = np.empty(len(target)), np.empty((len(target), factor.shape[1]))
    for members, mask in zip(groups.members, groups.masks, strict=True):
        weights = cell_weights * mask
        loaded = weights * loadings
        scale = loaded @ loadings
        centre = loaded @ factor / scale
        centred = factor - loadings[:, None] * centre
        weighted = weights[:, None] * centred
        gram = centred.T @ weighted
        lines = target if len(groups.members) == 1 else target[members]
        moments = lines @ weighted
        own = line_weights[members]
        if own.min() == own.max():
            system = gram + ridge / own[0] * np.eye(len(gram))
            slope[members] = np.linalg.solve(system, moments.T).T
        else:
            values, vectors = np.linalg.eigh(gram)
            # eigh may return -1e-17 for a zero
            shrink = own[:, None] / (own[:, None] * np.maximum(values, 0.0) + ridge)
            slope[members] = ((moments @ vectors) * shrink) @ vectors.T
        intercept[members] = lines @ loaded / scale - slope[members] @ centre
    return intercept, slope


def _ridge_each(
    target: FloatArray,
    line_weights: FloatArray,
    cell_weights: FloatArray,
    loadings: FloatArray,
    groups: Groups,
    factor: FloatArray,
    ridge: float,
) -> tuple[FloatArray, FloatArray]:
    """The same, one system of equations per line, in blocks that fit in memory."""
    design = np.column_stack([loadings, factor])
    size = design.shape[1]
    products = (design[:, :, None] * design[:, None, :]).reshape(len(design), size * size)
    penalty = ridge * np.diag(np.append(0.0, np.ones(size - 1)))
    solution = np.empty((len(target), size))
    step = max(1, int(BLOCK_NUMBERS / (size * size + len(design))))
    for begin in range(0, len(target), step):
        block = slice(begin, begin + step)
        weights = groups.masks[groups.which[block]] * cell_weights * line_weights[block][:, None]
        normal = (weights @ products).reshape(-1, size, size) + penalty
        solution[block] = np.linalg.solve(normal, ((weights * target[block]) @ design)[:, :, None])[:, :, 0]
    return solution[:, 0], solution[:, 1:]


def _rotate(left: FloatArray, right: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The same A B' in balanced factors (singular vectors), without the columns that have died."""
    left_basis, left_triangle = np.linalg.qr(left)
    right_basis, right_triangle = np.linalg.qr(right)
    u, values, vt = np.linalg.svd(left_triangle @ right_triangle.T, full_matrices=False)
    alive = values > DEAD_FACTOR * max(values[0], np.finfo(float).tiny) if len(values) else np.zeros(0, dtype=bool)
    root = np.sqrt(values[alive])
    return left_basis @ u[:, alive] * root, right_basis @ vt[alive].T * root


def _certify(
    panel: WeightedPanel, penalty: float, left: FloatArray, right: FloatArray, sweeps: int
) -> tuple[LowRankFit, FloatArray]:
    """Profile the effects out exactly, bound the optimum from below, and name the directions still asked for.

    With R the residual and Z = 2 w R, the dual is <Z, Y> - sum Z^2/(4 w) over Z with Z 1 = 0, c'Z = 0, <Z, D> = 0 and
    largest singular value at most the penalty; profiling makes the first three hold, scaling Z the last.
    """
    rest = panel.outcome - left @ right.T
    a, b = two_way_effects(panel, rest)
    tau = 0.0
    if panel.shared is not None:
        own_a, own_b = two_way_effects(panel, panel.shared)
        clean = panel.weights * (panel.shared - own_a[:, None] - panel.loadings[:, None] * own_b)
        tau = float((clean * rest).sum() / (clean * panel.shared).sum())
        a, b = a - tau * own_a, b - tau * own_b
        rest = rest - tau * panel.shared
    residual = rest - a[:, None] - panel.loadings[:, None] * b
    z = 2 * panel.weights * residual
    loss = float((z * residual).sum()) / 2
    if np.isinf(penalty):
        return LowRankFit(a, b, left, right, tau, loss, loss, sweeps), right
    values, vectors = np.linalg.eigh(z.T @ z)
    singular = np.sqrt(np.maximum(values, 0.0))
    # <Z, Y> without the cancellation of large levels: Z is orthogonal to the effects, so only R and L are left of Y
    inner = 2 * loss + float(((z @ right) * left).sum())
    scale = min(penalty / singular[-1], inner / (2 * loss)) if loss > 0 else 1.0
    # the factors come balanced from _rotate: singular vectors times the roots of the singular values
    nuclear_norm = float((right**2).sum())
    fit = LowRankFit(a, b, left, right, tau, loss + penalty * nuclear_norm, scale * inner - scale**2 * loss, sweeps)
    asked = singular > penalty
    candidates = vectors[:, asked]
    # the best multiple of u v', u = Z v / s, by itself: where weights are small it is large
    curvature = np.einsum("tk,tk->k", panel.weights.T @ ((z @ candidates) / singular[asked]) ** 2, candidates**2)
    return fit, _missing_directions(candidates, (singular[asked] - penalty) / (2 * curvature), right)


def _missing_directions(vectors: FloatArray, steps: FloatArray, right: FloatArray) -> FloatArray:
    """Of the directions that violate the dual's bound, those that the factors do not hold with any strength yet.

    ``steps`` are the singular values that each of them would take.
    """
    strong = (right**2).sum(axis=0) > 0.1 * steps.max(initial=0.0)
    basis = np.linalg.qr(right[:, strong])[0]
    missing = np.linalg.norm(vectors - basis @ (basis.T @ vectors), axis=0) > 0.3
    return np.asarray(vectors[:, missing] * np.sqrt(steps[missing]))
