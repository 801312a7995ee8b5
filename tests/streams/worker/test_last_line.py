"""What the last line takes, what it lets through, and from where on a fault concerns all."""

import asyncio

import pytest
from aiokafka.errors import KafkaError

from controller.decisions.verify import verify
from controller.definition.experiment import design_hash
from controller.errors import CannotReach, InvalidExperiment, UnreadableMessage
from controller.messages.events import Registered
from controller.messages.faults import fault_of
from controller.messages.topics import ASSIGNMENT_LOG
from streams.store import Fenced, StoreRefuses
from streams.worker.last_line import Place, alone, concerns_all, unforeseen
from tests.chaos.faults.evening import EXPERIMENTS, MIDNIGHT, evening
from tests.chaos.faults.strikes import Strike

FORESEEN = (
    CannotReach("x"), StoreRefuses("x"), Fenced("x", newer=True), KafkaError(), ConnectionResetError(), TimeoutError(),
    MemoryError(), asyncio.CancelledError(), KeyboardInterrupt(),
)  # fmt: skip


@pytest.mark.parametrize("error", FORESEEN, ids=lambda error: type(error).__name__)
async def test_what_is_foreseen_goes_through_and_sets_nothing_aside(error: BaseException) -> None:
    assert not unforeseen(error)

    async def work(_: int) -> None:
        raise error

    with pytest.raises(type(error)):
        await alone([1], work)


@pytest.mark.parametrize("error", [KeyError("x"), AssertionError(), UnreadableMessage("x"), InvalidExperiment(())])
async def test_of_pieces_that_fail_as_nobody_foresaw_the_others_are_done(error: Exception) -> None:
    done = []

    async def work(piece: int) -> None:
        if piece == 1:
            raise error
        done.append(piece)

    assert await alone(range(3), work) == {1: error}
    assert done == [0, 2]


def test_more_than_half_of_the_markets_concern_all_unless_it_is_one_experiment_of_several() -> None:
    markets = [f"m{k}" for k in range(6)]
    tried = [Place(market, name) for market in markets for name in ("a", "b")]
    assert not concerns_all([Place(market, "a") for market in markets], tried)
    assert not concerns_all([place for place in tried if place.market in ("m0", "m1", "m2")], tried)
    assert concerns_all([place for place in tried if place.market in ("m0", "m1", "m2", "m3")], tried)
    assert concerns_all([Place(market, "a") for market in markets], [Place(market, "a") for market in markets])
    assert not concerns_all([Place("m0", "a"), Place("m1", "a")], [Place("m0", "a"), Place("m1", "a")])


def test_a_fault_names_the_innermost_function_of_ours_and_can_be_shown() -> None:
    with pytest.raises(AttributeError) as raised:
        fault_of(None)  # type: ignore[arg-type]
    assert fault_of(raised.value).place == "controller.messages.faults:fault_of"
    assert fault_of(ValueError("\x1b[31m")).error == r"ValueError: \x1b[31m"


def test_the_log_of_a_market_that_was_set_aside_is_what_its_definition_leads_to() -> None:
    found = asyncio.run(evening(Strike("streams.closing.day_close:_row")))
    north = EXPERIMENTS[0]
    registered = Registered(
        id="north.1/registered", experiment=north, design_hash=design_hash(north), registered_at=MIDNIGHT
    )
    until_the_kill = [message for message in found.messages(ASSIGNMENT_LOG) if "kill" not in message.model_dump_json()]
    assert any("set aside" in message.model_dump_json() for message in until_the_kill)
    assert verify(registered, until_the_kill) == ()
