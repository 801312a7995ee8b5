"""A real Dask scheduler with its workers on loopback, started by the commands that docs/scaling.md gives."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streams.embedded.processes import Child, Sandbox
from streams.runtime.settings import child_environment
from tests.parts.ports import free_port

START_SECONDS = 60.0
SCHEDULER = "dask scheduler --host 127.0.0.1 --port 8786"
WORKERS = "dask worker tcp://127.0.0.1:8786 --nworkers 2 --nthreads 1"
#: for each process: no server of pages at a port that another run has
QUIET = ("--dashboard-address", "127.0.0.1:0")


@contextmanager
def dask_cluster(*, workers: bool = True) -> Iterator[tuple[str, Child]]:
    """``host:port`` of a scheduler that has two workers or none, and its process."""
    port = free_port()
    with Sandbox("flipside-dask-") as sandbox:
        environment = child_environment({"DASK_TEMPORARY_DIRECTORY": str(sandbox.folder)})

        def start(command: str) -> Child:
            program, verb, *arguments = shlex.split(command.replace("8786", str(port)))
            path = str(Path(sys.executable).parent / program)
            return sandbox.start(verb, [path, verb, *arguments, *QUIET], environment)

        scheduler = start(SCHEDULER)
        scheduler.wait_until(lambda: scheduler.said("Scheduler at"), START_SECONDS, "listening")
        if workers:
            started = start(WORKERS)
            joined = b"Registered to"
            started.wait_until(lambda: started.log.read_bytes().count(joined) == 2, START_SECONDS, "two workers")
        yield f"127.0.0.1:{port}", scheduler
