"""The low-rate control topics: definitions, lifecycle requests and blackouts, read by Faust agents.

What is valid is written to the store, where owners look: an agent belongs to one worker of the group, so nothing that
others need is kept here. Faust acknowledges an event whose agent raised, so nothing may be raised: a faulty message
becomes a dead letter, and a part that does not answer is waited for.
"""

import asyncio
import re
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import faust

from controller.decisions.lifecycle import AT_ONCE, OVER, Lifecycle, apply, revised
from controller.definition.error_messages import printable, shown
from controller.definition.experiment import Experiment, design_hash, withheld
from controller.definition.field_types import NAME_PATTERN, Message, sha256_hex
from controller.errors import CannotReach, FlipsideError, InvalidExperiment
from controller.messages.codec import TYPES, GivenHeaders, ce_type, encode, read
from controller.messages.control import Action, Kill, LifecycleRequest, SeedRevealed, State
from controller.messages.events import BlackoutSet, Refused, Registered, StopExperiment, Stopped, Tick
from controller.messages.faults import fault_of
from controller.messages.topics import ASSIGNMENT_LOG, BLACKOUT, DEFINITION, TICK
from controller.schedule.due import MarketPlan
from controller.time.periods import period
from controller.validation.attributes import Column, attributes_of
from controller.validation.blackout_rules import announce, parse_blackout
from controller.validation.quotas import room_for_switch, room_for_window
from controller.validation.registration import register
from streams.control.catalog import Catalog
from streams.control.overrides import holding, life
from streams.kafka.dead_letters import Rejected
from streams.kafka.graphs import published_graphs
from streams.runtime.gather import all_of
from streams.store import Registration, TopicPlace, plan_key
from streams.worker.last_line import unforeseen
from streams.worker.services import Parts

LONGEST_PAUSE_SECONDS = 5.0
#: between looks whether the store is whole
FIRST_LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.01, 0.05
#: after that no arm is drawn any more, and none is under way
OVER_FOR_GOOD: frozenset[State] = frozenset({"stopped", "archived"})
ENDS: frozenset[Action] = frozenset({"stop", "revert", "kill"})


