"""Running a long-lived duty from the command line: logs, signals, and an end that leaves nothing half done."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from threading import Timer

import structlog

from streams.runtime.settings import Settings

Duty = Callable[[asyncio.Event], Awaitable[None]]


def worker_name() -> str:
    """Host and process: what an operator looks for when a log names a worker."""
    return f"{socket.gethostname()}-{os.getpid()}"


def configure_logs(level: str) -> None:
    """Structured logs to standard error: for people on a terminal, JSON elsewhere."""
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")


def serve(settings: Settings, duty: Duty, give_up_seconds: float | None = None) -> None:
    """Run a duty until SIGTERM or SIGINT asks it to stop.

    ``give_up_seconds``: a duty that has not ended so long after the signal is left as it is, and the process ends: of
    one that holds nothing, and may be killed at any instant, when Kafka and Redis do not answer its goodbye.
    """
    configure_logs(settings.log_level)

    asyncio.run(_until_signalled(duty, give_up_seconds))


async def _until_signalled(duty: Duty, give_up_seconds: float | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked() -> None:
        if give_up_seconds is not None and not stop.is_set():
            # A thread: what hangs may be the loop, or a library that swallows its cancellation when the loop ends.
            timer = Timer(give_up_seconds, _give_up, [give_up_seconds])
            timer.daemon = True
            timer.start()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)
    await duty(stop)


def _give_up(seconds: float) -> None:
    log = structlog.get_logger()
    log.warning("stopped without goodbye", seconds=seconds, why="Kafka or Redis did not answer while the worker ended")
    sys.stderr.flush()
    os._exit(0)
