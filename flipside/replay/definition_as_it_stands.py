"""A definition as it stands on one's own sales: which part of the history is played, and what cannot be rehearsed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from controller.definition.experiment import Experiment
from controller.definition.parameters import Triggered
from controller.errors import FlipsideError
from controller.messages.graphs import PublishedGraphs
from controller.messages.inputs import Blackout, CatalogEntry
from controller.validation.cluster_minima import NEEDS, Kind, least_clusters_an_arm, requirement
from flipside.plan import checked
from flipside.replay.fitted_definition import CALENDARS
from flipside.sales_history.faults import first_few
from flipside.sales_history.history import History
from flipside.sales_history.own_sales import OwnSales, for_replay

#: days before the start that are played at most: what variances and covariates are planned from
MOST_BEFORE = 56
#: days before the start without which a running bound is planned from too little
ENOUGH_BEFORE = 14


@dataclass(frozen=True, slots=True)
class AsItStands:
    """What is played: the owner's definition, and the periods of the history that stand for its days."""

    experiment: Experiment
    #: with units and markets from the catalog
    resolved: Experiment
    history: History
    before: int
    #: what is rehearsed otherwise than the definition says, or not at all
    notes: tuple[str, ...]


def as_it_stands(
    definition: Experiment,
    own: OwnSales,
    catalog: Sequence[CatalogEntry],
    blackouts: Sequence[Blackout] = (),
    before: int | None = None,
    graphs: PublishedGraphs | None = None,
) -> AsItStands:
    """Guardrails, limits, currency, blackouts, start and days as they are; sales of the past stand for the days.

    ``before``: periods played ahead of the start; None: as many as the history has, 56 at most.

    Raises:
        FlipsideError: a broken rule of the definition, no sales of its units, or a history that is too short.
    """
    published = definition.model_copy(update={"seed_disclosure": "published"})
    resolved = checked(published, {entry.unit: entry for entry in catalog}, None, graphs)
    if not resolved.units:
        raise FlipsideError("the definition selects no unit of the catalog: see `flipside design FILE --catalog FILE`")
    sold = set(own.periods.units)
    unsold = [unit for unit in resolved.units if unit not in sold]
    if len(unsold) == len(resolved.units):
        raise FlipsideError(
            f"none of the {len(unsold):,} units of the definition is in the sales: {first_few(unsold)}; the sales have"
            f" {first_few(sorted(sold))}"
        )
    history = replace(for_replay(own, sold & set(resolved.units)), catalog=tuple(catalog))
    if history.currency != definition.currency:
        raise FlipsideError(
            f"currency = {definition.currency}: the units are sold in {history.currency}; write the definition in the"
            " currency of its units"
        )
    begin, days, ahead = _window(definition, history, before)
    changed = {} if days == definition.days else {"days": days}
    notes = [
        *_said(definition, history, begin, ahead, days),
        *_too_few_clusters(resolved),
        *([] if not unsold else [f"{len(unsold):,} of its units have no sales and sell nothing: {first_few(unsold)}"]),
    ]
    last = definition.start + timedelta(days=days)
    apart = [w.id for w in blackouts if w.starts_at.date() > last or w.ends_at.date() < definition.start]
    if apart:
        notes.append(f"{len(apart):,} of {len(blackouts):,} blackouts lie outside its days: {first_few(apart)}")
    return AsItStands(
        published.model_copy(update=changed),
        resolved.model_copy(update=changed),
        history.part(begin - ahead, begin + days),
        ahead,
        tuple(notes),
    )


def _window(definition: Experiment, history: History, before: int | None) -> tuple[int, int, int]:
    """(first period of the experiment, days, periods ahead of it), the latest that fit, on the start's weekday."""
    have = len(history.periods)
    if before is not None and not 0 <= before <= have - 2:
        raise FlipsideError(f"--pre-weeks: {before} periods ahead of the start, the history has {have}; give fewer")
    ahead = min(MOST_BEFORE, max(have - definition.days, have // 3)) if before is None else before
    days = definition.days
    if have - ahead < days:
        days = CALENDARS[type(definition.design)](definition, have - ahead)
    begin = have - days
    if history.period_days == 1 and history.days is not None:
        apart = (history.days[begin].weekday() - definition.start.weekday()) % 7
        if begin - apart >= 0:
            begin -= apart
    return begin, days, min(ahead, begin)


def _said(definition: Experiment, history: History, begin: int, ahead: int, days: int) -> list[str]:
    word = "day" if history.period_days == 1 else "week"
    first = "" if history.days is None else f", {history.days[begin]} of the sales stands for {definition.start}"
    notes = [f"{ahead} {word}s before the start, {days} of the experiment{first}"]
    if days < definition.days:
        notes.append(
            f"not rehearsed: the last {definition.days - days} of its {definition.days} days, for which the history is"
            " too short"
        )
    if history.period_days != 1:
        notes.append("not rehearsed: weekdays; a week of the sales is played as one day")
    if definition.seed_disclosure == "committed":
        notes.append("not rehearsed: seed_disclosure committed; the rehearsal publishes the seed on its own topics")
    notes.append("not rehearsed: changes of the catalog (on_catalog_change), prices of rivals, late and returned sales")
    if isinstance(definition.design, Triggered):
        notes.append("not rehearsed: your rivals' moves; made-up ones stand for them")
    if definition.guardrails and ahead < ENOUGH_BEFORE and history.period_days == 1:
        notes.append(
            f"warning: {ahead} days before the start are little to plan a guardrail's bound from; give a longer history"
        )
    return notes


def _too_few_clusters(resolved: Experiment) -> Iterator[str]:
    """Said before the start: what nobody will watch."""
    have = least_clusters_an_arm(resolved)
    if have < NEEDS["fixed"].an_arm:
        yield f"warning: {_need('fixed', resolved)}; cluster by unit, or add stores"
    if have < NEEDS["always_valid"].an_arm:
        yield f"warning: {_need('always_valid', resolved)}; cluster by unit, or add stores"
    if resolved.guardrails and have < NEEDS["guardrail"].an_arm:
        yield (
            f"warning: {len(resolved.guardrails)} guardrails will watch nothing: {_need('guardrail', resolved)}; stop"
            " it yourself with `flipside experiment kill`"
        )


def _need(kind: Kind, resolved: Experiment) -> str:
    rule, clusters = requirement(kind, len(resolved.arms)), len(resolved.cluster_names())
    return f"{rule}; with {clusters} clusters {NEEDS[kind].otherwise}"


def left_out_of_a_fit(definition: Experiment) -> tuple[str, ...]:
    """What `flipside.replay.fitted_definition.fit` takes out of a definition: said before a replay of a folder of
    weeks."""
    notes = []
    if definition.guardrails:
        notes.append(f"not rehearsed: {len(definition.guardrails)} guardrails; they need sales of days and a --catalog")
    if definition.limits != type(definition.limits)():
        notes.append("not rehearsed: limits; they need sales of days and a --catalog")
    if definition.select is not None or definition.units:
        notes.append("not rehearsed: its units, start, days and currency; those of the folder stand for them")
    return tuple(notes)