@dataclass(frozen=True, slots=True)
class Heard:
    """A record as agents get it; see `streams.kafka.dead_letters.Incoming`."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: GivenHeaders

    @property
    def place(self) -> TopicPlace:
        """Where it was said."""
        return TopicPlace(self.partition, self.offset)


#: said of a record that was heard after a later one: by a worker that has slept, or from a topic that begins anew
LATER_IS_KNOWN = {
    "why": "something later is known of it",
    "way_out": "none is needed; if its topic was made anew: flipside rebuild",
}


#: so often is an event tried that fails as nobody foresaw
FAULTS_AT_MOST = 4


Handler = Callable[[Parts, Catalog, Heard], Awaitable[None]]


async def on_definition(parts: Parts, catalog: Catalog, heard: Heard) -> None:
    """Register an experiment, change its life, or pull a kill switch; the answer goes to the log."""
    kind = ce_type(heard.headers)
    if heard.value is None:
        await _stop(parts, named(heard, NAME_PATTERN, "experiment"), "its definition was removed")
    elif kind == TYPES[StopExperiment]:
        request = read(StopExperiment, heard.value)
        await _stop(parts, request.experiment, request.reason)
    elif kind == TYPES[LifecycleRequest]:
        await _change(parts, read(LifecycleRequest, heard.value))
    elif kind == TYPES[Kill]:
        await _kill(parts, catalog, read(Kill, heard.value), heard)
    else:
        await _register(parts, catalog, read(Experiment, heard.value))


def named(heard: Heard, pattern: str, what: str) -> str:
    """What a tombstone names; raises FlipsideError for what no experiment, and no window, can be called."""
    key = (heard.key or b"").decode(errors="replace")
    if not re.fullmatch(pattern, key):
        raise FlipsideError(f"the key {shown(key)} names no {what}: there is nothing to remove")
    return key


async def _register(parts: Parts, catalog: Catalog, experiment: Experiment) -> None:
    now = parts.clock.now()
    await catalog.catch_up()
    _, held = await parts.store.registrations(0)
    known = held.get(experiment.name)
    if known is None or known.design_hash != design_hash(experiment):
        others = [r.experiment for r in held.values() if life(r, now).state not in OVER]
        asked = experiment.clusters_from
        graphs = None if asked is None else await published_graphs(parts.settings, pairs=False)
        resolved = register(experiment, catalog.entries, others, now, graphs)
        if known is not None:
            over = life(known, now)
            revised(over, resolved, await _holding(parts, over))
        listed = {unit: catalog.entries[unit] for unit in resolved.units}
        known = Registration(
            resolved,
            design_hash(resolved),
            listed={unit: (entry.list_price_minor, entry.cost_minor) for unit, entry in listed.items()},
        )
    # Heard twice, or after a crash half way: the same writes again.
    await parts.store.put_registration(known)
    secret = known.experiment.seed_disclosure == "committed" and life(known, now).state not in OVER_FOR_GOOD
    attributes, left_out = _attributes(known.experiment, catalog, now)
    message = Registered(
        id=f"{experiment.plan_name}/registered",
        # Whoever reads the log must not be able to draw tomorrow's arms: only the hash of a committed seed is told.
        experiment=withheld(known.experiment) if secret else known.experiment,
        design_hash=known.design_hash,
        registered_at=now,
        listed=dict(known.listed),
        attributes=attributes,
        attributes_left_out=left_out,
    )
    await _tell(parts, message, message.id)
    parts.log.info("registered", experiment=experiment.name, design_hash=known.design_hash)


def _attributes(experiment: Experiment, catalog: Catalog, now: datetime) -> tuple[dict[str, Column], tuple[str, ...]]:
    """Of the catalog as it is now; none once the experiment has begun, and none where a unit is no longer in it."""
    begun = any(period(experiment.start, zone).start <= now for zone in experiment.time_zones().values())
    if begun or not all(unit in catalog.entries for unit in experiment.units):
        return {}, ()
    return attributes_of(experiment.units, catalog.entries)


async def _holding(parts: Parts, over: Lifecycle) -> list[str]:
    """Markets in which an experiment that is over has not let all units go, or not said what it missed."""
    found, experiment = [], over.experiment
    for market in experiment.units_by_market():
        plans = await parts.store.plans(parts.shard_of(market))
        plan = plans.get(plan_key(experiment.name, experiment.version, market), MarketPlan())
        if holding(over, plan):
            found.append(market)
    return found


async def _stop(parts: Parts, name: str, reason: str) -> None:
    now = parts.clock.now()
    request = LifecycleRequest(
        id=f"{name}/stop",
        experiment=name,
        action="stop",
        role="owner",
        who="its owner",
        why=reason or "no reason given",
        requested_at=now,
    )
    await _change(parts, request)


async def _change(parts: Parts, request: LifecycleRequest) -> None:
    """Make a move in an experiment's life, or refuse it and change nothing.

    A move of the clock is not taken at its word: it only makes us look at the time, ours, or that of the worker that
    asks, where it is ahead by no more than clocks may differ.
    """
    now, name = parts.clock.now(), request.experiment
    _, held = await parts.store.registrations(0)
    known = held.get(name)
    if known is None:
        raise FlipsideError(
            f"{name} is not registered: there is nothing to {request.action}; `flipside experiment list` names all"
        )
    by_time = request.role == "clock"
    ahead = (request.requested_at - now).total_seconds()
    if by_time and parts.settings.clock == "wall" and ahead > parts.settings.clock_tolerance_seconds:
        raise FlipsideError(
            f"{name}: {request.action} was asked for by a clock that shows {request.requested_at}, {ahead:.0f} s ahead "
            "of this worker's; nothing is done before its time"
        )
    lived = life(known, max(now, request.requested_at)) if by_time else apply(life(known, now), request, now)
    await parts.store.put_registration(replace(known, state=lived.state, frozen=lived.frozen, history=lived.history))
    # Heard twice, or after a crash half way: the same words again, those of the clock before them included.
    written = {change.id for change in known.history} - {request.id}
    for change in lived.history:
        if change.id not in written:
            await _tell(parts, change, change.id)
        if change.id == request.id and change.action in ENDS:
            version = known.experiment.version
            message = Stopped(
                id=f"{name}.{version}/stopped", experiment=name, experiment_version=version, reason=request.why,
                stopped_at=change.changed_at,
            )  # fmt: skip
            await _tell(parts, message, message.id)
    if lived.state in OVER_FOR_GOOD:
        await _reveal(parts, known.experiment, lived)
    if request.action in AT_ONCE:
        await _hurry(parts)
    parts.log.info("life changed", experiment=name, action=request.action, state=lived.state, who=request.who)


async def _reveal(parts: Parts, experiment: Experiment, lived: Lifecycle) -> None:
    """Tell the committed seed of an experiment that is over: now anyone can check its arms."""
    if experiment.seed_disclosure == "committed":
        revealed = SeedRevealed(
            id=f"{experiment.plan_name}/seed",
            experiment=experiment.name,
            experiment_version=experiment.version,
            design_hash=design_hash(experiment),
            seed=experiment.seed,
            revealed_at=next(c.changed_at for c in lived.history if c.to_state in OVER_FOR_GOOD),
        )
        await _tell(parts, revealed, revealed.id)


async def _kill(parts: Parts, catalog: Catalog, kill: Kill, heard: Heard) -> None:
    """Pull or lift a kill switch: it holds for what is registered now, and for what will be.

    Whether its name is known is asked of the catalog as it was read by now: a switch waits for no reading.
    """
    if bool(kill.name) == (kill.scope == "all"):
        raise FlipsideError(f"kill {kill.id}: scope {kill.scope} with the name {kill.name!r}; `all` alone has no name")
    if not kill.why:
        raise FlipsideError(f"kill {kill.id} needs a reason; say why")
    switches = await parts.store.kills(0)
    if kill.id not in switches:
        _, held = await parts.store.registrations(0)
        markets = {market for one in held.values() for market in one.experiment.units_by_market()}
        room_for_switch(kill, switches, markets | catalog.time_zones.keys(), held.keys())
    if not await parts.store.put_kill(kill, heard.place):
        parts.log.warning("passed over", kill=kill.id, offset=heard.offset, **LATER_IS_KNOWN)
        return
    await _tell(parts, kill, f"{kill.id}/{kill.requested_at.isoformat()}")
    await _hurry(parts)
    parts.log.warning("kill switch", scope=kill.scope, name=kill.name, lifted=kill.lifted, who=kill.who, why=kill.why)


async def _hurry(parts: Parts) -> None:
    """A tick for every owner: what cannot wait for a boundary is not to wait for the reconciler either."""
    now = parts.clock.now()
    tick = encode(Tick(at=now), f"{parts.topic(TICK)}/hurry/{now.isoformat()}", now)
    for number in range(parts.settings.partitions):
        await parts.producer.send_and_wait(parts.topic(TICK), value=tick.value, headers=tick.headers, partition=number)


async def on_blackout(parts: Parts, catalog: Catalog, heard: Heard) -> None:
    """Store or remove a window; from the answer in the log on, it binds every flip."""
    now = parts.clock.now()
    if heard.value is None:
        name = named(heard, NAME_PATTERN, "window")
        taken = await parts.store.remove_blackout(name, heard.place)
        message = BlackoutSet(id=f"{name}/removed/{heard.offset}", blackout=name, removed=True, recorded_at=now)
    else:
        await catalog.catch_up()
        _, held = await parts.store.registrations(0)
        experiments = [registration.experiment for registration in held.values()]
        blackout = announce(parse_blackout(heard.value), catalog.entries, experiments, now)
        room_for_window(blackout, await parts.store.blackouts(0), now)
        taken = await parts.store.put_blackout(blackout, heard.place)
        identity = f"{blackout.id}/{sha256_hex(heard.value)[:16]}"
        message = BlackoutSet(id=identity, blackout=blackout.id, removed=False, recorded_at=now)
    if not taken:
        parts.log.warning("passed over", blackout=message.blackout, offset=heard.offset, **LATER_IS_KNOWN)
        return
    await _tell(parts, message, message.id)
    parts.log.info("blackout recorded", blackout=message.blackout, removed=message.removed)


async def _tell(parts: Parts, message: Message, identity: str) -> None:
    await parts.publish(ASSIGNMENT_LOG, [encode(message, identity, parts.clock.now())])


async def _until_whole(parts: Parts) -> None:
    """Nobody is told that an experiment is unknown while the store that knows them is new, or being rebuilt."""
    pause = FIRST_LOOK_SECONDS
    while not await parts.store.restoring.log_positions(0):
        if pause == FIRST_LOOK_SECONDS:
            parts.log.info("waiting", part="the owner of the first shard", why="it folds the log into the store first")
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_LOOK_SECONDS)


async def _refuse(parts: Parts, heard: Heard, problems: tuple[str, ...], *, failed: bool = False) -> None:
    """Publish a refusal twice: as the answer in the log, and as a dead letter."""
    subject = printable((heard.key or b"?").decode(errors="replace")) or "?"
    refused = Refused(
        id=f"{heard.topic}/{heard.partition}/{heard.offset}",
        subject=subject,
        problems=tuple(printable(problem) for problem in problems),
        refused_at=parts.clock.now(),
    )
    said = "\n".join(problems)
    rejected = Rejected(heard, "failed", said) if failed else Rejected(heard, "refused", said)
    # At once: a kill may wait behind it.
    await all_of([_tell(parts, refused, refused.id), parts.reject([rejected], parts.clock.now())])


async def handle(parts: Parts, catalog: Catalog, heard: Heard, handler: Handler) -> None:
    """Run a handler so that its event is either carried out, or refused with its reason; never lost.

    What is wrong with the event itself, though no rule foresaw it, is wrong at every attempt: after a few it is
    refused, because a kill may wait behind it.
    """
    pause, faults, last = 0.1, 0, ""
    while True:
        try:
            try:
                await _until_whole(parts)
                if faults < FAULTS_AT_MOST:
                    await handler(parts, catalog, heard)
                else:
                    said = f"it cannot be carried out: {last}; please report this"
                    await _refuse(parts, heard, (said,), failed=True)
            except CannotReach:
                raise
            except InvalidExperiment as error:
                await _refuse(parts, heard, tuple(str(problem) for problem in error.problems))
            except FlipsideError as error:
                await _refuse(parts, heard, (str(error),))
        except asyncio.CancelledError:
            raise
        except Exception as error:  # a part is away: the event waits, because raising would acknowledge it
            where = {"topic": heard.topic, "offset": heard.offset, "pause_seconds": pause}
            if isinstance(error, CannotReach):
                parts.log.warning("waiting", error=str(error), **where)
            else:
                parts.log.exception("tried again", **where)
                faults += unforeseen(error)
                last = str(fault_of(error))
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        else:
            return


def add_agents(app: Any, parts: Parts, catalog: Catalog) -> None:
    """Register one agent for each control topic with a Faust app."""
    for name, handler in ((DEFINITION, on_definition), (BLACKOUT, on_blackout)):
        topic = app.topic(
            parts.topic(name), key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )
        _add_agent(app, topic, name, handler, parts, catalog)


def _add_agent(app: Any, topic: Any, name: str, handler: Handler, parts: Parts, catalog: Catalog) -> None:
    @app.agent(topic, name=parts.topic(f"flipside.agent.{name}"))  # type: ignore[untyped-decorator]
    async def agent(stream: Any) -> None:
        events: AsyncIterable[faust.Event] = stream.events()
        async for event in events:
            message = event.message
            headers = message.headers or ()
            pairs: Any = tuple(headers.items() if isinstance(headers, Mapping) else headers)
            heard = Heard(message.topic, message.partition, message.offset, message.key, message.value, pairs)
            await handle(parts, catalog, heard, handler)
