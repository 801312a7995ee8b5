"""Child processes that never outlive us, however we end.

A demo that is killed must not leave a Redis behind, nor a folder. Signal handlers cannot promise that (nothing handles
SIGKILL), so a shell of a few lines watches a pipe of ours: when it closes, for whatever reason, the shell kills the
processes that it was told of and removes the folder. An orderly exit takes the same way.
"""

import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from controller.errors import CannotStart

POLL_SECONDS = 0.005

_KEEPER = """
pids=' '
while read -r verb pid; do
    case $verb in
        watch) pids="$pids$pid " ;;
        forget) pids="${pids%% "$pid" *} ${pids#* "$pid" }" ;;
    esac
done
for pid in $pids; do kill -9 "$pid"; done 2>/dev/null
rm -rf -- "$1"
"""


class Child:
    """One process in a sandbox; its output goes to a log of its own."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path, forget: Callable[[int], None]) -> None:
        self.name = name
        self.log = log
        self._process = process
        self._forget = forget

    @property
    def pid(self) -> int:
        return self._process.pid

    def running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL, as a crash would be; returns when the process is gone."""
        self._end(signal.SIGKILL)

    def stop(self, timeout: float = 30.0) -> None:
        """SIGTERM and a grace period of ``timeout`` seconds, then SIGKILL."""
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: alive to the operating system, silent to everyone else."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def said(self, text: str) -> bool:
        """Whether the log holds this text."""
        return text.encode() in self.log.read_bytes()

    def tail(self, lines: int = 25) -> str:
        """The last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def wait_until(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        """Wait for a condition of this process; CannotStart, with the tail of its log, where it dies or dawdles."""
        deadline = time.monotonic() + timeout
        while not condition():
            if not self.running():
                code = self._process.returncode
                raise CannotStart(f"{self.name} ended with code {code} before {what}; its log ends:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise CannotStart(f"{self.name}: not {what} within {timeout:g} s; its log ends:\n{self.tail()}")
            time.sleep(POLL_SECONDS)

    def wait_to_end(self, timeout: float) -> None:
        """Wait until the process has done its work; CannotStart where it fails or takes longer than ``timeout``."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise CannotStart(f"{self.name}: not done within {timeout:g} s; its log ends:\n{self.tail()}") from None
        if code != 0:
            raise CannotStart(f"{self.name} ended with code {code}; its log ends:\n{self.tail()}")

    def _end(self, sign: signal.Signals) -> None:
        # Forgotten before it is reaped: until then its pid cannot be given to anyone else.
        self._process.send_signal(sign)
        self._forget(self.pid)
        self._process.wait()


class Sandbox:
    """A temporary folder and the processes that run in it: gone together when the block, or this process, ends."""

    def __init__(self, prefix: str = "flipside-") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=prefix))
        self._children: list[subprocess.Popen[bytes]] = []
        # Its own session: Ctrl-C in the terminal goes to us, and we decide about the rest.
        self._keeper = subprocess.Popen(
            ["/bin/sh", "-c", _KEEPER, "keeper", str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, name: str, command: Sequence[str], env: dict[str, str] | None = None) -> Child:
        """Start a process with the folder as its working directory; CannotStart where there is no such program."""
        log = self.folder / f"{name}-{len(self._children)}.log"
        try:
            with log.open("wb") as output:
                process = subprocess.Popen(
                    list(command),
                    cwd=self.folder,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise CannotStart(f"{name}: {command[0]} cannot be run: {error.strerror}") from error
        self._tell("watch", process.pid)
        self._children.append(process)
        return Child(name, process, log, lambda pid: self._tell("forget", pid))

    def close(self) -> None:
        """Kill what still runs and remove the folder; a second call does nothing."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        self._keeper.wait()
        for process in self._children:
            process.wait()
        # The keeper has done it; this is for a file that was being written while it did.
        shutil.rmtree(self.folder, ignore_errors=True)

    def _tell(self, verb: str, pid: int) -> None:
        assert self._keeper.stdin is not None
        if not self._keeper.stdin.closed:
            self._keeper.stdin.write(f"{verb} {pid}\n".encode())
            self._keeper.stdin.flush()
