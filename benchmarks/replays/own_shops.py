"""One's own sales rehearsed: coverage, false alarms, guardrails, what `power` predicted; shops of 3, 8, 40.

    python -m benchmarks.replays.own_shops                      # 20 seeds, an hour
    python -m benchmarks.replays.own_shops --json benchmarks/results/own_shops.json
    python -m benchmarks.replays.own_shops --stores 40 --designs "random days" --add rows.log --json out.json # in parts

A generator that the product does not contain writes receipts (semicolons, decimal commas, German dates); the product's
reader sums them, and each seed's experiment goes through the whole way in memory (benchmarks.randomised.whole_way):
the decisions, the store's twin, the folds and the analysis of the product. A guardrail acts where a worker would: at
the first look of the published running sequence that leaves what is tolerated.

All seeds of a shop play the same 84 days, and a seed draws the same arms whatever the effect. Twenty of them tell a
coverage of 95 % to 4.9 points and a scatter to 16 %; therefore each row also has ``in_arrays``: as many draws as
``--draws`` of the production generator on the same days, estimated by the production estimator without the way there.
Crossovers of 8 stores have 70 draws in all.
"""

import argparse
import asyncio
import json
import math
import os
import platform
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from analysis.planning.advice import Question
from analysis.planning.advise import advise
from analysis.planning.candidates import Constraints
from analysis.planning.rehearsal import History as Periods
from analysis.planning.rehearsal import Truth
from analysis.planning.rehearsal import rehearse as drawn
from benchmarks.randomised.whole_way import sent_through
from controller.decisions.guardrails import first_breach
from controller.definition.experiment import Experiment
from controller.definition.field_types import milliseconds
from controller.messages.codec import Record
from controller.messages.events import Estimate
from controller.messages.findings import RunningSequence
from controller.messages.inputs import Sale
from controller.time.periods import Period
from controller.validation.cluster_minima import needed
from flipside.commands.power import RUNS
from flipside.replay.definition_as_it_stands import AsItStands, as_it_stands
from flipside.sales_history.columns import SalesColumns
from flipside.sales_history.own_sales import OwnSales, for_rehearsal, read_own
from flipside.simulated_shop.shop import pieces, plain
from flipside_client.fold import Fold

STORES, PRODUCTS, EFFECTS = (3, 8, 40), 6, (0.0, -0.05, -0.40)
HISTORY_DAYS, DAYS = 140, 28
FIRST = date(2026, 1, 5)
#: as `advise` and `power` rehearse them where nothing carries over
DESIGNS: dict[str, dict[str, Any]] = {
    "random days": {"kind": "random_days"},
    "blocks of 4": {"kind": "blocked_switchback", "block_days": 4},
    "crossover": {"kind": "crossover", "washout_days": 0},
}
NAMES = SalesColumns(store="Filiale", product="Artikel", time="Datum", quantity="Menge", price="Preis")


def write_receipts(path: Path, stores: int, rng: np.random.Generator) -> None:
    """A row a receipt: stores of their own size, weekdays, days that are good for all, sticky stores."""
    level = rng.lognormal(2.2, 0.35, stores)[:, None] * rng.lognormal(0.0, 0.4, PRODUCTS)[None, :]
    good = rng.lognormal(0.0, 0.1, HISTORY_DAYS) * np.resize([0.9, 0.85, 0.9, 1.0, 1.25, 1.35, 0.75], HISTORY_DAYS)
    sticky = np.zeros(stores)
    with path.open("w", encoding="utf-8") as file:
        file.write("Datum;Filiale;Artikel;Menge;Preis\n")
        for day in range(HISTORY_DAYS):
            sticky = 0.6 * sticky + rng.normal(0.0, 0.09, stores)
            receipts = rng.poisson(level * np.exp(sticky)[:, None] * good[day] / 1.4)
            written = f"{FIRST + timedelta(days=day):%d.%m.%Y}"
            for store, product in np.ndindex(stores, PRODUCTS):
                for quantity in 1 + rng.poisson(0.4, receipts[store, product]):
                    file.write(f"{written};F{store:02d};A{product};{quantity};{2 + product},49\n")


