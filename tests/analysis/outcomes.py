"""Outcomes of experiments as tables: through the production fold, and made up at any size."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa

from analysis.export.schemas import TABLES, Tables
from analysis.export.tables import tables_of
from analysis.panel_data.ledger import Ledger
from analysis.panel_data.study import Metric
from analysis.worker.analyse import due
from controller.definition.experiment import Experiment
from controller.definition.field_types import Message
from controller.messages.events import Assignment, Estimate
from controller.messages.findings import Health, HealthVerdict, Look, RunningSequence
from tests.analysis.traffic import experiment, history, registered

AT = datetime(2026, 6, 1, tzinfo=UTC)
TRUTH = -0.1
#: check, value, threshold, verdict
CHECKS: tuple[tuple[str, float | None, float, HealthVerdict], ...] = (
    ("carryover", 0.43, 0.05, "pass"),
    ("non-anticipation", 0.06, 0.05, "pass"),
    ("sample-ratio", 0.002, 0.05, "pass"),
    ("fidelity", 0.985, 0.99, "fail"),
    ("reporting", 0.97, 0.95, "pass"),
    ("activation-lag", 12.0, 60.0, "pass"),
    ("weekday-balance", 0.07, 0.05, "warn"),
    ("treated-share", 0.0, 0.05, "pass"),
    ("pre-period-balance", 0.11, 0.25, "pass"),
    ("missingness", 0.001, 0.02, "pass"),
    ("stock-outs", None, 0.02, "unknown"),
)


def messages_of(definition: Experiment, *, upto: int | None = None) -> list[Message]:
    """What the topics hold of an experiment, its estimates, sequences and checks among it."""
    said = history(definition, TRUTH)
    said = [bent(definition, message) for message in said]
    ledger = Ledger()
    for message in said:
        ledger.fold(message)
    looks = definition.days if upto is None else upto
    estimates = [finding for finding in due(ledger, {}) if isinstance(finding, Estimate)]
    return [*said, *estimates, *sequences(definition, looks), *checks(definition)]


def bent(definition: Experiment, message: Message) -> Message:
    """The third cluster has a blackout in the middle."""
    if not isinstance(message, Assignment) or message.cluster != definition.cluster_names()[2]:
        return message
    if (message.day - definition.start).days not in (definition.days // 2, definition.days // 2 + 1):
        return message
    return message.model_copy(update={"reason": message.reason.model_copy(update={"code": "blackout"})})


def outcome(markets: int = 12, products: int = 3, days: int = 14, **more: object) -> Tables:
    """The tables of a small experiment, its estimates computed from its sales."""
    return tables_of(messages_of(experiment(markets, products, days), **more), TRUTH)  # type: ignore[arg-type]


def sequences(definition: Experiment, looks: int, metrics: Sequence[Metric] = ("units", "revenue")) -> list[Message]:
    """Running sequences with the shape of real ones; the margin has a reason instead."""
    rng = np.random.default_rng(5)
    found: list[Message] = []
    named: tuple[Metric, ...] = (*metrics, "margin")
    for metric in named:
        mean = {"units": 60.0, "revenue": 18_000.0}.get(metric)
        absent = "at most 2 clusters in an arm: an always-valid interval needs 3 clusters in each arm"
        steps = [] if mean is None else _looks(definition.start, looks, mean, rng)
        found.append(
            RunningSequence(
                experiment=definition.name,
                experiment_version=definition.version,
                design_hash="0" * 64,
                metric=metric,
                arm=definition.arms[1].name,
                method="block_sequence",
                alpha=0.05,
                looks=tuple(steps),
                reason_absent=None if steps else absent,
                planned_day=definition.start + timedelta(definition.days - 1),
                planned_looks=definition.days,
                planned_variance=1.0,
                mixing=1.0,
                decided=None,
                decided_on=None,
                blocks_left_out={},
                left_out={},
                cells=10,
                settings={},
                through=definition.start + timedelta(looks - 1),
                watermark=AT,
                offsets={"0": 7},
                revision=0,
                computed_at_event_time=AT,
                code_version="flipside test",
            )
        )
    return found


def _looks(start: date, looks: int, mean: float, rng: np.random.Generator) -> list[Look]:
    differences = rng.normal(TRUTH * mean, 0.06 * mean, looks)
    steps = []
    for k in range(looks):
        n, s = k + 1, 0.06 * mean
        effect = float(differences[:n].mean())
        spread = n * s**2 + looks * s**2 / 8.21
        radius = float(np.sqrt(spread * np.log(spread / (looks * s**2 / 8.21 * 0.0025))) / n)
        fixed = 1.96 * s / n**0.5
        day = start + timedelta(k)
        steps.append(
            Look(
                block=k,
                first_day=day,
                last_day=day,
                difference=float(differences[k]),
                difference_se=s,
                clusters_treated=6,
                clusters_control=6,
                effect=effect,
                ci_low=effect - radius,
                ci_high=effect + radius,
                p=0.5,
                fixed_low=effect - fixed,
                fixed_high=effect + fixed,
                control_mean=mean,
            )
        )
    return steps


def checks(definition: Experiment) -> list[Message]:
    """One of every verdict, and more."""
    return [
        Health(
            experiment=definition.name,
            experiment_version=definition.version,
            design_hash="0" * 64,
            check=name,
            value=value,
            threshold=line,
            verdict=verdict,
            what_to_do="Look at the log.",
            evidence=f"the figures behind {name}",
            cells=10,
            left_out={},
            settings={},
            through=definition.start + timedelta(definition.days - 1),
            watermark=AT,
            offsets={"0": 7},
            revision=0,
            computed_at_event_time=AT,
            code_version="flipside test",
        )
        for name, value, line, verdict in CHECKS
    ]


def large(stores: int = 83, brands: int = 11, days: int = 121, seed: int = 1) -> Tables:
    """Tables of the size of the orange juice replay, arms by coin; estimates and sequences with the usual shape."""
    definition = experiment(stores, brands, days, name="large")
    rng = np.random.default_rng(seed)
    day, store, brand = (a.ravel() for a in np.meshgrid(*map(np.arange, (days, stores, brands)), indexing="ij"))
    treated = rng.integers(0, 2, (days, stores))[day, store]
    units = np.array([f"m{s:02d}/p{b}" for s in range(stores) for b in range(brands)])
    markets = np.array([f"m{s:02d}" for s in range(stores)])
    sold = rng.poisson(60 * (1 + TRUTH * treated))
    columns = {
        "experiment": ["large"] * len(day),
        "version": np.ones(len(day), dtype=np.int32),
        "day": np.datetime64(definition.start) + day,
        "unit": units[store * brands + brand],
        "market": markets[store],
        "cluster": markets[store],
        "arm": np.where(treated, "low", "control"),
        "planned_arm": np.where(treated, "low", "control"),
        "status": np.where(rng.random(len(day)) < 0.04, "unobserved", "counted"),
        "quantity": sold,
        "revenue_minor": 300 * sold,
        "cost_minor": 200 * sold,
    }
    schema = TABLES["panel"].schema
    panel = pa.table([pa.array(columns[f]).cast(t) for f, t in zip(schema.names, schema.types, strict=True)], schema)
    small = tables_of(
        [registered(definition), *sequences(definition, days, ("units", "revenue")), *checks(definition)],
        TRUTH,
    )
    return {**small, "panel": panel}
