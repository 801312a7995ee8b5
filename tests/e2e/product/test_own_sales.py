"""A definition as it stands, rehearsed on one's own sales through the whole system."""

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from controller.definition.experiment import Experiment
from controller.messages.events import Assignment
from controller.messages.inputs import Blackout
from flipside.documents import read_lines
from flipside.replay.definition_as_it_stands import AsItStands, as_it_stands
from flipside.replay.environment import ReplayOptions, run_replay
from flipside.replay.progress import Result
from flipside.sales_history.own_sales import read_own
from tests.e2e.running import Servers

pytestmark = pytest.mark.broker

START, ZONES = date(2031, 3, 3), ("Europe/Vienna", "America/Chicago")
DAYS, HISTORY = 14, 35


def shop(folder: Path, stores: int, *, guardrails: bool = False, **more: object) -> AsItStands:
    """Receipts without costs, stores in two time zones, and a definition with a blackout."""
    rng = np.random.default_rng(5)
    rows = ["store,product,date,quantity,price"]
    for day in range(HISTORY):
        for store in range(stores):
            for product in "xy":
                on = START - timedelta(days=HISTORY + 7 - day)
                rows += [f"s{store},{product},{on},{n},3.49" for n in 1 + rng.poisson(1, rng.poisson(15))]
    (folder / "sales.csv").write_text("\n".join(rows) + "\n")
    entries = [
        {"unit": f"s{s}/{p}", "time_zone": ZONES[s % 2], "currency": "EUR", "list_price_minor": 349}
        for s in range(stores)
        for p in "xy"
    ]
    (folder / "catalog.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    window = {
        "id": "closed", "scope": {"kind": "market", "name": "s1"}, "reason": "inventory",
        "starts_at": str(START + timedelta(days=3)) + "T00:00:00-06:00",
        "ends_at": str(START + timedelta(days=6)) + "T00:00:00-06:00",
    }  # fmt: skip
    (folder / "blackouts.jsonl").write_text(json.dumps(window) + "\n")
    body = {
        "name": "own", "currency": "EUR", "select": {}, "clusters": "market", "start": str(START), "days": DAYS,
        "seed": "mine", "arms": [{"name": "control"}, {"name": "low", "price": {"percent": "-10"}}],
        "design": {"kind": "random_days"}, "limits": {"max_off_list_percent": "20"}, **more,
    }  # fmt: skip
    if guardrails:
        body["guardrails"] = [{"metric": "units", "tolerance": 3.0, "expected_blocks": 7}]
    definition = Experiment.model_validate_json(json.dumps(body))
    own = read_own(folder / "sales.csv", catalog=folder / "catalog.jsonl")
    return as_it_stands(definition, own, own.catalog, read_lines(folder / "blackouts.jsonl", Blackout))


async def rehearse(servers: Servers, namespace: str, folder: Path, played: AsItStands, effect: float) -> Result:
    blackouts = tuple(read_lines(folder / "blackouts.jsonl", Blackout))
    options = ReplayOptions(
        effect,
        "mine",
        servers.kafka,
        servers.redis,
        namespace,
        False,
        played.experiment,
        played.before,
        True,
        blackouts,
    )
    return await run_replay(played.history, options)


async def test_a_guardrail_ends_a_rehearsal_in_which_forty_percent_are_lost(
    servers: Servers, namespace: str, tmp_path: Path
) -> None:
    result = await rehearse(servers, namespace, tmp_path, shop(tmp_path, 8, guardrails=True), -0.40)
    assert result.ended is not None
    assert (result.ended.action, result.ended.metric) == ("revert", "units")
    assert result.ended.after_days < DAYS
    assert result.broken_promises == ()
    assert result.events_counted == result.events_in


async def test_currency_limits_time_zones_and_blackouts_are_those_of_the_definition(
    servers: Servers, namespace: str, tmp_path: Path
) -> None:
    played = shop(tmp_path, 6)
    result = await rehearse(servers, namespace, tmp_path, played, -0.05)
    assert (result.ended, result.broken_promises) == (None, ())
    assert result.events_counted == result.events_in
    assert result.ci_low is not None
    assert result.ci_high is not None
    assert result.ci_low <= result.truth <= result.ci_high
    assert result.flips_blocked > 0, "three days of a blackout keep an arm of one store"
    days = [m for m in result.messages if isinstance(m, Assignment) and m.day == START]
    assert {m.effective_at.hour for m in days} == {23, 6}, "midnights of Vienna and of Chicago"
    assert {m.currency for m in days} == {"EUR"}


def test_what_nobody_will_watch_is_said_before_the_start(tmp_path: Path) -> None:
    notes = "\n".join(shop(tmp_path, 3, guardrails=True).notes)
    assert "needs 2 clusters in each arm (4 for 2 arms); with 3 clusters the error is taken between draws" in notes
    assert "an always-valid interval needs 3 clusters in each arm (6 for 2 arms); with 3 clusters" in notes
    assert "1 guardrails will watch nothing: a guardrail needs 3 clusters in each arm" in notes


def test_what_cannot_be_rehearsed_is_named_and_the_weekdays_agree(tmp_path: Path) -> None:
    played = shop(tmp_path, 4, seed_disclosure="committed")
    notes = "\n".join(played.notes)
    assert "not rehearsed: seed_disclosure committed" in notes
    assert "not rehearsed: changes of the catalog" in notes
    assert played.history.days is not None
    assert played.history.days[played.before].weekday() == START.weekday()
    longer = shop(tmp_path, 4, days=70)
    assert any("not rehearsed: the last" in note for note in longer.notes)
