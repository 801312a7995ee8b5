"""What the pictures say in words and marks: never more than the numbers allow."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest

from analysis.export.schemas import TABLES
from analysis.export.tables import tables_of
from analysis.report import arms_chart, checks_chart, effect_chart
from analysis.report.arms import MARKS, cluster_days
from analysis.report.arms import title as arms_title
from analysis.report.checks import ASSUMPTIONS, VERDICTS, standing_checks, way_to_the_line
from analysis.report.checks import title as checks_title
from analysis.report.effect import subtitle, title
from analysis.report.series import Series, series_of
from analysis.report.style import ARMS, number
from controller.definition.money import major
from controller.messages.events import Assignment
from tests.analysis.outcomes import TRUTH, messages_of, outcome
from tests.analysis.traffic import START, experiment

LABELS = {"control": "control: list price", "low": "low: −10 %"}


def test_an_open_side_is_no_interval() -> None:
    tables = outcome()
    rows = [{**r, "anytime_high": None} for r in tables["sequences"].to_pylist()]
    cut = pa.Table.from_pylist(rows, schema=TABLES["sequences"].schema)
    found = series_of(cut, tables["estimates"], "units", "low", "EUR", TRUTH)
    assert all(look.anytime is None for look in found.looks)
    assert effect_chart(found).to_dict()


def test_without_a_sequence_the_daily_estimates_are_drawn_with_the_reason() -> None:
    tables = outcome()
    found = series_of(tables["sequences"], tables["estimates"], "margin", "low", "EUR", TRUTH)
    published = [r for r in tables["estimates"].to_pylist() if r["metric"] == "margin" and r["absolute"] is not None]
    assert [look.effect for look in found.looks] == [major(r["absolute"], "EUR") for r in published]
    assert all(look.anytime is None for look in found.looks)
    assert any("No always-valid interval: at most 2 clusters" in line for line in subtitle(found))
    assert found.truth is None, "the truth was planted on units sold, not on the margin"


def test_every_reason_to_leave_a_cell_out_has_its_own_mark() -> None:
    shapes = [shape for _, shape in MARKS.values()]
    assert len(set(shapes)) == len(shapes)
    assert len({shape for _, shape, _ in VERDICTS.values()}) == len(VERDICTS)


def grey(colour: str) -> float:
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_first_three_arms_differ_in_grey_print() -> None:
    shades = sorted(grey(colour) for colour in ARMS[:3])
    assert min(b - a for a, b in pairwise(shades)) > 30


def test_cluster_days_are_those_of_the_assignments() -> None:
    definition = experiment(12, 3, 14)
    said = messages_of(definition)
    found = cluster_days(tables_of(said)["panel"], tuple(LABELS))
    drawn = {(m.cluster, m.day): m.arm for m in said if isinstance(m, Assignment)}
    assert len(drawn) == found.arm.size
    for c, cluster in enumerate(found.clusters):
        for t in range(found.arm.shape[1]):
            assert tuple(LABELS)[found.arm[c, t]] == drawn[cluster, START + timedelta(t)]
    assert [(found.clusters[c], t) for c, t in zip(*(found.mark >= 0).nonzero(), strict=True)] == [
        ("m02", 7),
        ("m02", 8),
    ]
    assert arms_title(found) == "Every planned flip was delivered; left out of 168 cluster-days: 2 by blackout"


def test_a_missed_flip_is_the_first_thing_that_is_said() -> None:
    definition = experiment(12, 3, 14)
    said = [
        m
        for m in messages_of(definition)
        if not (isinstance(m, Assignment) and m.cluster == "m05" and m.day == START + timedelta(4))
    ]
    found = cluster_days(tables_of(said)["panel"], tuple(LABELS))
    assert arms_title(found).startswith("1 of 168 cluster-days missed the flip")


def test_more_clusters_than_fit_are_thinned_out_and_it_is_said() -> None:
    panel = tables_of(messages_of(experiment(130, 1, 4)))["panel"]
    drawn = arms_chart(panel, LABELS).to_dict()
    assert "Shown are 120 clusters, evenly spaced by name" in str(drawn["title"])


def check(name: str, value: float | None, line: float, verdict: str) -> dict[str, Any]:
    return {"check": name, "value": value, "threshold": line, "verdict": verdict}


def test_the_line_lies_where_the_check_would_speak_up() -> None:
    assert way_to_the_line(check("carryover", 0.05, 0.05, "pass")) == 1.0
    assert way_to_the_line(check("carryover", 0.5, 0.05, "pass")) == pytest.approx(0.1)
    assert way_to_the_line(check("fidelity", 0.99, 0.95, "pass")) == pytest.approx(0.2)
    assert way_to_the_line(check("fidelity", 0.9, 0.95, "fail")) == pytest.approx(2.0)
    assert way_to_the_line(check("activation-lag", 30, 300, "pass")) == pytest.approx(0.1)
    assert way_to_the_line(check("stock-outs", None, 0.02, "unknown")) == 0.0
    assert way_to_the_line(check("carryover", 0.0, 0.05, "fail")) == 2.0


def test_the_worst_check_comes_first_and_is_named() -> None:
    standing = standing_checks(outcome()["health"])
    assert [c["check"] for c in standing[:3]] == ["fidelity", "weekday-balance", "non-anticipation"]
    assert checks_title(standing) == "Do not rely on these numbers yet. Broken: fidelity"
    assert checks_title(standing[1:]) == "Read these numbers with care. Doubtful: weekday-balance"
    assert checks_title(standing[2:-1]) == "8 assumptions checked, and all hold"
    assert checks_title(standing[-1:]) == "No assumption could be checked yet"


def test_every_published_check_has_its_question() -> None:
    from analysis.checks.health import CHECKS

    assert set(ASSUMPTIONS) == set(CHECKS)


def test_nothing_to_draw_is_an_error_with_its_reason() -> None:
    with pytest.raises(ValueError, match="no check was published yet"):
        checks_chart(TABLES["health"].schema.empty_table())
    with pytest.raises(ValueError, match="nothing to draw; too few"):
        effect_chart(Series("units", "low", (), (), None, None, 0.95, None, "EUR", "too few"))


def test_money_is_in_the_currency_own_unit() -> None:
    tables = outcome()
    euro, yen = (series_of(tables["sequences"], tables["estimates"], "revenue", "low", c) for c in ("EUR", "JPY"))
    assert euro.looks[-1].effect == pytest.approx(yen.looks[-1].effect / 100)
    assert "EUR per unit-day" in title(euro)
    assert str(effect_chart(euro).to_dict()).count("minor units") == 0


def test_numbers_have_three_digits_and_no_exponent() -> None:
    assert [number(v) for v in (-1714.3, 6.0, 0.01234, 0.0, 123456)] == [
        "−1,714",
        "+6.00",
        "+0.0123",
        "+0.00",
        "+123,456",
    ]
