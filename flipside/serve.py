"""Running a long-lived duty from the command line: logs, signals, and an end that leaves nothing half done."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable

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


def serve(settings: Settings, duty: Duty) -> None:
    """Run a duty until SIGTERM or SIGINT asks it to stop."""
    configure_logs(settings.log_level)

    asyncio.run(_until_signalled(duty))


async def _until_signalled(duty: Duty) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await duty(stop)
