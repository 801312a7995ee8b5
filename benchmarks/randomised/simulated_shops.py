"""Shops whose truth is known, for `benchmarks.randomised.coverage`: potential outcomes, arms of the production
generator, a case.

Outcomes of a unit and day: level of the cluster and of the unit, a trend of each cluster's own, weekdays, days that are
good for all, and noise of the cluster that remembers, with noise of the unit. All effects are shares of what the unit
would have sold that day under control.
"""

import json
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from analysis.panel_data.analysis_context import Case
from analysis.panel_data.study import Metric, State, Study, UnitDays, Unseen
from controller.decisions.roster import roster
from controller.definition.experiment import Experiment
from controller.definition.parameters import Triggered
from controller.designs import design_of
from controller.designs.entries import Entry
from controller.designs.triggered import entry_washout
from controller.randomisation.hash_scores import coin
from controller.time.periods import period

START, ZONE = date(2026, 3, 30), "Europe/Vienna"
BEFORE, DAYS = 28, 28
#: outcomes are kept as whole numbers: so many of them are one unit of the simulation
SCALE = 1000.0
WEEKDAYS = np.array([0.9, 0.85, 0.9, 1.0, 1.25, 1.35, 0.75])
ENTRY_DAYS = 7
DESIGNS: dict[str, dict[str, Any]] = {
    "random days": {"kind": "random_days"},
    "crossover": {"kind": "crossover", "washout_days": 1},
    "time-bound": {"kind": "time_bound", "washout_days": 1},
    "triggered": {
        "kind": "triggered", "rule": {"kind": "undercut"}, "per": "cluster", "treatment_days": ENTRY_DAYS,
        "washout_days": 1,
    },
    "staggered": {
        "kind": "staggered_rollout", "washout_days": 1,
        "steps": ({"day": 8, "share": "1/3"}, {"day": 18, "share": "2/3"}),
    },
    "blocked": {"kind": "blocked_switchback", "block_days": 4, "burn_in_days": 1},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class World:
    """What makes a shop hard."""

    #: standard deviations of logarithms: levels of clusters, noise of clusters
    levels: float = 0.5
    noise: float = 0.25
    #: noise is Student's t of 3 instead of normal
    tails: bool = False
    #: one cluster has 40 % of all sales
    giant: bool = False
    #: standard deviation of the clusters' own effects
    own: float = 0.0
    #: what is left of revenue, as a share, where margin is the outcome; it differs by cluster and day by MARGIN_NOISE
    margin: float | None = None


WORLDS = {
    "base": World(),
    "heavy": World(levels=0.8, noise=0.5, tails=True),
    "giant": World(giant=True),
    "heterogeneous": World(own=0.15),
    "all three": World(levels=0.8, noise=0.5, tails=True, giant=True, own=0.15),
    "margin of 3 %": World(margin=0.03),
    "margin of 10 %": World(margin=0.1),
}
#: standard deviations of the share that is left of revenue: between clusters, and between days of a cluster
MARGIN_NOISE = 0.03, 0.05
UNITS_A_CLUSTER = 3


@dataclass(frozen=True, slots=True)
class Shop:
    """An experiment that is over, and what every unit would have come to under either arm."""

    case: Case
    #: (T, U) the outcome under control, and under the arm
    control: np.ndarray
    treated: np.ndarray
    #: what the outcome is
    metric: Metric = "units"


def experiment_of(design: str, clusters: int, sizes: np.ndarray, seed: str) -> Experiment:
    """As it is registered; a market is a cluster."""
    names = [f"s{number:02d}" for number in range(clusters)]
    return Experiment.model_validate_json(
        json.dumps({
            "name": "calibration", "currency": "EUR", "clusters": "market", "design": DESIGNS[design],
            "units": [f"{name}/p{k:03d}" for name, size in zip(names, sizes, strict=True) for k in range(size)],
            "start": str(START), "days": DAYS, "markets": [{"name": name, "time_zone": ZONE} for name in names],
            "arms": [{"name": "control"}, {"name": "dear", "price": {"percent": "10"}}], "seed": seed,
        })
    )  # fmt: skip


def sizes_of(world: World, clusters: int) -> np.ndarray:
    """(G,) units: a giant has as many as bring it to 40 % of all."""
    sizes = np.full(clusters, UNITS_A_CLUSTER)
    if world.giant:
        sizes[0] = round(UNITS_A_CLUSTER * (clusters - 1) * 0.4 / 0.6)
    return sizes


def outcomes_of(world: World, cluster: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(T, U) what units sell under control."""
    clusters, days = int(cluster.max()) + 1, BEFORE + DAYS
    drawn = rng.standard_t(3, (days, clusters)) / 3**0.5 if world.tails else rng.normal(0, 1, (days, clusters))
    noise = _remembered(drawn)
    trend = rng.normal(0.0, 0.1, clusters) * (np.arange(days)[:, None] / days)
    logs = rng.normal(0, world.levels, clusters) * (not world.giant) + trend + world.noise * np.clip(noise, -8, 4)
    shock = rng.normal(0, 0.1, (days, 1)) + np.log(WEEKDAYS[np.arange(days) % 7])[:, None]
    unit = rng.normal(0, 0.3, len(cluster)) + rng.normal(0, 0.2, (days, len(cluster)))
    sales: np.ndarray = SCALE * np.exp(3.0 + logs[:, cluster] + shock + unit)
    return sales


def _remembered(drawn: np.ndarray) -> np.ndarray:
    """(T, G) noise of the same spread that keeps .6 of itself from one day to the next."""
    noise = np.zeros_like(drawn)
    for day in range(len(drawn)):
        noise[day] = drawn[day] * (1 - 0.6**2) ** 0.5 + (0.6 * noise[day - 1] if day else 0.0)
    return noise


def margins_of(margin: float, cluster: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(T, U) what is left of revenue, as a share: the same for all units of a cluster."""
    clusters = int(cluster.max()) + 1
    level, daily = MARGIN_NOISE
    noise = _remembered(rng.normal(0, daily, (BEFORE + DAYS, clusters)))
    return np.asarray((margin + rng.normal(0, level, clusters) + noise)[:, cluster])


def shop_of(design: str, world: World, clusters: int, effect: float, rng: np.random.Generator) -> Shop:
    """One experiment from beginning to end."""
    sizes = sizes_of(world, clusters)
    experiment = experiment_of(design, clusters, sizes, f"s{rng.integers(2**40)}")
    cluster = np.repeat(np.arange(clusters), sizes)
    control = outcomes_of(world, cluster, rng)
    own = np.clip(effect + world.own * rng.normal(0, 1, clusters), -0.9, 2.0)[cluster]
    treated = control * (1.0 + own)
    entries = _entries(experiment, clusters, rng) if isinstance(experiment.design, Triggered) else ()
    arm = _arms(experiment, entries)[:, cluster]
    sold = np.rint(np.where(arm > 0, treated, control)).astype(np.int64)
    study = Study(roster(experiment), datetime(2026, 1, 1, tzinfo=UTC))
    days = replace(_unit_days(study, sold, arm), first_day=START - timedelta(days=BEFORE))
    metric: Metric = "units"
    if world.margin is not None:
        left = margins_of(world.margin, cluster, rng)
        days = replace(days, cost=np.rint(sold * (1.0 - left)).astype(np.int64))
        control, treated, metric = control * left, treated * left, "margin"
    case = Case(study.roster, study.units, days, study.last_day, 0, (), np.zeros(0, np.float32), entries, (), {})
    return Shop(case, control, treated, metric)


def _arms(experiment: Experiment, entries: tuple[Entry, ...]) -> np.ndarray:
    """(T, G) the arm that was shown; control before the start."""
    design, names = design_of(experiment), experiment.cluster_names()
    found = np.zeros((BEFORE + DAYS, len(names)), dtype=np.int8)
    for number in range(DAYS):
        day = START + timedelta(days=number)
        if entries:
            for entry in entries:
                if entry.first_day <= day < entry.end_day:
                    found[BEFORE + number, names.index(entry.cluster)] = entry.arm
            continue
        block = design.block_on(experiment, day)
        if block is not None:
            arms = design.arms(experiment, block)
            found[BEFORE + number] = [arms[name] for name in names]
    return found


def _entries(experiment: Experiment, clusters: int, rng: np.random.Generator) -> tuple[Entry, ...]:
    """Each cluster enters twice, a fortnight apart: its arm is the production coin's."""
    found = []
    for number, name in enumerate(experiment.cluster_names()):
        for ordinal, begin in enumerate((int(rng.integers(0, 7)), int(rng.integers(14, 21)))):
            first = START + timedelta(days=begin)
            at = period(first, ZONE).start
            arm = coin(experiment.seed, experiment.name, name, ordinal, experiment.shares())
            trigger = f"t/{number}/{ordinal}"
            end = first + timedelta(days=ENTRY_DAYS)
            found.append(Entry(name, name, ordinal, arm, trigger, at, at, first, end))
    return tuple(found)


def _unit_days(study: Study, sold: np.ndarray, arm: np.ndarray) -> UnitDays:
    """Every cell observed; the first rows lie before the start."""
    state = arm.astype(np.int8)
    state[:BEFORE] = State.PRE_PERIOD
    shape, assigned = sold.shape, state.copy()
    washed = study._method.washout(study.roster.experiment, state[BEFORE:].astype(np.int64))
    during = state[BEFORE:]
    np.copyto(during, np.int8(State.WASHOUT), where=washed & (during >= 0))
    return UnitDays(
        first_day=START, before=BEFORE, cluster=study.cluster, state=state, assigned=assigned,
        observed=np.ones(shape, dtype=bool), unseen=np.full(shape, Unseen.OBSERVED, dtype=np.int8), quantity=sold,
        revenue=sold, cost=np.zeros(shape, dtype=np.int64), events=np.ones(shape, dtype=np.int16),
        late=np.zeros(shape, dtype=np.int16), corrected=np.zeros(shape, dtype=bool),
        live=np.full(shape, -1, dtype=np.int8), out_of_stock=np.full(shape, -1, dtype=np.int8),
        stale_hours=np.full(shape, np.nan, dtype=np.float32),
    )  # fmt: skip


def clean_days(shop: Shop) -> np.ndarray:
    """(T, G) the cluster-days that the estimand is about, each counted as often as the estimand has it."""
    case, days = shop.case, shop.case.days
    experiment, clusters = case.roster.experiment, int(days.cluster.max()) + 1
    found = np.zeros((len(days.state), clusters))
    if isinstance(experiment.design, Triggered):
        names = experiment.cluster_names()
        for entry in case.entries:
            clean = [
                (entry.first_day - days.first_day).days + k
                for k in range(ENTRY_DAYS)
                if not entry_washout(experiment, entry, entry.first_day + timedelta(days=k))
            ]
            found[clean, names.index(entry.cluster)] += 1.0 / len(clean)
        return found
    starts = np.flatnonzero(np.r_[True, np.diff(days.cluster) > 0])
    counts = np.maximum.reduceat(days.state >= 0, starts, axis=1)
    arms = np.maximum.reduceat(days.state, starts, axis=1)
    both = (counts & (arms == 0)).sum(axis=1) >= 2
    both &= (counts & (arms == 1)).sum(axis=1) >= 2
    # A day counts for all clusters as often as clusters have a cell on it.
    found[both] = counts[both].sum(axis=1, keepdims=True)
    return found
