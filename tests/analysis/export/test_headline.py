"""One effect has one number: always-valid before the planned day, fixed-horizon from then on, everywhere."""

from datetime import date, timedelta
from typing import Any

import pytest

from analysis.export.headline import Headline, finding, headline, headlines, kind_text, other_text, quoted_text
from analysis.report.effect import subtitle, title
from analysis.report.series import series_of
from tests.analysis.outcomes import TRUTH, outcome
from tests.analysis.traffic import START

PLANNED = START + timedelta(9)


def row(day: int, **more: Any) -> dict[str, Any]:
    shared = {"experiment": "test", "version": 1, "metric": "units", "arm": "low", "day": START + timedelta(day)}
    return {**shared, "planned_day": PLANNED, "reason_absent": None, "revision": 0, **more}


def fixed(day: int, low: float = -0.15, high: float = -0.05) -> dict[str, Any]:
    share = {"relative": (low + high) / 2, "relative_low": low, "relative_high": high}
    own = {f"absolute{name.removeprefix('relative')}": 30 * value for name, value in share.items()}
    return row(day, estimator="cluster_day_difference", confidence=0.95, anytime_reason_absent=None, **share, **own)


def look(day: int, low: float = -0.2, high: float = -0.02) -> dict[str, Any]:
    share = {"relative": (low + high) / 2 + 0.01, "relative_low": low, "relative_high": high}
    own = {"effect": 30 * share["relative"], "anytime_low": 30 * low, "anytime_high": 30 * high}
    return row(day, method="block_sequence", alpha=0.05, control_mean=30.0, **share, **own)


@pytest.mark.parametrize(
    ("day", "kind", "value"),
    [(3, "always-valid", "−10.0 % [−20.0 %, −2.0 %]"), (9, "fixed-horizon", "−10.0 % [−15.0 %, −5.0 %]")],
)
def test_the_planned_day_changes_which_number_is_quoted(day: int, kind: str, value: str) -> None:
    found = headline(fixed(day), look(day))
    assert found.quoted is not None
    assert found.other is not None
    assert {found.quoted.kind, found.other.kind} == {"always-valid", "fixed-horizon"}
    assert (found.quoted.kind, quoted_text(found)) == (kind, value)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (headline(fixed(3), look(3)), "lower than control (always-valid 95 % interval below zero)"),
        (headline(fixed(3), look(3, -0.2, 0.1)), "not decided"),
        (headline(fixed(9), look(9, -0.2, 0.1)), "lower than control (fixed-horizon 95 % interval below zero)"),
        (headline(fixed(9, 0.02, 0.1), look(9)), "higher than control (fixed-horizon 95 % interval above zero)"),
        (headline(fixed(9, -0.2, 0.1), look(9)), "no difference found (fixed-horizon 95 % interval contains zero)"),
        (headline(fixed(3), None), "not decided"),
    ],
)
def test_a_fixed_interval_decides_nothing_before_its_day(found: Headline, said: str) -> None:
    assert finding(found) == said


def test_the_other_number_is_named_or_its_absence_explained() -> None:
    found = headline(fixed(9), look(9))
    assert other_text(found) == "always-valid 95 %: −10.0 % [−20.0 %, −2.0 %]"
    none = look(3) | {"effect": None, "relative": None, "reason_absent": "at most 2 clusters in an arm"}
    alone = headline(fixed(3), none)
    assert alone.quoted is not None
    assert kind_text(alone, alone.quoted) == f"fixed-horizon 95 %, for {PLANNED} only"
    assert other_text(alone) == "no always-valid interval: at most 2 clusters in an arm"


def test_an_open_side_is_no_always_valid_number() -> None:
    found = headline(fixed(3), look(3) | {"anytime_high": None})
    assert found.quoted is not None
    assert found.quoted.kind == "fixed-horizon"
    assert finding(found) == "not decided"


def test_nothing_to_quote_says_why() -> None:
    absent = dict.fromkeys(("absolute", "relative"), None) | {"reason_absent": "no usable day"}
    assert quoted_text(headline(fixed(3) | absent, None)) == "none: no usable day"


def test_a_newer_version_is_not_mixed_with_an_older_one() -> None:
    found = headline(fixed(9) | {"version": 2}, look(12))
    assert (found.version, found.day, found.other) == (2, START + timedelta(9), None)


def test_picture_and_table_have_the_same_fixed_interval() -> None:
    tables = outcome()
    (quotable,) = [h for h in headlines(tables["estimates"], tables["sequences"]) if h.metric == "units"]
    found = series_of(tables["sequences"], tables["estimates"], "units", "low", "EUR", TRUTH)
    assert found.headline == quotable
    drawn = found.fixed[-1]
    spans = [q.relative for q in (quotable.quoted, quotable.other) if q is not None and q.kind == "fixed-horizon"]
    assert [(s.value, s.low, s.high) for s in spans if s] == [(drawn.relative, *(drawn.relative_interval or ()))]
    assert quoted_text(quotable) in title(found)
    assert any(quoted_text(quotable) in line for line in subtitle(found))


def test_a_date_of_no_plan_decides_nothing() -> None:
    undated = headline(fixed(9) | {"planned_day": None}, None)
    assert (undated.planned, finding(undated)) == (False, "not decided")
    assert isinstance(undated.day, date)
