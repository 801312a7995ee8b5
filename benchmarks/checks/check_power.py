"""What can the checks of losses see, and how often do they alarm about nothing? By simulation, as the worker does it.

    python -m benchmarks.checks.check_power [--runs N] [--healthy-runs N] [--seed N] [--jobs N] [--json FILE]
    python -m benchmarks.checks.check_power --page            # benchmarks/results/check_power.json as docs/checks.md

20 clusters of 5, 30 and 100 units, 28 days after 28 of history, six designs. Sick experiments are looked at on the
planned day; healthy ones on each of their days, and an alarm on any of them counts.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from zlib import crc32

import numpy as np
from joblib import Parallel, delayed
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from analysis.checks import loss_checks
from analysis.checks.anytime import ArmSums, look_days
from analysis.checks.cell_scan import survey
from analysis.checks.expected_sales import expected
from analysis.checks.nuisances import Nuisance, Nuisances
from analysis.checks.verdict import Verdict
from analysis.panel_data.study import UnitDays
from benchmarks.checks.check_page import RESULTS, read, write_page, written
from benchmarks.checks.check_worlds import (
    DAYS,
    DESIGNS,
    Rng,
    by_chance,
    definition,
    delay,
    lose,
    lose_events,
    lose_pieces,
    sell_out,
    sound,
    store_outages,
)
from controller.definition.experiment import Experiment

CHECKS = {
    "sample-ratio": loss_checks.sample_ratio,
    "missingness": loss_checks.missingness,
    "surprising-zeros": loss_checks.surprising_zeros,
    "late-sales": loss_checks.late_sales,
    "corrected-unit-days": loss_checks.corrected,
    "pieces-per-sale": loss_checks.pieces_per_sale,
    "revenue-per-piece": loss_checks.revenue_per_piece,
    "stock-outs": loss_checks.stock_outs,
}
SIZES = (5, 30, 100)
LOSSES = (0.05, 0.1, 0.2, 0.5)
Harm = Callable[[Rng, UnitDays], None]


@dataclass(frozen=True, slots=True)
class Setting:
    """One kind of experiment."""

    name: str
    #: sales a unit-day
    sales: float
    harm: Harm
    healthy: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """What share of runs a check speaks up in (warns or fails), and fails in; the healthy ones on any day."""

    setting: str
    sales: float
    design: str
    units: int
    check: str
    speaks: float
    fails: float
    runs: int


def _nothing(rng: Rng, days: UnitDays) -> None:
    """No loss."""


def _independent(rng: Rng, days: UnitDays) -> None:
    lose(days, rng.random(days.state.shape) < 0.02)


def _clustered(rng: Rng, days: UnitDays) -> None:
    lose(days, store_outages(rng, days))


def _missing(rng: Rng, days: UnitDays, share: float) -> None:
    lose(days, by_chance(rng, days, share))


def _among_outages(rng: Rng, days: UnitDays, share: float) -> None:
    lose(days, by_chance(rng, days, share) | store_outages(rng, days))


def _zeros(rng: Rng, days: UnitDays, share: float) -> None:
    lose(days, by_chance(rng, days, share), as_zeros=True)


def settings() -> Iterator[Setting]:
    """All of them."""
    for sales in (2.0, 20.0):
        yield Setting("healthy", sales, _nothing, healthy=True)
        yield Setting("healthy, 2 % of cells missing", sales, _independent, healthy=True)
        yield Setting("healthy, stores out for 1 to 5 days", sales, _clustered, healthy=True)
    for loss in LOSSES:
        yield Setting(f"{100 * loss:.0f} % of cells missing", 20.0, partial(_missing, share=loss))
        yield Setting(f"{100 * loss:.0f} % of cells missing, stores out", 20.0, partial(_among_outages, share=loss))
        for sales in (2.0, 20.0):
            yield Setting(f"{100 * loss:.0f} % of cells turned into zeros", sales, partial(_zeros, share=loss))
    for sales in (2.0, 20.0):
        yield Setting("5 % of pieces lost", sales, partial(lose_pieces, share=0.05))
        yield Setting("5 % of sale events lost", sales, partial(lose_events, share=0.05))
        yield Setting("5 % of sales late, elsewhere 1 %", sales, partial(delay, share=0.05))
        yield Setting("10 % of cells sold out, elsewhere 2 %", sales, partial(sell_out, share=0.1))


def by_day(days: UnitDays, experiment: Experiment, every: bool) -> Iterator[dict[str, Verdict]]:
    """What each check says: on each day, or on the last one. All days are added up at once."""
    whole = survey(days, experiment)
    if not every:
        yield {name: check(experiment, whole).verdict for name, check in CHECKS.items()}
        return
    from analysis.panel_data.cluster_cells import chunks_of

    adding = Nuisances(range(1, DAYS + 1), [arm.price for arm in experiment.arms], expected(days))
    for chunk in chunks_of(days.cluster, DAYS):
        adding.add(days, chunk)
    daily = adding.done()
    for day in range(1, DAYS + 1):
        looks = look_days(day, DAYS)
        rows = np.array([*looks, day]) - 1
        then = replace(
            whole,
            under=whole.under[:, :day],
            observed=whole.observed[:, :day],
            nuisances={name: Nuisance(_rows(one.sums, rows), one.known) for name, one in daily.items()},
            looks=len(looks),
        )
        names = CHECKS if day in looks else ("sample-ratio",)
        yield {name: CHECKS[name](experiment, then).verdict for name in names}


def _rows(sums: ArmSums, rows: np.ndarray) -> ArmSums:
    return ArmSums(sums.total[rows], sums.product[rows], sums.clusters[rows], sums.either[rows], sums.share)


def one_run(seed: list[int], setting: Setting, design: str, products: int) -> dict[str, tuple[bool, bool]]:
    """For each check, whether it spoke up and whether it failed."""
    rng = np.random.default_rng(seed)
    days = sound(rng, design, products, setting.sales)
    setting.harm(rng, days)
    spoke, failed = set(), set()
    for said in by_day(days, definition_of(products), setting.healthy):
        spoke |= {name for name, verdict in said.items() if verdict in ("warn", "fail")}
        failed |= {name for name, verdict in said.items() if verdict == "fail"}
    found = {name: (name in spoke, name in failed) for name in CHECKS}
    return found | {"any": (bool(spoke), bool(failed))}


_DEFINITIONS: dict[int, Experiment] = {}


def definition_of(products: int) -> Experiment:
    """Made once."""
    if products not in _DEFINITIONS:
        _DEFINITIONS[products] = definition(products)
    return _DEFINITIONS[products]


def rows_of(setting: Setting, design: str, products: int, runs: int, seed: int) -> list[Row]:
    """All checks of one kind of experiment."""
    key = crc32(f"{setting.name}/{setting.sales}/{design}/{products}".encode())
    found = [one_run([seed, key, run], setting, design, products) for run in range(runs)]
    rows = []
    for name in (*CHECKS, "any"):
        spoke, failed = (float(np.mean([run[name][k] for run in found])) for k in (0, 1))
        rows.append(Row(setting.name, setting.sales, design, products, name, spoke, failed, runs))
    return rows


def stock_bias(rng: Rng, runs: int, sales: float = 20.0, products: int = 30) -> dict[str, float]:
    """What both policies make of a tenth of treated cells that sell out, random days: means of relative effects."""
    found: dict[str, list[float]] = {"full": [], "zero": [], "missing": []}
    for _ in range(runs):
        days = sound(rng, "random days", products, sales)
        found["full"].append(_relative(days, np.ones(days.state.shape, dtype=np.bool_)))
        sell_out(rng, days, 0.1)
        found["zero"].append(_relative(days, np.ones(days.state.shape, dtype=np.bool_)))
        found["missing"].append(_relative(days, days.out_of_stock != 1))
    return {name: float(np.mean(values)) for name, values in found.items()} | {
        f"{name}_error": float(np.std(values, ddof=1) / len(values) ** 0.5) for name, values in found.items()
    }


def _relative(days: UnitDays, kept: np.ndarray) -> float:
    treated, control = (days.quantity[(days.state == arm) & kept].mean() for arm in (1, 0))
    return float(treated / control - 1.0)


def measure(seed: int, runs: int, healthy_runs: int, jobs: int, console: Console) -> dict[str, object]:
    """Everything."""
    began = time.perf_counter()
    cases = [(one, design, size) for size in SIZES for one in settings() for design in DESIGNS]
    rows: list[Row] = []
    work = Parallel(n_jobs=jobs, return_as="generator")
    with Progress(console=console) as progress:
        task = progress.add_task("experiments", total=len(cases))
        for found in work(
            delayed(rows_of)(one, design, size, healthy_runs if one.healthy else runs, seed)
            for one, design, size in cases
        ):
            rows += found
            progress.advance(task)
    bias = stock_bias(np.random.default_rng([seed, 1]), runs)
    return {
        "command": f"python -m benchmarks.checks.check_power --runs {runs} --healthy-runs {healthy_runs} --seed {seed}",
        "seconds": round(time.perf_counter() - began),
        "rows": [asdict(row) for row in rows],
        "sold_out": bias,
    }


def table_of(measured: dict[str, object]) -> Table:
    """The worst design of each setting and size."""
    table = Table("setting", "sales", "units", "check", "speaks at least", "at most", "fails at most")
    rows = [Row(**row) for row in measured["rows"]]  # type: ignore[attr-defined]
    for name, sales, units, check in dict.fromkeys((r.setting, r.sales, r.units, r.check) for r in rows):
        of = [r for r in rows if (r.setting, r.sales, r.units, r.check) == (name, sales, units, check)]
        if max(r.speaks for r in of) > 0.0:
            low, high, fails = min(r.speaks for r in of), max(r.speaks for r in of), max(r.fails for r in of)
            table.add_row(name, f"{sales:g}", f"20 x {units}", check, f"{low:.1%}", f"{high:.1%}", f"{fails:.1%}")
    return table


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--healthy-runs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--page", action="store_true", help="write docs/checks.md from the committed results")
    options = parser.parse_args()
    if options.page:
        write_page(read(RESULTS))
        return
    console = Console(stderr=True)
    measured = measure(options.seed, options.runs, options.healthy_runs, options.jobs, console)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(written(measured))
    Console().print(table_of(measured))


if __name__ == "__main__":
    main()
