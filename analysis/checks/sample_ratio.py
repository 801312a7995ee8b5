"""Do the arms keep the unit-days that the draw gave them? A ratio test on what is lost, that may be read on any day."""

from collections.abc import Sequence

import numpy as np
from scipy import special

from analysis.checks.anytime import ArmSums, independent
from analysis.checks.verdict import Check, Verdict, unknown
from analysis.panel_data.panel import FloatArray, IntArray
from controller.errors import NotEstimable

NAME = "sample ratio"
DO_RATIO = "Stop reading the estimate. Find out why this arm loses cells: its feed, its filters, its stock."


def log_factor(lost: FloatArray, shares: FloatArray) -> FloatArray:
    """(K,) ln of the Bayes factor of (K, A) lost cells against the planned (K, A) shares of all cells.

    A Dirichlet prior around the plan with concentration A: uniform for two equal arms. Lost cells are few where the
    feed is sound, and a loss that matters moves most of them to one arm, in a panel of any size.
    """
    prior = lost.shape[1] * shares
    total = lost.sum(axis=1)
    return np.asarray(
        special.gammaln(prior + lost).sum(axis=1)
        - special.gammaln(lost.shape[1] + total)
        - special.gammaln(prior).sum(axis=1)
        + special.gammaln(lost.shape[1])
        - (lost * np.log(shares)).sum(axis=1)
    )


def design_effect(sums: ArmSums, look: int) -> float:
    """How many lost cells count as one, at least 1: the most that the clusters of the gap, or of one arm, speak for.

    It is the variance over clusters divided by that of independent cells: of the gap, and of each arm at its own rate
    (where an arm lost little, the gap alone would rest on the other one).

    Raises:
        NotEstimable: an arm with fewer than two clusters.
    """
    gap, total, product = sums.at(look), sums.total[look], sums.product[look]
    least = float(independent(total).sum())
    found = [1.0, gap.se**2 / least if least > 0.0 else 1.0]
    for lost, cells, clusters in ((0, 1, sums.clusters[look, 0]), (2, 3, sums.clusters[look, 1])):
        rate = total[lost] / total[cells]
        if 0.0 < rate < 1.0:
            slope = np.array([1.0, -rate])
            pair = product[np.ix_([lost, cells], [lost, cells])]
            of_clusters = float(slope @ pair @ slope) * clusters / (clusters - 1.0)
            found.append(of_clusters / (rate * (1.0 - rate) * total[cells]))
    return max(found)


def sample_ratio_of(
    under: IntArray,
    observed: IntArray,
    sums: ArmSums,
    arms: Sequence[str],
    *,
    alpha: float = 0.01,
    practical: float = 0.05,
) -> Check:
    """(A, T) cells that the draw gave each arm and that no rule leaves out, and those of them that are known, by day.

    The draw says how many of all known cells each arm must have. That is tested on the others: of the lost cells each
    arm must have the same share, whatever they are lost by. Lost cells are divided by a design effect, because outages
    come by store and for days. It fails when ``1 / BF``, the smallest of all days so far, is under ``alpha`` and the
    worst arm is at least ``practical`` behind; a significant but small shortfall only warns.
    """
    days = (under > 0).all(axis=0)
    if not days.any():
        return unknown(NAME, practical, "no day has usable unit-days in every arm yet")
    given, seen = under[:, days].T, observed[:, days].T
    cells, known = np.cumsum(given, axis=0), np.cumsum(seen, axis=0)
    if not known[-1].any():
        return unknown(NAME, practical, "no unit-day is known in any arm yet")
    try:
        effect = design_effect(sums, -1)
    except NotEstimable as reason:
        return unknown(NAME, practical, str(reason))
    # day by day: where an arm has more cells later, as in a roll-out, an outage of those days is no loss of the arm's
    daily = given / given.sum(axis=1, keepdims=True)
    gone = (given - seen).sum(axis=1)
    due = np.cumsum(daily * gone[:, np.newaxis], axis=0)
    some = due.sum(axis=1) > 0.0
    shares = due[some] / due[some].sum(axis=1, keepdims=True)
    factor = log_factor((cells - known)[some] / effect, shares)
    p = float(np.exp(-max(0.0, float(factor.max(initial=0.0)))))
    kept = known[-1] / cells[-1]
    behind = float(1.0 - kept.min() / kept.max())
    worst = arms[int(np.argmin(kept))]
    expected = (daily * seen.sum(axis=1, keepdims=True)).sum(axis=0)
    found = p < alpha
    verdict: Verdict = "pass" if not found else "fail" if behind >= practical else "warn"
    each = ", ".join(
        f"{arm} {count} of {all_of_it} (by the draw {share:.0f} of those known)"
        for arm, count, all_of_it, share in zip(arms, known[-1], cells[-1], expected, strict=True)
    )
    least = least_loss(cells[-1], cells[-1] - known[-1], effect, alpha)
    power = "no loss could be seen yet" if least is None else f"least loss of one arm seen: {least:.1%} of its cells"
    evidence = f"known unit-days: {each}; {worst} is {behind:.1%} behind, p = {p:.2g} at any look; {power}"
    if effect > 1.0:
        evidence += f"; {effect:.1f} lost cells count as one"
    return Check(NAME, behind, practical, verdict, DO_RATIO if found else "Nothing.", evidence)


def least_loss(cells: IntArray, lost: IntArray, effect: float, alpha: float) -> float | None:
    """The share of the smallest arm's cells that, lost on top of what all lose, would be found; None where none."""
    share, common = cells / cells.sum(), lost.sum() / cells.sum()
    arm = int(np.argmin(cells))
    losses = np.linspace(0.0, 1.0, 1001)
    then = np.tile(common * cells, (len(losses), 1))
    then[:, arm] = (common + losses * (1.0 - common)) * cells[arm]
    found = log_factor(then / effect, np.tile(share, (len(losses), 1))) >= -np.log(alpha)
    return float(losses[int(np.argmax(found))]) if found.any() else None
