"""How often the published interval contains the planted effect: whole replays over many seeds, on the embedded parts.

``python -m benchmarks.replays.replay_coverage [FOLDER] [--seeds 20] [--weeks 30] [--effects -0.10 0]``: one line a
replay, a
table, and one JSON object as the last line. A 95 % interval misses 1 in 20; of 20, more than 3 miss with probability
1.6 %. Long: a replay of 30 weeks takes about half a minute on two quiet cores.
"""

import argparse
import asyncio
import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from flipside.replay.environment import ReplayOptions, run_replay
from flipside.sales_history.history import read_history
from flipside.simulated_shop.demand import made_up_history


def main() -> None:
    """Replay, seed by seed, and count the misses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="a sales history; a made-up market where none is given")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--weeks", type=int, default=30)
    parser.add_argument("--effects", type=float, nargs="+", default=[-0.10, 0.0])
    parser.add_argument("--kafka", default=None, help="an embedded broker where none is given")
    parser.add_argument("--redis", default=None, help="an embedded server where none is given")
    arguments = parser.parse_args()
    if arguments.folder is None:
        history = made_up_history(20, 6, arguments.weeks, np.random.default_rng(7))
    else:
        history = read_history(arguments.folder).first(arguments.weeks)
    rows, console = [], Console()
    table = Table("effect", "replays", "misses", "mean estimate", "mean standard error", "seconds a replay")
    for effect in arguments.effects:
        found = []
        for seed in range(1, arguments.seeds + 1):
            options = ReplayOptions(effect, str(seed), arguments.kafka, arguments.redis)
            result = asyncio.run(run_replay(history, options))
            if result.estimate is None or result.se is None or result.ci_low is None or result.ci_high is None:
                raise SystemExit(f"seed {seed}: no estimate: {result.reason_absent}")
            inside = result.ci_low <= effect <= result.ci_high
            if result.events_counted != result.events_in or result.violations:
                raise SystemExit(f"seed {seed}: {result.events_counted} of {result.events_in} sales counted")
            outcome = "inside" if inside else "MISSED"
            console.print(
                f"effect {effect:+.2f} seed {seed}: {result.estimate:+.4f} "
                f"[{result.ci_low:+.4f}, {result.ci_high:+.4f}] {outcome} in {result.seconds:.0f} s"
            )
            found.append((result.estimate, result.se, inside, result.seconds))
        n = len(found)
        row = {
            "effect": effect,
            "replays": n,
            "misses": sum(not inside for _, _, inside, _ in found),
            "mean_estimate": sum(e for e, _, _, _ in found) / n,
            "mean_se": sum(se for _, se, _, _ in found) / n,
            "mean_seconds": sum(s for _, _, _, s in found) / n,
        }
        rows.append(row)
        table.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()))
    console.print(table)
    print(json.dumps({"weeks": arguments.weeks, "rows": history.rows, "coverage": rows}))


if __name__ == "__main__":
    main()
