"""From messages to tables: what was registered, estimated, found and counted, one row each."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from analysis.export.responses import attributes_at_registration, influence_rows, response_rows
from analysis.export.schemas import COUNTED, TABLES, UNSEEN, Tables
from analysis.panel_data.ledger import Ledger
from analysis.panel_data.study import UNKNOWN, State, Study
from analysis.worker.analyse import BEFORE, case_of
from controller.definition.field_types import Message, market_of
from controller.messages.events import AnytimeEffect, Assignment, EffectEstimate, Estimate, Registered
from controller.messages.findings import Health, RunningSequence

Row = dict[str, Any]


def tables_of(messages: Iterable[Message], truth: float | None = None) -> Tables:
    """Every table from what the topics say, in the order in which each topic says it.

    Args:
        messages: of the assignment log, the panel, the estimates, the sequences and the checks; others are left alone.
        truth: the planted relative effect on units sold, where somebody planted one.
    """
    kept = list(messages)
    ledger = Ledger()
    for message in kept:
        ledger.fold(message)
    held = latest_assignments(kept)
    panels = []
    who: list[Row] = []
    carriers: list[Row] = []
    attributes = attributes_at_registration(ledger.registered)
    for study in ledger.studies.values():
        through = ledger.horizon(study)
        if through is not None:
            ledger.settle(study, through)
            panels.append(panel_of(study, study.first_day, through, held))
            case = case_of(ledger, study, through)
            who += response_rows(case, attributes[study.key])
            carriers += influence_rows(case)
    return {
        "experiments": _table("experiments", (_experiment(m, truth) for m in kept if isinstance(m, Registered))),
        **findings_of(kept),
        "responses": _table("responses", iter(who)),
        "influence": _table("influence", iter(carriers)),
        "panel": pa.concat_tables([empty("panel"), *panels], promote_options="none").unify_dictionaries(),
    }


def findings_of(messages: Sequence[Message]) -> Tables:
    """The tables of what was estimated, looked at and checked; those of whose experiment no day is closed are none."""
    return {
        "estimates": _table("estimates", (_estimate(m) for m in messages if isinstance(m, Estimate) and m.through)),
        "sequences": _table("sequences", _looks(m for m in messages if isinstance(m, RunningSequence))),
        "spillover": _table("spillover", _exposures(m for m in messages if isinstance(m, Estimate) and m.through)),
        "health": _table("health", (_check(m) for m in messages if isinstance(m, Health) and m.through)),
    }


def empty(name: str) -> pa.Table:
    """A table without a row."""
    table: pa.Table = TABLES[name].schema.empty_table()
    return table


def latest_assignments(messages: Iterable[Message]) -> dict[tuple[str, int, str, date], Assignment]:
    """The assignment that stands for each experiment, version, unit and day: the one with the highest sequence."""
    found: dict[tuple[str, int, str, date], Assignment] = {}
    for m in messages:
        if isinstance(m, Assignment):
            key = (m.experiment, m.experiment_version, m.unit, m.day)
            other = found.get(key)
            if other is None or (m.epoch, m.sequence) >= (other.epoch, other.sequence):
                found[key] = m
    return found


def panel_of(study: Study, first: date, last: date, held: Mapping[tuple[str, int, str, date], Assignment]) -> pa.Table:
    """The unit-days of an experiment from one day to another, which must be settled; days in order, units sorted."""
    days = study.unit_days(last)
    skipped = (first - days.first_day).days
    state, observed = days.state[skipped:], days.observed[skipped:]
    dates = [first + timedelta(days=k) for k in range(len(state))]
    exists = ~np.isin(state, [int(s) for s in BEFORE])
    row, column = np.nonzero(exists)
    units, (name, version) = study.units, study.key
    standing = [held.get((name, version, units[u], dates[t])) for t, u in zip(row, column, strict=True)]
    seen = observed[row, column]
    cost = days.cost[skipped:][row, column]
    clusters = [study.roster.cluster_of[unit] for unit in units]
    markets = [market_of(unit) for unit in units]
    columns = {
        "experiment": _repeated(name, len(row)),
        "version": pa.array(np.full(len(row), version, dtype=np.int32)),
        "day": pa.array(np.array(dates, dtype="datetime64[D]")[row]),
        "unit": _labels(column, units),
        "market": _labels(*_codes(markets, column)),
        "cluster": _labels(*_codes(clusters, column)),
        "arm": pa.array([None if a is None else a.arm for a in standing], pa.string()).dictionary_encode(),
        "planned_arm": pa.array(
            [None if a is None else a.planned_arm for a in standing], pa.string()
        ).dictionary_encode(),
        "status": _status(state[row, column], days.unseen[skipped:][row, column]),
        "quantity": pa.array(days.quantity[skipped:][row, column], mask=~seen),
        "revenue_minor": pa.array(days.revenue[skipped:][row, column], mask=~seen),
        "cost_minor": pa.array(cost, mask=~seen | (cost == UNKNOWN)),
    }
    schema = TABLES["panel"].schema
    return pa.table([columns[field].cast(kind) for field, kind in zip(schema.names, schema.types, strict=True)], schema)


def _status(state: Any, unseen: Any) -> pa.DictionaryArray:
    """ "counted", or why not: the state of a cell without an arm, or why nothing is known of what it sold."""
    reasons = [COUNTED, *UNSEEN, *(s.name.lower() for s in State)]
    code = np.asarray(unseen, dtype=np.int64)
    for number, one in enumerate(State, start=1 + len(UNSEEN)):
        code = np.where(state == int(one), number, code)
    return _labels(code, reasons)


def _codes(names: Sequence[str], index: Any) -> tuple[Any, list[str]]:
    labels, codes = np.unique(np.array(names), return_inverse=True)
    return codes[index], labels.tolist()


def _labels(code: Any, names: Sequence[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(code, pa.int32()), pa.array(names, pa.string()))


def _repeated(name: str, times: int) -> pa.DictionaryArray:
    return _labels(np.zeros(times, dtype=np.int32), [name])


def _table(name: str, rows: Iterator[Row]) -> pa.Table:
    """Of rows with the same key the one said last: a record may be published again after a crash, or be replaced."""
    key = ("experiment", "version", "day", *TABLES[name].key)
    last = {tuple(row.get(column) for column in key): row for row in rows}
    return pa.Table.from_pylist(list(last.values()), schema=TABLES[name].schema)


def _experiment(message: Registered, truth: float | None) -> Row:
    experiment = message.experiment
    return {
        "experiment": experiment.name,
        "version": experiment.version,
        "design": experiment.design.kind,
        "design_hash": message.design_hash,
        "arms": [arm.name for arm in experiment.arms],
        "clusters": len(experiment.cluster_names()),
        "units": len(experiment.units),
        "currency": experiment.currency,
        "start": experiment.start,
        "last_day": experiment.end - timedelta(days=1),
        "registered_at": message.registered_at,
        "definition": json.dumps(experiment.model_dump(mode="json"), separators=(",", ":")),
        "truth": truth,
    }


def _estimate(m: Estimate) -> Row:
    return {
        **_identity(m),
        "metric": m.metric,
        "arm": m.arm,
        "estimator": m.estimator,
        **_effect("relative", m.relative),
        **_effect("absolute", m.absolute),
        "p": m.absolute.p if m.absolute else None,
        "confidence": m.confidence,
        "planned_day": m.planned_day,
        "significant": m.significant,
        "reason_absent": m.reason_absent,
        **_anytime(m.anytime),
        "anytime_reason_absent": m.anytime_reason_absent,
        "clusters": m.clusters,
        "blocks": m.blocks,
        "days": m.days,
        "units": m.units,
        "cells": m.cells,
        "target": m.target,
        "other_target": None if m.other_target is None else m.other_target.target,
        **({} if m.other_target is None else _effect("other_relative", m.other_target.relative)),
        **({} if m.other_target is None else _effect("other_absolute", m.other_target.absolute)),
        "largest_cluster_share": m.largest_cluster_share,
        "zeros": sum(arm.zeros for arm in m.cells_by_arm.values()),
        "settings": json.dumps(m.settings, sort_keys=True),
    }


def _anytime(effect: AnytimeEffect | None) -> Row:
    if effect is None:
        return {}
    return {
        "anytime": effect.value,
        "anytime_low": effect.ci_low,
        "anytime_high": effect.ci_high,
        "anytime_p": effect.p,
    }


def _effect(name: str, effect: EffectEstimate | None) -> Row:
    if effect is None:
        return {}
    return {name: effect.value, f"{name}_se": effect.se, f"{name}_low": effect.ci_low, f"{name}_high": effect.ci_high}


def _looks(messages: Iterable[RunningSequence]) -> Iterator[Row]:
    """The looks of the sequence that stands: a later record of its key holds all of them anew."""
    standing: dict[tuple[str, int], RunningSequence] = {}
    for m in messages:
        held = standing.get((m.key, m.experiment_version))
        if held is None or (m.through or date.min, m.revision) >= (held.through or date.min, held.revision):
            standing[m.key, m.experiment_version] = m
    for m in standing.values():
        common = {
            **_identity(m),
            "metric": m.metric,
            "arm": m.arm,
            "method": m.method,
            "alpha": m.alpha,
            "planned_day": m.planned_day,
            "reason_absent": m.reason_absent,
        }
        if not m.looks and m.through:
            yield common
        for look in m.looks:
            yield {
                **common,
                "day": look.last_day,
                "block": look.block,
                "first_day": look.first_day,
                "difference": look.difference,
                "difference_se": look.difference_se,
                "effect": look.effect,
                "anytime_low": look.ci_low,
                "anytime_high": look.ci_high,
                "p": look.p,
                "fixed_low": look.fixed_low,
                "fixed_high": look.fixed_high,
                "control_mean": look.control_mean,
                "relative": look.relative,
                "relative_low": look.relative_low,
                "relative_high": look.relative_high,
                "relative_fixed_low": look.relative_fixed_low,
                "relative_fixed_high": look.relative_fixed_high,
            }


def _exposures(messages: Iterable[Estimate]) -> Iterator[Row]:
    """The effects with spillover that estimates carry."""
    for m in messages:
        found = m.spillover
        if found is None:
            continue
        common = {
            **_identity(m),
            "metric": m.metric,
            "arm": m.arm,
            "graph": found.graph,
            "cut": found.cut,
            "heaviest": found.heaviest,
            "probabilities": found.probabilities,
            "caution": found.caution,
        }
        if not found.effects:
            yield {**common, "reason_absent": found.reason_absent}
        for e in found.effects:
            yield {
                **common,
                "effect": e.effect,
                "exposure_estimator": e.estimator,
                "value": e.value,
                "se": e.se,
                "low": e.ci_low,
                "high": e.ci_high,
                "reason_absent": e.reason_absent,
                "dropped": e.dropped,
            }


def _check(m: Health) -> Row:
    return {
        **_identity(m),
        "check": m.check,
        "value": m.value,
        "threshold": m.threshold,
        "verdict": m.verdict,
        "what_to_do": m.what_to_do,
        "evidence": m.evidence,
        "cells": m.cells,
    }


def _identity(m: Estimate | RunningSequence | Health) -> Row:
    return {
        "experiment": m.experiment,
        "version": m.experiment_version,
        "day": m.through,
        "revision": m.revision,
        "left_out": list(m.left_out.items()),
        "watermark": m.watermark,
        "offsets": list(m.offsets.items()),
        "design_hash": m.design_hash,
        "code_version": m.code_version,
    }
