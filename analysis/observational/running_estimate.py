"""A panel estimate beside the design-based one, where no coin said when a cluster was treated. Pure.

A roll-out's steps follow a plan, and entries follow what rivals do: clusters that are treated early, or often, need not
be like the others. The design-based estimate leans on the draws that were made; this one leans on the controls telling
how the treated would have gone on. It is labelled observational, and never takes the other's place.

Rows are clusters (mean over the usable unit-days of a day), because clusters are what is treated together.
"""

from collections.abc import Mapping
from datetime import timedelta

import numpy as np
from scipy.stats import norm

from analysis.observational.panel_estimate import LABEL, PanelEstimate, estimate_panel
from analysis.panel_data.analysis_context import CONFIDENCE, Case, Metric
from analysis.panel_data.panel import FloatArray, IntArray, Panel
from analysis.panel_data.study import State, UnitDays, outcome
from controller.errors import InvalidPanel, NotEstimable
from controller.messages.events import OBSERVATIONAL, EffectEstimate, Estimate

#: tried in this order: weights fitted to the past, where the panel is a complete block or staggered; else imputation
METHODS = ("sdid", "twfe")
#: what such an estimate lacks says why
NO_SEQUENCE = "observational: no coin was tossed, so there is no sequence of draws to look at at any time"
NO_RELATIVE = "observational: what the treated would have been without treatment is not positive over the interval"


def observational(case: Case, metric: Metric, arm: int, left_out: Mapping[str, int]) -> Estimate:
    """The panel estimate of one arm against control, or the reason why there is none.

    ``left_out``: reason -> unit-days that are not used.
    """
    panel = panel_of(case, metric, arm)
    found, reason = _first_that_can(panel)
    effect, relative = None, None
    settings: dict[str, str | int | float | bool] = {"label": LABEL}
    if found is not None and found.effect is not None and found.se is not None:
        assert found.ci_low is not None
        assert found.ci_high is not None
        p = dict(found.settings).get("p_value", 2 * float(norm.sf(abs(found.effect) / found.se)))
        effect = EffectEstimate(value=found.effect, se=found.se, ci_low=found.ci_low, ci_high=found.ci_high, p=p)
        settings |= {"method": found.method}
        settings |= {name: value for name, value in found.settings if isinstance(value, str | int | float | bool)}
        relative = _relative(effect, float(panel.outcome[panel.treated & panel.usable].mean()))
        reason = NO_RELATIVE if relative is None else None
    usable = panel.usable
    return Estimate(
        metric=metric,
        arm=case.roster.experiment.arms[arm].name,
        estimator=OBSERVATIONAL,
        absolute=effect,
        relative=relative,
        reason_absent=reason,
        confidence=CONFIDENCE,
        anytime_reason_absent=NO_SEQUENCE,
        clusters=int(usable.any(axis=1).sum()),
        days=int(usable.any(axis=0).sum()),
        cells=int(usable.sum()),
        left_out=dict(left_out),
        blocked_cells=(),
        settings=settings,
        **case.words,
    )


def _relative(effect: EffectEstimate, treated_mean: float) -> EffectEstimate | None:
    """The effect over what the treated would have been, ``e / (mean - e)``: the interval's ends are carried over."""

    def share(e: float) -> float:
        return e / (treated_mean - e)

    if effect.ci_low is None or effect.ci_high is None:
        return None
    if treated_mean <= max(effect.ci_low, effect.value, effect.ci_high, 0.0):
        return None
    slope = treated_mean / (treated_mean - effect.value) ** 2
    return EffectEstimate(
        value=share(effect.value),
        se=slope * effect.se,
        ci_low=share(effect.ci_low),
        ci_high=share(effect.ci_high),
        p=effect.p,
    )


def panel_of(case: Case, metric: Metric, arm: int) -> Panel:
    """Clusters by days under an arm or control, the pre-period included; a cell with no usable unit-day is missing."""
    days = case.days
    cells, arms = _cluster_means(days, outcome(days, metric), arm, len(case.roster.clusters))
    labels = tuple(str(days.first_day + timedelta(days=k)) for k in range(len(days.state)))
    names = case.roster.experiment.arms
    return Panel(case.roster.clusters, labels, cells, arms, (names[0].name, names[arm].name))


def _cluster_means(days: UnitDays, values: FloatArray, arm: int, n_clusters: int) -> tuple[FloatArray, IntArray]:
    """(G, T) means over usable unit-days, and 1 where they were under the arm, 0 under control, -1 where there is none.

    On a day on which some of a cluster's units kept control, the others stand for it.
    """
    seen = np.isfinite(values)
    treated = seen & (days.state == arm)
    control = seen & ((days.state == 0) | (days.state == State.PRE_PERIOD))
    means = np.full((n_clusters, len(values)), np.nan)
    arms = np.full(means.shape, -1, dtype=np.int64)
    for chosen, index in ((control, 0), (treated, 1)):
        counts, sums = np.zeros(means.shape), np.zeros(means.shape)
        np.add.at(counts, days.cluster, chosen.T)
        np.add.at(sums, days.cluster, np.where(chosen, values, 0.0).T)
        there = counts > 0
        means[there], arms[there] = sums[there] / counts[there], index
    return means, arms


def _first_that_can(panel: Panel) -> tuple[PanelEstimate | None, str | None]:
    """The first method with an effect and a standard error, else every method's reason."""
    reasons = []
    for method in METHODS:
        try:
            # the same ledger gives the same number: chance, where placebos are drawn, is always this one
            found = estimate_panel(panel, method, rng=np.random.default_rng(0), level=CONFIDENCE)
        except InvalidPanel as refusal:
            return None, f"observational: {refusal}"
        except NotEstimable as refusal:
            reasons.append(f"{method}: {refusal}")
            continue
        if found.se is not None:
            return found, None
        reasons.append(f"{method}: {'; '.join(found.warnings)}")
    return None, f"observational: {' | '.join(reasons)}"
