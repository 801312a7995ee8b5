"""The night's drill, asserted: nothing of it happens in silence. `tests/e2e/product/night.py` prints it as a table."""

import json

import pytest

from flipside.schemas import ROOT
from tests.e2e.product.night import SKEWS, UNITS, all_away, broker_off, drill, stage
from tests.e2e.product.night_table import RESULTS, seconds_of, table

pytestmark = [pytest.mark.broker, pytest.mark.timeout(900)]
#: within which metrics show what is wrong
A_MINUTE = 60.0


async def test_all_workers_away_over_a_midnight_are_seen_within_the_minute_after_they_are_back() -> None:
    with stage() as (kafka, clocks):
        row = await all_away(kafka, clocks)
    assert row["metrics"]['flipside_units{why="lapsed"}'] == len(UNITS)
    assert row["metrics"]["flipside_undelivered_market_days_total"] == 4
    assert row["metrics"]["flipside_lease_remaining_seconds"] < 0
    assert row["log"]["units lapsed"]["since"]


async def test_brokers_an_hour_ahead_make_late_decisions_at_once_and_are_named() -> None:
    with stage() as (kafka, clocks):
        row = await broker_off(kafka, clocks, 60)
    assert row["metrics"]["flipside_announcements_late_total"] == len(UNITS)
    assert set(row["clients"]) == {"control (late)", "control (scheduled)"}
    assert row["events"]["late"] > 0
    assert row["log"]["brokers' clock differs"]["ahead_seconds"] == pytest.approx(3600, abs=5)


@pytest.mark.slow
async def test_the_whole_drill() -> None:
    rows = await drill()
    assert len(rows) == len(SKEWS) + 2
    assert rows[-1]["metrics"]['flipside_health_check{check="fidelity-today",experiment="night"}'] == 2
    assert rows[-1]["log"]["check fails"]["systems"] == ["shelf-labels"]
    assert [row["scenario"] for row in rows if seconds_of(row) > A_MINUTE] == []


def test_the_committed_table_is_of_all_scenarios() -> None:
    rows = json.loads(RESULTS.read_text())
    assert [row["scenario"] for row in rows[:-2]] == [f"broker's clock {minutes:+d} min" for minutes in SKEWS]
    assert [row["scenario"] for row in rows if seconds_of(row) > A_MINUTE] == []
    assert table(rows) in (ROOT / "docs" / "faults.md").read_text(), "python -m tests.e2e.product.night_table"
