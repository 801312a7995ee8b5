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


class Lender:
    """Starts the broker when it is first asked for, and tells everybody who asks where it is."""

    def __init__(self) -> None:
        self.key = secrets.token_bytes()
        self._listener = Listener(("127.0.0.1", 0), authkey=self.key)
        self._stack = ExitStack()
        threading.Thread(target=self._lend, name="lender", daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._listener.address[1])

    def close(self) -> None:
        """End the broker, if anybody asked for it."""
        self._listener.close()
        self._stack.close()

    def _lend(self) -> None:
        lent: SharedKafka | Exception | None = None
        while True:
            try:
                asked = self._listener.accept()
            except (AuthenticationError, EOFError):
                continue  # a stranger on this machine
            except OSError:
                return  # closed
            with asked:
                if lent is None:
                    try:
                        lent = self._stack.enter_context(started())
                    except Exception as error:  # noqa: BLE001 - whoever asks fails with it
                        lent = error
                asked.send(lent)


@contextmanager
def started() -> Iterator[SharedKafka]:
    """A broker of one's own."""
    port = free_port()
    with Kafka(overrides=password_listener(port), heap=HEAP) as kafka:
        yield SharedKafka(kafka.address, port)


def borrowed(port: int, key: bytes) -> SharedKafka:
    """The broker that a `Lender` at this port lends; raises what its start has raised."""
    with Client(("127.0.0.1", port), authkey=key) as lender:
        lent = lender.recv()
    if isinstance(lent, Exception):
        raise lent
    assert isinstance(lent, SharedKafka)
    return lent


LENDER = pytest.StashKey[Lender]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """In the process that gives the tests out, for each that runs them."""
    stash = node.config.stash
    if LENDER not in stash:
        stash[LENDER] = Lender()
    lender = stash[LENDER]
    node.workerinput |= {"lender_port": lender.port, "lender_key": lender.key}


def pytest_unconfigure(config: pytest.Config) -> None:
    lender = config.stash.get(LENDER, None)
    if lender is not None:
        lender.close()


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[SharedKafka]:
    """A single Kafka node, shared by all tests: leave it running."""
    given = getattr(request.config, "workerinput", None)
    if given is None:
        with started() as own:
            yield own
    else:
        yield borrowed(given["lender_port"], given["lender_key"])
