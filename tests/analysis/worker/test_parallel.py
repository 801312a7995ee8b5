"""Many experiments at once: the bytes do not depend on which process computes them."""

import subprocess
import sys

import distributed
import pytest

from analysis.panel_data.ledger import Ledger
from analysis.worker.analyse import Mark, Share, due, key, mark_of
from analysis.worker.parallel import WORTH_SHARING, share_of
from controller.definition.field_types import Message
from controller.errors import FlipsideError
from controller.messages.events import PeriodClosed
from tests.analysis.traffic import START, experiment, history
from tests.parts.dask_cluster import dask_cluster
from tests.parts.ports import free_port

#: seconds that a test waits for a Dask that does not answer
SOON = 0.5
WITHOUT_DASK = """
import sys
sys.modules["distributed"] = None
from analysis.worker.parallel import share_of
share_of(1, "127.0.0.1:8786")
"""


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


def assert_same_bytes_day_after_day(share: Share | None) -> None:
    """What is shared out gives the bytes that this process gives, at a first refresh and at one that builds on it."""
    said = messages()
    early = [m for m in said if not isinstance(m, PeriodClosed) or m.day < START.replace(day=4)]
    late = [m for m in said if isinstance(m, PeriodClosed) and m.day >= START.replace(day=4)]
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


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_experiments_shared_among_processes_say_what_one_process_says_day_after_day() -> None:
    assert_same_bytes_day_after_day(share_of(2))


async def test_experiments_shared_among_two_dask_workers_say_what_one_process_says_day_after_day() -> None:
    with dask_cluster() as (address, _):
        # As the analysis does it: from within a running event loop.
        share = share_of(1, address)
        with distributed.default_client() as client:
            assert_same_bytes_day_after_day(share)
            has_computed = client.run(lambda: "analysis.worker.parallel" in __import__("sys").modules)
    assert list(has_computed.values()) == [True, True]


def test_a_dask_scheduler_that_goes_away_ends_the_refresh_with_the_way_out() -> None:
    with dask_cluster() as (address, scheduler):
        share = share_of(1, address, SOON)
        assert share is not None
        with distributed.default_client():
            scheduler.kill()
            with pytest.raises(FlipsideError, match=f"{address} went away.*start it and its workers again"):
                assert_same_bytes_day_after_day(share)


def test_a_dask_scheduler_without_workers_is_not_waited_for_for_ever() -> None:
    with (
        dask_cluster(workers=False) as (address, _),
        pytest.raises(FlipsideError, match=rf"{address} has no worker.*dask worker {address}"),
    ):
        share_of(1, address, SOON)


def test_a_dask_scheduler_that_is_not_there_is_named_with_the_setting() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(FlipsideError, match=rf"FLIPSIDE_ANALYSIS_DASK is {address}.*`dask scheduler`"):
        share_of(1, address, SOON)


def test_dask_that_is_asked_for_and_not_installed_is_named_with_the_way_out() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_DASK], capture_output=True, text=True, check=False)
    assert "FLIPSIDE_ANALYSIS_DASK is 127.0.0.1:8786, but Dask is not installed: pip install" in done.stderr


def test_one_process_needs_nobody() -> None:
    assert share_of(1) is None
