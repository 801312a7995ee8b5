"""The worker and the analysis as child processes of a replay: started, watched, killed and started again."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

from controller.errors import CannotStart
from streams.runtime.settings import child_environment

STOP_SECONDS = 15.0
LOG_TAIL_BYTES = 4000


class Child:
    """One `flipside` command in a process of its own, its output in a file."""

    def __init__(
        self, name: str, command: list[str], environment: Mapping[str, str], folder: Path, module: str = "flipside"
    ) -> None:
        """``module``: what `python -m` runs in the place of ours."""
        self.name = name
        self._module = module
        self._command = command
        self._environment = child_environment(environment)
        self._log = folder / f"{name}.log"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, or start it again after `kill`."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", self._module, *self._command, env=self._environment, stdout=log, stderr=log
            )

    async def kill(self) -> None:
        """SIGKILL: nothing is flushed, nothing is said."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def terminate(self) -> None:
        """SIGTERM."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()

    async def wait(self) -> int | None:
        """Until it has ended; returns its exit code, None where it was never started."""
        return None if self._process is None else await self._process.wait()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL for one that does not listen."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            await self.kill()

    def check(self) -> None:
        """Raises CannotStart with the tail of its output if it has ended."""
        if self._process is not None and self._process.returncode is not None:
            raise CannotStart(f"{self.name} ended with {self._process.returncode}:\n{self.tail()}")

    def tail(self, size: int = LOG_TAIL_BYTES) -> str:
        """The end of what it said."""
        if not self._log.exists():
            return ""
        return self._log.read_bytes()[-size:].decode(errors="replace")
