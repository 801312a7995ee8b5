"""Do the arms have the triggers that their time at risk lets expect? A ratio test that may be read on any day."""

from collections.abc import Sequence

import numpy as np
from scipy import special

from analysis.checks.verdict import Check, unknown
from analysis.panel_data.panel import FloatArray, IntArray

DO_TRIGGERS = "Use only each unit's first trigger after a quiet period: later ones depend on the arm."


def sequential_ratio_p(counts: IntArray, planned: FloatArray, concentration: float = 10_000.0) -> FloatArray:
    """(K,) p-values, valid at every look, of the hypothesis that units fall into arms with the planned shares.

    ``counts`` (K, A) cumulative counts per arm; ``planned`` (A,) shares. The running minimum of min(1, 1 / BF) with

    ``ln BF = sum lnG(a_j + n_j) - lnG(A + n) - sum lnG(a_j) + lnG(A) - sum n_j ln p_j``, ``a = kappa p``

    (Lindon and Malek, arXiv 2011.03567). ``concentration`` kappa: how close to the plan a mismatch is looked for;
    10,000 suits counts in the tens of thousands.
    """
    shares = np.asarray(planned, dtype=np.float64)
    if not (shares > 0.0).all() or abs(shares.sum() - 1.0) > 1e-9:
        raise ValueError(f"planned shares {shares.tolist()}: they are positive and sum to 1")
    cumulative = np.asarray(counts, dtype=np.float64)
    if (cumulative < 0.0).any() or (np.diff(cumulative, axis=0) < 0.0).any():
        raise ValueError("counts are cumulative: they are not negative and never fall from look to look")
    prior = concentration * shares
    total = cumulative.sum(axis=1)
    log_factor = (
        special.gammaln(prior + cumulative).sum(axis=1)
        - special.gammaln(concentration + total)
        - special.gammaln(prior).sum()
        + special.gammaln(concentration)
        - cumulative @ np.log(shares)
    )
    return np.asarray(np.minimum.accumulate(np.exp(-np.maximum(log_factor, 0.0))))


def shortfall(counts: IntArray, planned: FloatArray) -> float:
    """How far the worst arm is behind the best one, given their planned shares: .1 where one arm lost a tenth."""
    relative = np.asarray(counts, dtype=np.float64) / np.asarray(planned, dtype=np.float64)
    return float(1.0 - relative.min() / relative.max())


def trigger_rates(
    triggers: IntArray,
    exposure: FloatArray,
    arms: Sequence[str] = ("control", "treatment"),
    *,
    alpha: float = 0.01,
    practical: float = 0.1,
    concentration: float = 200.0,
) -> Check:
    """Later triggers by arm, given each arm's time at risk: a rival who reacts to our treated price shows up here.

    ``triggers`` (K, A) cumulative, ``exposure`` (A,) unit-days at risk. It only warns: the first triggers after a quiet
    period are randomised and stay valid.
    """
    at_risk = np.asarray(exposure, dtype=np.float64)
    if not (at_risk > 0.0).all():
        return unknown("trigger rates", practical, "an arm had no unit-day at risk of a trigger")
    latest, planned = np.asarray(triggers)[-1], at_risk / at_risk.sum()
    if latest.sum() == 0:
        return unknown("trigger rates", practical, "no triggers yet")
    p = float(sequential_ratio_p(triggers, planned, concentration)[-1])
    behind = shortfall(latest, planned)
    worst = arms[int(np.argmin(latest / planned))]
    found = p < alpha
    each = ", ".join(
        f"{arm} {count} (planned share {share:.3g})" for arm, count, share in zip(arms, latest, planned, strict=True)
    )
    return Check(
        "trigger rates",
        behind,
        practical,
        "warn" if found else "pass",
        DO_TRIGGERS if found else "Nothing.",
        f"triggers: {each}; {worst} is {behind:.1%} behind, p = {p:.2g} at any look",
    )
