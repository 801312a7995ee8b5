"""Snapshots: a ledger read back goes on as if it had read the log, to the last byte; a crash leaves the one before."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.panel_data.ledger import Ledger
from analysis.worker.analyse import due
from analysis.worker.snapshot import WORDS, Snapshot, UnusableSnapshot, load, save
from controller.definition.field_types import Message
from controller.messages.control import Entered
from controller.messages.inputs import Applied, CatalogEntry, CompetitorPrice
from controller.time.periods import period
from tests.analysis.panel_data.revisions import revised
from tests.analysis.traffic import START, closing, experiment
from tests.controller.messages.control_examples import CONTROL_EXAMPLES

DEFINITION = experiment(markets=4, products=2, days=5)
MARCH = period(START, "Europe/Vienna").start


def reports() -> list[Message]:
    """What pricing systems, the catalog and rivals say beside."""
    unit, later = "m00/p0", MARCH + timedelta(days=1, seconds=20)
    return [
        Applied(id="a", unit=unit, arm="control", price_minor=None, applied_at=MARCH, assignment=None),
        Applied(id="b", unit=unit, arm="low", price_minor=None, applied_at=later, assignment=None),
        CatalogEntry(unit=unit, time_zone="Europe/Vienna", category="tea", currency="EUR", list_price_minor=3),
        CompetitorPrice(id="c", unit=unit, competitor="x", observed_at=MARCH, price_minor=3, currency="EUR"),
    ]


MESSAGES = [*revised(DEFINITION), *reports()]


def fold(messages: list[Message], ledger: Ledger) -> Ledger:
    for message in messages:
        ledger.fold(message, MARCH)
    return ledger


def said(ledger: Ledger) -> list[str]:
    return [finding.model_dump_json() for finding in due(ledger, {})]


WHOLE = said(fold(MESSAGES, Ledger()))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(len(MESSAGES))), cut=st.integers(0, len(MESSAGES)), look=st.booleans())
def test_what_a_ledger_says_does_not_depend_on_a_snapshot_having_been_taken_on_the_way(
    tmp_path: Path, order: list[int], cut: int, look: bool
) -> None:
    messages = [MESSAGES[k] for k in order]
    before = fold(messages[:cut], Ledger())
    if look:
        said(before)
    save(tmp_path, Snapshot(before, {"panel/0": cut}, ()))
    found = load(tmp_path)
    assert found is not None
    assert found.positions == {"panel/0": cut}
    assert said(fold(messages[cut:], found.ledger)) == WHOLE


def test_closings_that_do_not_count_yet_are_kept_with_what_they_wait_for(tmp_path: Path) -> None:
    one = closing(DEFINITION, "m00", START)
    save(tmp_path, Snapshot(Ledger(), {}, (({"log/0": 7}, one),)))
    found = load(tmp_path)
    assert found is not None
    assert found.closings == (({"log/0": 7}, one),)


def test_a_snapshot_that_was_not_finished_is_not_there(tmp_path: Path) -> None:
    save(tmp_path, Snapshot(fold(MESSAGES[:9], Ledger()), {"panel/0": 9}, ()))
    half = tmp_path / ".snapshot-00000002.draft"
    half.mkdir()
    (half / "rows.parquet").write_bytes(b"PAR1")
    found = load(tmp_path)
    assert found is not None
    assert found.positions == {"panel/0": 9}
    save(tmp_path, Snapshot(fold(MESSAGES[:10], Ledger()), {"panel/0": 10}, ()))
    again = load(tmp_path)
    assert again is not None
    assert again.positions == {"panel/0": 10}


def test_two_snapshots_are_kept(tmp_path: Path) -> None:
    for k in range(4):
        save(tmp_path, Snapshot(Ledger(), {"panel/0": k}, ()))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["snapshot-00000003", "snapshot-00000004"]


@pytest.mark.parametrize("words", ['{"format": 99}', "not JSON", '{"format": 1}'])
def test_a_snapshot_that_cannot_be_read_is_named_with_the_way_out(tmp_path: Path, words: str) -> None:
    path = save(tmp_path, Snapshot(Ledger(), {}, ()))
    (path / WORDS).write_text(words)
    with pytest.raises(UnusableSnapshot, match=r"snapshot-00000001.*delete it"):
        load(tmp_path)


def test_an_empty_folder_has_none(tmp_path: Path) -> None:
    assert load(tmp_path / "not yet") is None


def test_who_has_entered_is_kept(tmp_path: Path) -> None:
    entered, _ = CONTROL_EXAMPLES[Entered]
    ledger = fold([entered, entered], Ledger())
    save(tmp_path, Snapshot(ledger, {}, ()))
    found = load(tmp_path)
    assert found is not None
    assert (found.ledger.entered, found.ledger.triggers) == (ledger.entered, ledger.triggers)
    assert [list(study.values()) for study in found.ledger.entered.values()] == [[entered]]
