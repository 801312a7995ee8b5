"""One real broker for all processes of a run (pytest-xdist).

The process that gives the tests out starts it when one of those that run them first asks, and ends it after the last of
them. A broker computes as much for four processes as for one: its start, its compiler and its idle turns come once.
"""

import secrets
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Listener
from typing import Any

import pytest

from controller.errors import CannotStart
from tests.parts.kafka import Kafka, password_listener
from tests.parts.ports import free_port

#: so that nine thousand partitions of all namespaces have their place
HEAP = "1g"


@dataclass(frozen=True, slots=True)
class SharedKafka:
    """Where the broker of all tests listens: leave it running."""

    #: what clients bootstrap from
    address: str
    #: of the listener that asks for user and password; see `password_listener`
    password_port: int


class KafkaOnRequest:
    """Starts the broker when it is first asked for, and tells everybody who asks where it is."""

    def __init__(self) -> None:
        self.key = secrets.token_bytes()
        self._listener = Listener(("127.0.0.1", 0), authkey=self.key)
        self._stack = ExitStack()
        threading.Thread(target=self._answer, name="shared-broker", daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._listener.address[1])

    def close(self) -> None:
        """End the broker, if anybody asked for it."""
        self._listener.close()
        self._stack.close()

    def _answer(self) -> None:
        broker: SharedKafka | Exception | None = None
        # Whatever ends this thread, nobody waits for an answer of it.
        with self._listener:
            while True:
                try:
                    asked = self._listener.accept()
                except (AuthenticationError, EOFError):
                    continue  # a stranger on this machine
                except OSError:
                    return  # closed
                with asked:
                    if broker is None:
                        try:
                            broker = self._stack.enter_context(started())
                        except (CannotStart, OSError, RuntimeError) as error:  # each process that asks raises it
                            broker = error
                    asked.send(broker)


@contextmanager
def started() -> Iterator[SharedKafka]:
    """A broker of one's own."""
    port = free_port()
    with Kafka(overrides=password_listener(port), heap=HEAP) as kafka:
        yield SharedKafka(kafka.address, port)


def requested(port: int, key: bytes) -> SharedKafka:
    """The broker that a `KafkaOnRequest` at this port has started; raises what its start has raised."""
    with Client(("127.0.0.1", port), authkey=key) as connection:
        broker = connection.recv()
    if isinstance(broker, Exception):
        raise broker
    assert isinstance(broker, SharedKafka)
    return broker


SHARED_BROKER = pytest.StashKey[KafkaOnRequest]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """In the process that gives the tests out, for each that runs them."""
    stash = node.config.stash
    if SHARED_BROKER not in stash:
        stash[SHARED_BROKER] = KafkaOnRequest()
    shared = stash[SHARED_BROKER]
    node.workerinput |= {"broker_port": shared.port, "broker_key": shared.key}


def pytest_unconfigure(config: pytest.Config) -> None:
    shared = config.stash.get(SHARED_BROKER, None)
    if shared is not None:
        shared.close()


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[SharedKafka]:
    """A single Kafka node, shared by all tests: leave it running."""
    given = getattr(request.config, "workerinput", None)
    if given is None:
        with started() as own:
            yield own
    else:
        yield requested(given["broker_port"], given["broker_key"])
