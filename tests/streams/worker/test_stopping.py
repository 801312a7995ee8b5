"""Stopping clients of Kafka: in time, whatever their broker does."""

import asyncio

import pytest

from streams.kafka.connection import stop_client


class Silent:
    """A client whose broker answers nothing."""

    async def stop(self) -> None:
        await asyncio.Event().wait()


class Escaping:
    """A client that lets the cancellation of a task of its own escape."""

    async def stop(self) -> None:
        raise asyncio.CancelledError


async def test_a_client_whose_broker_does_not_answer_is_left_in_time() -> None:
    async with asyncio.timeout(10):
        await stop_client(Silent(), seconds=0.01)


async def test_the_cancellation_of_a_task_of_the_clients_own_is_not_ours() -> None:
    await stop_client(Escaping())


async def test_whoever_is_cancelled_while_it_waits_for_a_client_is_cancelled() -> None:
    stopping = asyncio.create_task(stop_client(Silent(), seconds=60))
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
