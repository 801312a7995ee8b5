"""``python -m tests.chaos.faults.plant [BUG...]``: plant one bug after the other, and show which rule caught it.

Exit code 1 where one was caught by none of the rules that are there for it.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tests.chaos.faults.planted import BUGS
from tests.chaos.faults.scripts import SCRIPTS
from tests.chaos.rules import judge
from tests.chaos.run import run
from tests.chaos.shop.setting import Setting

SMALL = Setting(nodes=1, workers=2, clients=2, partitions=2, day_seconds=12.0, session_ms=3000)


def caught(name: str, script: str = "", seed: int = 1) -> list[str]:
    """The rules that a run with this bug breaks, under its own script or another; a run without any bug for ''."""
    scripted = SCRIPTS[script or BUGS[name].script]
    twice = 0.0 if name and BUGS[name].environment else 0.1
    setting = replace(SMALL, twice=twice, seed=seed, bug=name, **scripted.setting)
    evidence, _ = asyncio.run(run(setting, scripted.script))
    return [rule for rule, cases in judge(evidence).items() if cases]


def table(found: Mapping[str, Sequence[str]]) -> str:
    """Bug -> the rules that caught it, as text."""
    width = max(len(BUGS[name].what) for name in found)
    lines = [f"{'planted bug':<{width}}  caught by", f"{'-' * width}  {'-' * 30}"]
    lines += [f"{BUGS[name].what:<{width}}  {', '.join(rules) or 'NOT CAUGHT'}" for name, rules in found.items()]
    return "\n".join(lines)


def as_json(found: Mapping[str, Sequence[str]]) -> str:
    return json.dumps({name: {"what": BUGS[name].what, "caught_by": list(rules)} for name, rules in found.items()})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.faults.plant", description=__doc__)
    parser.add_argument("bugs", nargs="*", help=f"of {', '.join(BUGS)}; default: all")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    given = parser.parse_args()
    names = given.bugs or list(BUGS)
    if unknown := set(names) - set(BUGS):
        parser.error(f"no such bug: {', '.join(sorted(unknown))}; there are {', '.join(BUGS)}")
    found = {}
    for number, name in enumerate(names, 1):
        print(f"{number} of {len(names)}: {BUGS[name].what}, under {BUGS[name].script!r}", file=sys.stderr, flush=True)
        began = time.monotonic()
        found[name] = caught(name)
        seconds = time.monotonic() - began
        print(f"caught by {', '.join(found[name]) or 'NOTHING'}, in {seconds:.0f} s", file=sys.stderr, flush=True)
    print(as_json(found) if given.json else table(found))
    sys.exit(1 if any(not BUGS[name].caught_by & set(rules) for name, rules in found.items()) else 0)


if __name__ == "__main__":
    main()
