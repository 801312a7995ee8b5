"""Fuzzing the one way in: ``python -m tests.fuzz --minutes 10 --write FILE``, each kind of message in turn.

Each kind has a process of its own, so that its memory is its own. Ends with 1 where a record led to an exception, to
more than .1 s, to 20 MB, or was something else in a batch than alone. ``--only Sale`` takes one kind.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from tests.fuzz.engine import fuzz
from tests.fuzz.ways_in import ways_in


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="on the clock, for each kind of message")
    parser.add_argument("--records", type=int, default=1_000_000, help="at least so many of each kind, however long")
    parser.add_argument("--only", action="append", choices=sorted(ways_in()), help="only this kind; may be repeated")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same records")
    parser.add_argument("--write", type=Path, help="JSON of all kinds; those that it has already are kept")
    asked = parser.parse_args()
    kinds = asked.only or sorted(ways_in())
    if len(kinds) == 1 and asked.write is None:
        print(json.dumps(asdict(fuzz(ways_in()[kinds[0]], asked.minutes * 60, asked.records, asked.seed))))
        return 0
    found: dict[str, dict[str, object]] = {}
    for kind in kinds:
        command = ["--only", kind, "--minutes", str(asked.minutes), "--records", str(asked.records)]
        command += ["--seed", str(asked.seed)]
        done = subprocess.run([sys.executable, "-m", "tests.fuzz", *command], capture_output=True, text=True)
        if done.returncode:
            print(f"{kind}: the process ended with {done.returncode}\n{done.stderr[-3000:]}")
            return 1
        # Read anew each time: several of these commands may fill one file, one after the other.
        found |= json.loads(asked.write.read_text()) if asked.write and asked.write.exists() else {}
        found[kind] = json.loads(done.stdout.splitlines()[-1])
        print(shown(found[kind]), flush=True)
        if asked.write:
            asked.write.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    return int(any(found[kind]["failures"] for kind in kinds))


def shown(one: dict[str, object]) -> str:
    """A line of the table."""
    failures = one["failures"]
    assert isinstance(failures, list)
    text = (
        f"{one['kind']:18} {one['seconds']:>7} s ({one['cpu_seconds']} of CPU) {one['records']:>9} records "
        f"{one['messages']:>8} messages slowest {one['slowest_ms']} ms, growth {one['growth_mb']} MB, "
        f"{one['later_mb']} of it later, "
        f"{len(failures)} failures"
    )
    return "\n".join([text, *(f"    {failure}" for failure in failures[:5])])


if __name__ == "__main__":
    sys.exit(main())
