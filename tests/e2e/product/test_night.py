"""The night's drill, asserted: nothing of it happens in silence. `tests/e2e/product/night.py` prints it as a table."""

import json
from pathlib import Path

import pytest

from tests.e2e.product.night import SKEWS, UNITS, all_away, broker_off, drill, stage

pytestmark = [pytest.mark.broker, pytest.mark.timeout(900)]
RESULTS = Path(__file__).parents[3] / "benchmarks" / "results" / "night_drill.json"


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


def test_the_committed_table_is_of_all_scenarios() -> None:
    rows = json.loads(RESULTS.read_text())
    assert [row["scenario"] for row in rows[:-2]] == [f"broker's clock {minutes:+d} min" for minutes in SKEWS]
