"""The advisor's figures are what experiments then show, and its advice keeps to what the owner allows."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.planning.advice import Advice, DesignAdvice, Question
from analysis.planning.advise import advise
from analysis.planning.candidates import Constraints, candidates, experiment_of, most_changes_a_week
from analysis.planning.rehearsal import History, Truth, exposure, rehearse
from controller.errors import InvalidPanel

EFFECT = -0.1


def sales(days: int = 84, clusters: int = 16, seed: int = 1) -> History:
    """Clusters of different size, sticky days, and days that are good or bad for all."""
    rng = np.random.default_rng(seed)
    path = np.zeros((days, clusters))
    for day in range(1, days):
        path[day] = 0.6 * path[day - 1] + rng.normal(0, 0.1, clusters)
    level = rng.lognormal(4, 0.4, clusters)
    outcome = level * np.exp(path) * rng.lognormal(0, 0.1, (days, 1))
    units = tuple(f"m{number:02d}/p" for number in range(clusters))
    return History(units, outcome, tuple(map(str, range(days))), 1, "market", "units")


def asked(periods: int = 42, runs: int = 40, **more: object) -> Question:
    truth = Truth(EFFECT, int(str(more.get("carryover", 0))), 0.4 if more.get("carryover") else 0.0)
    return Question(Constraints(periods, **more), truth, runs)  # type: ignore[arg-type]


def by_name(advice: Advice) -> dict[str, DesignAdvice]:
    return {design.name: design for design in advice.designs}


def test_under_carryover_random_days_are_biased_and_washed_out_designs_are_not() -> None:
    question = asked(carryover=1, kinds=("random_days", "blocked_switchback", "crossover"))
    found = by_name(advise(sales(), question))
    # a tenth of the effect arrives a day late in four parts of ten: random days lose .4 of it
    assert found["random days"].bias == pytest.approx(-0.4 * EFFECT, rel=0.15)
    assert found["random days"].refused is not None
    for name in ("blocks of 4", "held windows, optimal", "crossover"):
        design = found[name]
        assert design.bias is not None
        assert design.bias_error is not None
        assert abs(design.bias) < 4 * design.bias_error + 0.001, name


def test_the_recommended_design_may_run_is_unbiased_and_errs_least() -> None:
    advice = advise(sales(), asked(runs=20))
    found = by_name(advice)
    assert advice.recommended is not None
    chosen = found[advice.recommended]
    assert chosen.may_run
    sound = [d.se for d in advice.designs if d.may_run and d.se is not None]
    assert chosen.se is not None
    assert chosen.se <= 1.06 * min(sound)
    assert any("Monte-Carlo" in reason for reason in advice.reasons)


def test_published_errors_match_the_scatter_and_aa_runs_are_quiet() -> None:
    question = asked(runs=100, kinds=("random_days",))
    found = by_name(advise(sales(), question))["random days"]
    assert found.se is not None
    assert found.scatter == pytest.approx(found.se, rel=0.22)  # 100 schedules: +- 7 %
    assert found.false_positives is not None
    assert found.false_positives <= 0.05 + 3 * (0.05 * 0.95 / 100) ** 0.5
    assert found.mde == pytest.approx((1.959964 + 0.841621) * found.se, rel=1e-5)
    assert found.mde_anytime == pytest.approx((1.549 * 1.959964 + 0.841621) * found.se, rel=1e-3)


def test_a_history_too_short_for_a_design_says_how_many_days_are_missing() -> None:
    found = by_name(advise(sales(days=50), asked(runs=2)))
    # two weeks of pre-period and six of experiment are 56 days
    assert found["crossover"].missing_days == 6
    assert found["crossover"].se is None
    assert found["random days"].missing_days == 0


def test_a_history_too_short_for_every_design_is_refused_with_the_days_that_are_missing() -> None:
    with pytest.raises(InvalidPanel, match="lacks the least, 12 days"):
        advise(sales(days=30), asked(runs=2))


def test_the_owners_cap_on_price_changes_is_kept() -> None:
    question = asked(runs=4, changes_a_week=1.0, carryover=1)
    advice = advise(sales(), question)
    for design in advice.designs:
        if design.may_run:
            assert design.most_changes_a_week is not None
            assert design.most_changes_a_week <= 1
    found = by_name(advice)
    assert "4 price changes in a week, 1 are allowed" in str(found["blocks of 2"].refused)
    assert found["held windows, searched"].se is not None


def test_the_most_changes_of_a_design_are_never_exceeded_by_a_draw() -> None:
    history, constraints = sales(), Constraints(42)
    for candidate in candidates(constraints):
        if not candidate.drawable:
            continue
        experiment = experiment_of(candidate, history.units, history.clusters)
        if candidate.definition.get("balance"):
            continue
        most = most_changes_a_week(experiment, 7)
        found = rehearse(history, experiment, 28, 28, Truth(EFFECT))
        assert found.changes <= most * (candidate.periods / 7 + 1) + 1, candidate.name


def test_the_effect_arrives_late_where_arms_act_for_days() -> None:
    held = np.array([[0], [1], [1], [1], [0], [0]])
    share = exposure(held, Truth(EFFECT, carryover=2, carryover_share=0.4))[:, 0]
    np.testing.assert_allclose(share, [0.0, 0.6, 0.8, 1.0, 0.4, 0.2])
    np.testing.assert_allclose(exposure(held, Truth(EFFECT))[:, 0], held[:, 0])


def test_the_answer_is_a_function_of_history_question_and_seed() -> None:
    question = asked(runs=3, kinds=("blocked_switchback", "time_bound"))
    assert advise(sales(), question) == advise(sales(), question)
    other = advise(sales(), replace(question, seed="another"))
    assert other != advise(sales(), question)


def test_an_effect_that_cannot_be_found_is_called_so() -> None:
    question = replace(asked(periods=14, runs=10, kinds=("crossover",)), truth=Truth(-0.001))
    advice = advise(sales(), question)
    assert by_name(advice)["crossover"].periods_to_decide is None
    assert any("find no effect under" in reason for reason in advice.reasons)
