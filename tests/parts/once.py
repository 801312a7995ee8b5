"""What is made once for all processes of a run (pytest-xdist), and what each of them then has a copy of."""

import fcntl
import pickle
from collections.abc import Callable
from typing import TypeVar

import pytest

Made = TypeVar("Made")


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[], Made]) -> Made:
    """What ``make`` returns in the first process that asks; the others wait for it, and need not make it again."""
    own = factory.getbasetemp()
    folder = own.parent if own.name.startswith("popen-") else own
    with (folder / f"{name}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = folder / f"{name}.pickle"
        if not kept.exists():
            kept.write_bytes(pickle.dumps(make()))
        made: Made = pickle.loads(kept.read_bytes())
    return made
