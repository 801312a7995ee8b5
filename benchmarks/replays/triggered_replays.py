"""A triggered design on real sales, many seeds, without a stream: does the interval contain the planted effect?

    python -m benchmarks.replays.triggered_replays                 # seeds 1 to 10, 40 weeks
    python -m benchmarks.replays.triggered_replays --seeds 100

The production rules, coins and estimator, with rivals and effect as `flipside replay` plays them: for
the same seed both give the same triggers, entries and estimate. About three seconds a seed; the same through the whole
system: `python -m benchmarks.replays.whole_replays --design triggered`. Exit code 1 where too many intervals miss.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from analysis.panel_data.study import State, UnitDays
from analysis.randomised.triggered_entries import difference_by_entry
from benchmarks.randomised.worlds import interval
from controller.decisions.enrolment import Enrolment, admit
from controller.decisions.triggers import fired
from controller.definition.experiment import Experiment
from controller.designs.triggered import arms_entered
from controller.time.periods import period
from controller.validation.registration import resolve
from flipside.documents import read_experiment
from flipside.replay.fitted_definition import fit
from flipside.replay.plan import FIRST_DAY
from flipside.replay.replay import RIVALS_SEEN
from flipside.sales_history.history import TIME_ZONE, History, read_history
from flipside.simulated_shop.competitors import Rivals, rivals_of
from flipside.simulated_shop.shop import pieces


@dataclass(frozen=True, slots=True)
class Row:
    """What came out for one seed, relative to control."""

    seed: str
    triggers: int
    entries: int
    estimate: float
    se: float
    ci_low: float
    ci_high: float
    inside: bool


def play(definition: Experiment, whole: History, effect: float, seed: str) -> Row:
    """One seed, from the first day of the history to the estimate. Raises NotEstimable."""
    fitted = fit(definition, whole, FIRST_DAY, seed, None)
    history = whole.first(fitted.before + fitted.experiment.days)
    experiment = resolve(fitted.experiment, {entry.unit: entry for entry in history.catalog})
    rivals = rivals_of(experiment, history, seed)
    assert rivals is not None
    markets = {market: Enrolment() for market in experiment.units_by_market()}
    names = experiment.cluster_names()
    column = {unit: experiment.cluster_by_unit()[unit] for unit in experiment.units}
    where = {unit: names.index(cluster) for unit, cluster in column.items()}
    shape = (len(history.periods), len(experiment.units))
    units = {unit: k for k, unit in enumerate(experiment.units)}
    state, sold = np.zeros(shape, dtype=np.int8), np.full(shape, np.nan)
    triggers = 0
    for number, rows in enumerate(history.periods):
        day = experiment.start + timedelta(days=number - fitted.before)
        start = period(day, TIME_ZONE).start
        entries = [entry for enrolment in markets.values() for entry in enrolment.entries]
        arms = arms_entered(experiment, entries, day, start)
        for unit, k in units.items():
            state[number, k] = State.PRE_PERIOD if number < fitted.before else arms[column[unit]]
        for row in rows:
            factor = 1.0 + effect if state[number, units[row.unit]] > 0 else 1.0
            sold[number, units[row.unit]] = pieces(row.packs, factor, seed, row.unit, number)
        triggers += _answer(experiment, rivals, markets, number, day, column)
    days = UnitDays(
        first_day=FIRST_DAY,
        before=fitted.before,
        cluster=np.array([where[unit] for unit in experiment.units]),
        state=state,
        assigned=state,
        observed=np.isfinite(sold),
        quantity=np.nan_to_num(sold).astype(np.int64),
        revenue=np.zeros(shape, dtype=np.int64),
        cost=np.zeros(shape, dtype=np.int64),
        unseen=np.zeros(shape, dtype=np.int8),
        events=np.ones(shape, dtype=np.int16),
        late=np.zeros(shape, dtype=np.int16),
        corrected=np.zeros(shape, dtype=np.bool_),
        live=state,
        out_of_stock=np.zeros(shape, dtype=np.int8),
        stale_hours=np.zeros(shape, dtype=np.float32),
    )
    entries = [entry for enrolment in markets.values() for entry in enrolment.entries]
    found = difference_by_entry(experiment, entries, days, sold, 1, 0.95).relative
    assert found is not None
    low, high = interval(found)
    return Row(seed, triggers, len(entries), found.value, found.se, low, high, low <= effect <= high)


def _answer(
    experiment: Experiment,
    rivals: Rivals,
    markets: dict[str, Enrolment],
    number: int,
    today: date,
    column: Mapping[str, str],
) -> int:
    """Rivals move on a day, and each trigger is answered; returns how many there were."""
    count = 0
    for wave in rivals.move(number, period(today, TIME_ZONE).start + RIVALS_SEEN):
        events = {fired(experiment, column[price.unit], price).id: price for price in wave.prices}
        for name in sorted(wave.triggers):
            trigger = fired(experiment, column[events[name].unit], events[name])
            undecided = today + timedelta(days=1)
            before = markets[trigger.market]
            answer = admit(experiment, before, trigger, trigger.observed_at, undecided=undecided)
            markets[trigger.market] = answer.enrolment
            count += 1
    return count


def main() -> int:
    """Play all seeds; 1 where more miss than are allowed."""
    parser = argparse.ArgumentParser(description="Coverage of the triggered design on real sales.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("../shared/data/orange_juice"))
    parser.add_argument("--design", type=Path, default=Path("examples/designs/triggered.yaml"))
    parser.add_argument("--seeds", type=int, default=10, help="seeds 1 to so many")
    parser.add_argument("--weeks", type=int, default=40)
    parser.add_argument("--effect", type=float, default=-0.10)
    parser.add_argument("--most-misses", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="one JSON list instead of the table")
    options = parser.parse_args()
    definition, whole = read_experiment(options.design), read_history(options.folder).first(options.weeks)
    seeds = [str(k + 1) for k in range(options.seeds)]
    console = Console(stderr=True)
    rows = [play(definition, whole, options.effect, seed) for seed in track(seeds, "seeds", console=console)]
    missed = sum(not row.inside for row in rows)
    if options.json:
        print(json.dumps([asdict(row) for row in rows]))
    else:
        table = Table(title=f"triggered: {missed} of {len(rows)} intervals miss {options.effect:+.0%}")
        for name in ("seed", "triggers", "entries", "estimate", "standard error", "95 % interval"):
            table.add_column(name, justify="right")
        for row in rows:
            cells = (row.seed, f"{row.triggers:,}", f"{row.entries:,}", f"{row.estimate:+.2%}", f"{row.se:.2%}")
            table.add_row(*cells, f"[{row.ci_low:+.2%}, {row.ci_high:+.2%}]{'' if row.inside else ' missed'}")
        Console().print(table)
    return int(missed > options.most_misses)


if __name__ == "__main__":
    sys.exit(main())
