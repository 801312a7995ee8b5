"""Shops that sell rarely, in memory: how often does the interval hold the planted effect?

    python -m benchmarks.rare_sales_in_memory                # 1,000 runs of each design, rate and share of silence
    python -m benchmarks.rare_sales_in_memory --runs 100 --json out.json

The same shop as `benchmarks.rare_sales`, without Kafka and Redis: the production generator draws the arms, the rule of
silent feeds decides which days without a sale are zeros, and the analysis' front door makes the estimate.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np

from analysis.analyse import estimates
from analysis.case import METRICS, Case
from analysis.looks import plans_of
from analysis.running import Sums, advance, sequence_of
from analysis.study import State, Study, UnitDays, Unseen
from benchmarks.rare_sales import (
    BEFORE,
    COST,
    DAYS,
    DESIGNS,
    PRICE,
    PRODUCTS,
    RATES,
    START,
    STORES,
    ZONE,
    Run,
    shop_of,
)
from controller.designs import design_of
from controller.events import Estimate
from controller.experiment import Arm, Experiment, Market, PriceRule
from controller.roster import roster


def experiment_of(run: Run, seed: int) -> Experiment:
    """As it is registered: with its markets."""
    return Experiment.model_validate({
        "name": "way", "currency": "EUR", "clusters": "market", "design": DESIGNS[run.design], "start": START,
        "units": tuple(f"store-{s:02d}/p{p}" for s in range(STORES) for p in range(PRODUCTS)), "days": DAYS,
        "markets": tuple(Market(name=f"store-{s:02d}", time_zone=ZONE) for s in range(STORES)), "seed": f"{seed}",
        "arms": (Arm(name="control"), Arm(name="dear", price=PriceRule(percent=Decimal(10)))),
    })  # fmt: skip


def estimate_of(run: Run, seed: int, silent: float) -> Estimate:
    """The estimate of units sold on the last day."""
    rng = np.random.default_rng([seed, run.number, RATES.index(run.rate), list(DESIGNS).index(run.design)])
    experiment = experiment_of(run, seed * 1_000_003 + run.number)
    shop = shop_of([run], rng, silent)
    study = Study(roster(experiment), datetime(2026, 1, 1, tzinfo=UTC))
    design, sold = design_of(experiment), np.zeros(shop.mean.shape, dtype=np.int64)
    dear = np.zeros(shop.mean.shape, dtype=bool)
    for number in range(len(shop.mean)):
        if number >= BEFORE:
            block = design.block_on(experiment, START + timedelta(days=number - BEFORE))
            assert block is not None
            arms = design.arms(experiment, block)
            dear[number] = [arms[f"store-{store:02d}"] > 0 for store in shop.store]
        sold[number] = shop.sold(rng, number, dear[number])
    seen = observed_of(sold, shop.store)
    for number in range(len(sold)):
        study.write(START + timedelta(days=number - BEFORE), slice(0, len(study.units)),
                    _cells(sold[number], seen[number], dear[number], before=number < BEFORE))  # fmt: skip
    return _last_estimate(study)


def _cells(sold: np.ndarray, seen: np.ndarray, dear: np.ndarray, *, before: bool) -> dict[str, np.ndarray]:
    price = np.where(dear, round(PRICE * 1.1), PRICE)
    return {
        "state": np.full(len(sold), State.PRE_PERIOD, dtype=np.int8) if before else dear.astype(np.int8),
        "observed": seen,
        "unseen": np.where(seen, Unseen.OBSERVED, Unseen.FEED_SILENT).astype(np.int8),
        "quantity": sold,
        "revenue": sold * price,
        "cost": sold * COST,
        "events": sold,
        "late": np.zeros(len(sold), dtype=np.int16),
        "corrected": np.zeros(len(sold), dtype=bool),
        "live": np.full(len(sold), -1, dtype=np.int8),
        "out_of_stock": np.full(len(sold), -1, dtype=np.int8),
        "stale_hours": np.full(len(sold), np.nan, dtype=np.float32),
    }


def _last_estimate(study: Study) -> Estimate:
    experiment = study.roster.experiment
    days: UnitDays = study.unit_days(study.last_day)
    case = Case(
        study.roster, study.units, days, study.last_day, 0, (), np.zeros(0, dtype=np.float32), (), (), {}
    )  # fmt: skip
    plans, sums = plans_of(experiment), Sums()
    advance(sums, days, experiment, plans, None)
    sequences = {(metric, 1): sequence_of(case, metric, 1, sums[metric, 1], plans, {}) for metric in METRICS}
    return next(one for one in estimates(case, sequences) if one.metric == "units")


def observed_of(sold: np.ndarray, store: np.ndarray) -> np.ndarray:
    """(days, U) whether a cell counts: by the product's own rule of silent feeds, market by market and day by day."""
    raise NotImplementedError
