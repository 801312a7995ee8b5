"""E[Y|X] and E[W|X], whose residuals the forest is grown on."""

import numpy as np

from analysis.heterogeneity.forests.boosting import NUISANCE, U8, Boosted, boost
from analysis.heterogeneity.forests.centring import basis, ridge, shrinkage
from analysis.panel_data.panel import FloatArray, IntArray


def expected_treatment(bins: U8, w: FloatArray, fold: IntArray) -> FloatArray:
    """(n,) E[W|X] within the range of W: boosted, each row by the model that has not seen its fold."""
    folds = np.arange(int(fold.max()) + 1)
    means = np.array([w[fold != one].mean() for one in folds])
    return np.clip(_boosted(bins, w, np.repeat(means[:, np.newaxis], len(w), axis=1), fold), w.min(), w.max())


def expected_outcome(x: FloatArray, bins: U8, y: FloatArray, fold: IntArray, half: IntArray) -> FloatArray:
    """(n,) E[Y|X]: boosted on what a ridge on columns leaves, because trees need many splits for a line.

    Each row by the models that have not seen its fold.
    """
    shape, ones = basis(x, False), np.ones(len(y))
    design = shape.of(x)
    lines = []
    for one in range(int(fold.max()) + 1):
        fit = fold != one
        penalty = shrinkage(shape, design[fit], ones[fit], y[fit], half[fit]).penalty
        lines.append(design @ ridge(design[fit], ones[fit], y[fit], penalty))
    return _boosted(bins, y, np.stack(lines), fold)


def _boosted(bins: U8, y: FloatArray, start: FloatArray, fold: IntArray) -> FloatArray:
    """(n,): ``start`` (folds, n) and trees on what each leaves outside its fold; rounds by held-out loss."""
    held = fold == np.arange(len(start))[:, np.newaxis]
    models, loss = boost(bins, np.ones(len(y)), y - start, ~held, held, NUISANCE)
    rounds = int(loss.sum(axis=0).argmin())
    trees = Boosted(models.feature, models.cut, models.values, rounds).predict(bins)
    fitted: FloatArray = (start + trees)[fold, np.arange(len(y))]
    return fitted


def ridge_outcome(x: FloatArray, w: FloatArray, y: FloatArray, half: IntArray) -> FloatArray:
    """(n,) E[Y|X] by ridge beside one effect of w, which columns would else take for theirs where arms differ in them.

    With few rows the folds' own means are more noise than what cross-fitting guards against.
    """
    shape, ones = basis(x, False), np.ones(len(y))
    design = shape.of(x)
    rough = float(w @ (y - y.mean())) / float(w @ w)
    penalty = shrinkage(shape, design, ones, y - rough * w, half).penalty
    fitted: FloatArray = design @ ridge(np.column_stack([design, w]), ones, y, np.r_[penalty, 1e-9])[:-1]
    return fitted
