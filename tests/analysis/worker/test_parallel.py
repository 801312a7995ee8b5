"""Many experiments at once: whoever computes them, the same bytes come out."""

import importlib.util

import pytest

from analysis.panel_data.ledger import Ledger
from analysis.worker.analyse import Mark, due, key, mark_of
from analysis.worker.parallel import WORTH_SHARING, share_of
from controller.definition.field_types import Message
from controller.errors import FlipsideError
from controller.messages.events import PeriodClosed
from tests.analysis.traffic import START, experiment, history


def messages() -> list[Message]:
    """More experiments than are worth sharing, each in markets of its own."""
    found: list[Message] = []
    for number in range(WORTH_SHARING + 2):
        definition = experiment(markets=6, days=4, name=f"e{number}")
        said = history(definition, seed=number)
        renamed = {market: f"e{number}-{market}" for market in definition.units_by_market()}
        for message in said:
            text = message.model_dump_json()
            for market, name in renamed.items():
                text = text.replace(f'"{market}/', f'"{name}/').replace(f'"{market}"', f'"{name}"')
            found.append(type(message).model_validate_json(text))
    return found


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_experiments_shared_among_processes_say_what_one_process_says_day_after_day() -> None:
    said = messages()
    early = [m for m in said if not isinstance(m, PeriodClosed) or m.day < START.replace(day=4)]
    late = [m for m in said if isinstance(m, PeriodClosed) and m.day >= START.replace(day=4)]
    share = share_of(2)
    assert share is not None
    alone, shared = Ledger(), Ledger()
    marks: tuple[dict[str, Mark], dict[str, Mark]] = ({}, {})
    for part in (early, late):
        for message in part:
            alone.fold(message)
            shared.fold(message)
        one = list(due(alone, dict(marks[0])))
        two = list(due(shared, dict(marks[1]), share))
        assert [f.model_dump_json() for f in two] == [f.model_dump_json() for f in one]
        assert one
        for held, found in zip(marks, (one, two), strict=True):
            held.update({key(finding): mark_of(finding) for finding in found})


def test_one_process_needs_nobody() -> None:
    assert share_of(1) is None


def test_dask_that_is_asked_for_and_not_installed_is_named_with_the_way_out() -> None:
    assert importlib.util.find_spec("distributed") is None, "Dask came in: test it with a scheduler of its own"
    with pytest.raises(FlipsideError, match=r"FLIPSIDE_ANALYSIS_DASK is 127\.0\.0\.1:8786.*pip install"):
        share_of(1, "127.0.0.1:8786")