def definition(stores: int, design: str, seed: str, own: OwnSales) -> Experiment:
    """Random halves of the stores, 5 % dearer; a guardrail that puts up with an eighth of a store's mean day."""
    mean = float(np.nanmean(own.periods.quantity))
    guardrails = [] if design == "crossover" else [{"metric": "units", "tolerance": mean / 8, "expected_blocks": 14}]
    return Experiment.model_validate_json(
        json.dumps({
            "name": "own", "currency": "EUR", "units": own.periods.units, "clusters": "market",
            "arms": [{"name": "control"}, {"name": "higher", "price": {"percent": "5"}}], "design": DESIGNS[design],
            "start": str(FIRST + timedelta(days=HISTORY_DAYS)), "days": DAYS, "seed": seed, "guardrails": guardrails,
        })
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Run:
    """What one rehearsal came to, relative to control."""

    value: float
    se: float
    covered: bool
    #: whether any always-valid interval left out the planted effect; None without a running sequence
    missed: bool | None
    #: blocks until the guardrail acted; None where it did not
    reverted_after: int | None


def rehearse(own: OwnSales, stores: int, design: str, effect: float, seed: int) -> Run:
    """One seed through the whole way in memory."""
    played = as_it_stands(definition(stores, design, f"own-{seed}", own), own, own.catalog)
    catalog = {entry.unit: entry for entry in played.history.catalog}
    findings = asyncio.run(
        sent_through(
            played.experiment, catalog, partial(_sold, played, effect, seed), played.before, len(played.history.periods)
        )
    )
    estimates = [m for m in findings if isinstance(m, Estimate) and m.metric == "units"]
    last = max(estimates, key=lambda estimate: estimate.through or FIRST)
    assert last.relative is not None, last.reason_absent
    low, high = last.relative.ci_low, last.relative.ci_high
    (sequence,) = [m for m in findings if isinstance(m, RunningSequence) and m.metric == "units"]
    return Run(
        last.relative.value,
        last.relative.se,
        (low is None or low <= effect) and (high is None or effect <= high),
        missed(sequence, effect),
        acted(played.experiment, sequence),
    )


def missed(sequence: RunningSequence, effect: float) -> bool | None:
    """Whether any look's always-valid interval left out the truth, in units: a share of what control sold there."""
    if not sequence.looks:
        return None
    found = [
        (look.relative_low is not None and look.relative_low > effect)
        or (look.relative_high is not None and look.relative_high < effect)
        for look in sequence.looks
    ]
    return any(found)


def acted(experiment: Experiment, sequence: RunningSequence) -> int | None:
    """Closed blocks after which the guardrail reverts."""
    for guardrail in experiment.guardrails:
        verdict = first_breach(guardrail, sequence, len(experiment.arms) - 1)
        if verdict is not None:
            return verdict.blocks
    return None


def _sold(played: AsItStands, effect: float, seed: int, pricing: Fold, number: int, local: Period) -> Iterator[Record]:
    middle = local.start + (local.end - local.start) / 2
    for row in played.history.periods[number]:
        treated = pricing.price(row.unit, milliseconds(middle)).arm == "higher"
        quantity = pieces(row.packs, 1.0 + effect * treated, str(seed), row.unit, number)
        if quantity:
            sale = Sale(
                id=f"sale/{number}/{row.unit}", unit=row.unit, occurred_at=middle, quantity=quantity,
                price_minor=row.price_minor, currency=played.history.currency,
            )  # fmt: skip
            yield plain(sale)


def predicted(own: OwnSales, design: str, effect: float) -> float | None:
    """What `power --history --effect` prints; None where it has none, with 3 clusters in one draw."""
    question = Question(
        Constraints(DAYS, kinds=(DESIGNS[design]["kind"],)), Truth(effect or -0.001), RUNS, seed="power"
    )
    (found,) = [one for one in advise(for_rehearsal(own, "units", "market"), question).designs if one.name == design]
    return found.se


def in_arrays(own: OwnSales, stores: int, design: str, effect: float, draws: int) -> dict[str, Any]:
    """Many draws on the days that the rehearsals play, estimated from arrays, with Monte-Carlo errors."""
    played = as_it_stands(definition(stores, design, "any", own), own, own.catalog)
    number = {unit: k for k, unit in enumerate(played.resolved.units)}
    sold = np.zeros((len(played.history.periods), len(number)))
    for day, rows in enumerate(played.history.periods):
        for row in rows:
            sold[day, number[row.unit]] = row.packs
    labels = tuple(str(day) for day in range(len(sold)))
    history = Periods(tuple(number), sold, labels, 1, "market", "units", played.history.currency)
    found = [
        drawn(
            history,
            played.resolved.model_copy(update={"seed": f"own-{seed}"}),
            played.before,
            played.before,
            Truth(effect),
        ).planted
        for seed in range(1, draws + 1)
    ]
    values, squares = np.array([one.value for one in found]), np.array([one.se**2 for one in found])
    covered = [
        (one.ci_low is None or one.ci_low <= effect) and (one.ci_high is None or effect <= one.ci_high) for one in found
    ]
    share = float(np.mean(covered))
    return {
        "draws": draws,
        "coverage": share,
        "coverage_error": math.sqrt(share * (1.0 - share) / draws),
        "published_se": float(np.sqrt(squares.mean())),
        "scatter": float(values.std(ddof=1)),
        "scatter_error": float(values.std(ddof=1)) / math.sqrt(2 * (draws - 1)),
    }


def receipts_of(stores: int) -> OwnSales:
    """The shop, written and read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "receipts.csv"
        write_receipts(path, stores, np.random.default_rng(stores))
        return read_own(path, columns=NAMES, unnamed="EUR")


def measured(
    stores: int, designs: Sequence[str], effects: Sequence[float], seeds: int, jobs: int
) -> list[dict[str, Any]]:
    """One shop: every design and effect."""
    own = receipts_of(stores)
    rows = []
    for design in designs:
        for effect in effects:
            before = predicted(own, design, effect)
            if before is None:
                rows.append({"stores": stores, "design": design, "effect": effect, "runs": 0})
                print(json.dumps(rows[-1]), flush=True)
                continue
            runs = joblib.Parallel(n_jobs=jobs)(
                joblib.delayed(rehearse)(own, stores, design, effect, seed) for seed in range(1, seeds + 1)
            )
            errors = [run.se for run in runs]
            looked = [run.missed for run in runs if run.missed is not None]
            ended = [run.reverted_after for run in runs if run.reverted_after is not None]
            rows.append(
                {
                    "stores": stores,
                    "design": design,
                    "effect": effect,
                    "runs": seeds,
                    "covered": sum(run.covered for run in runs),
                    "always_valid_runs": len(looked),
                    "always_valid_missed": sum(looked),
                    "guarded": DESIGNS[design]["kind"] != "crossover" and stores >= needed("guardrail"),
                    "reverted": len(ended),
                    "blocks_until_reverted": sorted(ended)[len(ended) // 2] if ended else None,
                    "predicted_se": before,
                    "published_se": math.sqrt(sum(se**2 for se in errors) / len(errors)),
                    "scatter": float(np.std([run.value for run in runs], ddof=1)),
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    return rows


def beside(row: dict[str, Any], own: OwnSales, draws: int) -> dict[str, Any]:
    """A row with many draws in arrays, and what `power` predicted over what was published and how estimates scatter."""
    many = in_arrays(own, row["stores"], row["design"], row["effect"], draws)
    return {
        **row,
        "in_arrays": many,
        "predicted_over_published": row["predicted_se"] / row["published_se"],
        "predicted_over_scatter": row["predicted_se"] / row["scatter"],
        "predicted_over_scatter_in_arrays": row["predicted_se"] / many["scatter"],
    }


def span(rows: Sequence[dict[str, Any]], key: str) -> list[float] | None:
    """Least and greatest; None where no row was asked for."""
    return [min(row[key] for row in rows), max(row[key] for row in rows)] if rows else None


def main() -> None:
    """Shops in turn, then the totals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--stores", type=int, nargs="*", default=list(STORES))
    parser.add_argument("--designs", nargs="+", default=list(DESIGNS), choices=list(DESIGNS))
    parser.add_argument("--effects", type=float, nargs="*", default=list(EFFECTS))
    parser.add_argument("--add", type=Path, default=None, help="rows of a log (a row a line) that are not run again")
    parser.add_argument("--draws", type=int, default=100, help="draws of each row in arrays")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    rows = [] if arguments.add is None else [json.loads(line) for line in arguments.add.read_text().splitlines()]
    for stores in arguments.stores:
        rows += measured(stores, arguments.designs, arguments.effects, arguments.seeds, arguments.jobs)
    absent, rows = [row for row in rows if not row["runs"]], [row for row in rows if row["runs"]]
    shops = {stores: receipts_of(stores) for stores in {row["stores"] for row in rows}}
    rows = [beside(row, shops[row["stores"]], arguments.draws) for row in rows]
    mild = [row for row in rows if row["effect"] != EFFECTS[-1]]
    looked = sum(row["always_valid_runs"] for row in rows)
    guarded = [row for row in rows if row["guarded"] and row["effect"] == EFFECTS[-1]]
    report = {
        "benchmark": "own_shops",
        "days": DAYS,
        "coverage": sum(row["covered"] for row in rows) / sum(row["runs"] for row in rows),
        "always_valid_misses": sum(row["always_valid_missed"] for row in rows) / looked if looked else None,
        "reverted_where_it_can": sum(row["reverted"] for row in guarded) / max(sum(r["runs"] for r in guarded), 1),
        "coverage_in_arrays": float(np.mean([row["in_arrays"]["coverage"] for row in rows])),
        "least_coverage_in_arrays": min(row["in_arrays"]["coverage"] for row in rows),
        "predicted_over_published": span(rows, "predicted_over_published"),
        "predicted_over_scatter_in_arrays": span(mild, "predicted_over_scatter_in_arrays"),
        "predicted_over_scatter_in_arrays_at_-40_%": span(
            [row for row in rows if row not in mild], "predicted_over_scatter_in_arrays"
        ),
        "rows": rows,
        "not_estimable": absent,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    print(json.dumps({key: value for key, value in report.items() if key != "rows"}))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
