"""``python -m tests.chaos --minutes M --seed S``: the whole product under faults, then the verdict of every rule."""

import argparse
import asyncio
import json
import random
import sys
from pathlib import Path

from tests.chaos.evidence.evidence import load
from tests.chaos.evidence.report import summary, table, write
from tests.chaos.faults.nemesis import KINDS
from tests.chaos.faults.scripts import at_random
from tests.chaos.rules import judge
from tests.chaos.run import run
from tests.chaos.shop.setting import Setting


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="how long faults are injected")
    parser.add_argument("--seed", type=int, default=None, help="of faults, sales and blackouts; printed")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    parser.add_argument("--faults", default="", help=f"comma-separated, of {', '.join(KINDS)}, or none; default: all")
    parser.add_argument("--nodes", type=int, default=3, help="Kafka brokers")
    parser.add_argument("--day-seconds", type=float, default=20.0, help="real seconds of a day of the shop")
    parser.add_argument("--twice", type=float, default=0.05, help="share of sales that are sent twice")
    parser.add_argument("--judge", type=Path, help="judge the evidence in this file again instead of running")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    setting = Setting(nodes=given.nodes, day_seconds=given.day_seconds, twice=given.twice, seed=seed)
    kinds = tuple(given.faults.split(",")) if given.faults else None
    if unknown := set(kinds or ()) - {*KINDS, "none"}:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    if given.judge:
        evidence, folder = load(given.judge), given.judge.parent
    else:
        print(f"seed {seed}: {given.minutes:g} minutes of faults, then some 30 s to come to rest", file=sys.stderr)
        evidence, folder = asyncio.run(run(setting, at_random(seed, given.minutes, kinds)))
    verdict = judge(evidence)
    found = summary(evidence, verdict, setting.lease, seed)
    write(found, verdict, folder)
    print(f"evidence, logs, report.json and report.txt: {folder}", file=sys.stderr)
    print(json.dumps(found) if given.json else table(found))
    sys.exit(1 if any(found["broken"].values()) else 0)


if __name__ == "__main__":
    main()
