"""Ports on loopback for servers that must come back at the same address after a kill.

Taken below the range from which the system draws the ports of outgoing connections, so that none of those sits on a
port while its server is down; and held by a locked file, so that two test runs at once never get the same one.
"""

import fcntl
import os
import socket
import tempfile
from pathlib import Path

FIRST, LAST = 20_000, 31_999


def free_port() -> int:
    """A port on which nothing listens, ours until this process ends."""
    folder = Path(tempfile.gettempdir()) / f"flipside-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    span = LAST - FIRST + 1
    for step in range(span):
        port = FIRST + (os.getpid() * 61 + step) % span
        # Never closed: the lock is held for as long as this process lives.
        lock = os.open(folder / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        if _nothing_listens(port):
            return port
        os.close(lock)
    raise RuntimeError(f"no free port between {FIRST} and {LAST} on 127.0.0.1")


def _nothing_listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
