"""The recommendation: of the designs that may run and keep their word, the one that decides soonest.

What may run is the owner's to say, by a cap on price changes: within it the trade against changes is shown, not made.
"""

from collections.abc import Iterator, Sequence

from analysis.planning.advice import DesignAdvice, Question

#: bias that a recommended design may have, as a share of the effect
BIAS_ALLOWED = 0.1
#: designs that decide at once and whose standard errors differ by less are alike: the one with fewer changes is taken
ALIKE = 0.05
#: designs with fewer price changes that the reasons name
CALMER_SHOWN = 2


def recommend(designs: Sequence[DesignAdvice], question: Question) -> tuple[str | None, tuple[str, ...]]:
    """The design to run, and the reasons; None where the owner's constraints leave none."""
    sound = [design for design in designs if design.may_run and not list(_flaws(design, question))]
    if not sound:
        return None, ("no design that may run is unbiased and keeps its error rate on this history",)
    chosen = min(sound, key=lambda design: _order(design, sound))
    assert chosen.se is not None
    assert chosen.mde is not None
    least = min(design.se for design in sound if design.se is not None)
    unit = "days" if question.constraints.period_days == 1 else "weeks"
    effect = question.truth.effect
    reasons = []
    if chosen.periods_to_decide is None:
        reasons.append(
            f"no design that may run finds {effect:+.1%} in the time given; {chosen.name} has the smallest standard"
            f" error of {_counted(len(sound))}: {chosen.se:.2%} of control's mean"
        )
    else:
        reasons.append(
            f"{chosen.name} decides soonest of {_counted(len(sound))} that may run: it finds {effect:+.1%} with power"
            f" {question.power:.0%} after {chosen.periods_to_decide} {unit}; standard error {chosen.se:.2%} of"
            " control's mean"
        )
    if chosen.mde > abs(effect):
        longer = "" if chosen.periods_to_decide is None else f"; that takes {chosen.periods_to_decide} {unit}"
        reasons.append(
            f"yet {chosen.periods} {unit} find no effect under {chosen.mde:.1%}, and {effect:+.1%} is asked for{longer}"
        )
    reasons.append(f"bias {chosen.bias:+.2%} (Monte-Carlo error {chosen.bias_error:.2%}) under the stated carryover")
    reasons += _trade(chosen, sound, unit)
    assert chosen.se_range is not None
    low, high = chosen.se_range
    if high > 1.15 * low:
        reasons.append(
            f"on parts of the history its standard error went from {low:.2%} to {high:.2%}: the weeks to come may be"
            " like either"
        )
    for other in designs:
        if other.may_run and other.se is not None and other.se < least:
            reasons.append(f"{other.name} errs less but {next(_flaws(other, question))}")
        elif other.refused and other.bias is not None and abs(other.bias) > BIAS_ALLOWED * abs(effect):
            reasons.append(f"{other.name} would be off by {other.bias:+.2%}: {other.refused}")
    return chosen.name, tuple(reasons)


def _order(design: DesignAdvice, sound: Sequence[DesignAdvice]) -> tuple[float, ...]:
    """Soonest first; where none decides, or several do at once, the smallest standard error, then the fewest changes.

    Whole weeks hide differences of days, and chance those of some per cent: standard errors that are alike are equal.
    """
    assert design.se is not None
    least = min(d.se for d in sound if d.se is not None and d.periods_to_decide == design.periods_to_decide)
    alike = design.se <= (1 + ALIKE) * least
    decide = float("inf") if design.periods_to_decide is None else design.periods_to_decide
    return decide, not alike, design.changes_per_unit or 0.0 if alike else design.se, design.se


def _trade(chosen: DesignAdvice, sound: Sequence[DesignAdvice], unit: str) -> Iterator[str]:
    """What fewer price changes would cost: for the owner to weigh, because no number here does."""
    changes = chosen.changes_per_unit or 0.0
    calmer = [d for d in sound if d.periods_to_decide and (d.changes_per_unit or 0.0) < changes - 0.5]
    shown = sorted(calmer, key=lambda d: (d.periods_to_decide or 0, d.changes_per_unit or 0.0))[:CALMER_SHOWN]
    for design in shown:
        yield (
            f"fewer price changes: {design.name} has {design.changes_per_unit:.1f} of a unit instead of {changes:.1f},"
            f" and decides after {design.periods_to_decide} {unit}"
        )


def _flaws(design: DesignAdvice, question: Question) -> Iterator[str]:
    """Why a design that may run is not recommended."""
    assert design.bias is not None
    assert design.bias_error is not None
    assert design.false_positives is not None
    if abs(design.bias) > max(BIAS_ALLOWED * abs(question.truth.effect), 3 * design.bias_error):
        yield f"is biased by {design.bias:+.2%}"
    error = 3 * (question.alpha * (1 - question.alpha) / design.runs) ** 0.5
    if design.false_positives > question.alpha + error:
        yield f"calls {design.false_positives:.1%} of A/A runs an effect"


def _counted(designs: int) -> str:
    return "the only design" if designs == 1 else f"{designs} designs"
