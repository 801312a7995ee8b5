"""Enrolling: the owner of a market answers the triggers of its units, once each, and starts what begins within a day.

Triggers are keyed by market as the shards are, so a shard's triggers lie in the partition of its number. How far they
are answered lies in the store beside the entries that they led to, under the owner's fence.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from aiokafka import AIOKafkaConsumer, TopicPartition

from controller.decisions.enrolment import Admission, Enrolment, admit, replace_cluster, unanswerable
from controller.definition.parameters import Triggered
from controller.errors import UnreadableMessage
from controller.messages.codec import message_of
from controller.messages.control import Entered, TriggerFired, TriggerIgnored
from controller.messages.topics import TRIGGER
from streams.control.overrides import holds_back
from streams.flips.decision_records import log_record
from streams.flips.shard import Shard, key_of_plan
from streams.kafka.connection import stop_client
from streams.kafka.dead_letters import Incoming, Rejected, unreadable
from streams.store import LogRecord
from streams.store.trigger_port import CLUSTER
from streams.worker.last_line import Spared
from streams.worker.services import Parts

#: between a plan's key and a cluster, in the names of the store; neither has one
BETWEEN = " "
#: how far ahead of our clock a trigger may claim to be: a worker tells it on, whose clock is not ours
AHEAD = timedelta(minutes=10)
#: how long a broker may hold back a fetch: meanwhile aiokafka asks for no partition that an answer was just read of
FETCH_WAIT_MS = 4


class Triggers:
    """Reads the triggers of the shards that a worker owns, each from where the store says that it stands."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._topic = parts.topic(TRIGGER)
        self._consumer: AIOKafkaConsumer | None = None
        #: shard -> epoch under which it is read
        self._read: dict[int, int] = {}

    async def follow(self, shards: Mapping[int, Shard]) -> bool:
        """Read those of these shards from now on; False while no triggered experiment is registered."""
        if not any(waits_for_rivals(shard) for shard in shards.values()):
            return False
        if self._consumer is None:
            self._consumer = AIOKafkaConsumer(
                **self._parts.connection,
                client_id=f"{self._parts.name}-trigger",
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                fetch_max_wait_ms=min(FETCH_WAIT_MS, self._parts.settings.fetch_wait_ms),
            )
            await self._consumer.start()
        owned = {number: shard.epoch for number, shard in shards.items()}
        if owned != self._read:
            self._consumer.assign([TopicPartition(self._topic, number) for number in owned])
            for number, shard in shards.items():
                self._consumer.seek(TopicPartition(self._topic, number), shard.trigger)
            self._read = owned
        return True

    async def poll(self, timeout_ms: int) -> dict[int, list[Incoming]]:
        """New triggers by shard, as soon as there are any of those that are followed. May be cancelled."""
        assert self._consumer is not None, "nothing is followed yet"
        polled = await self._consumer.getmany(timeout_ms=timeout_ms)
        return {partition.partition: records for partition, records in polled.items()}

    def forget(self, number: int) -> None:
        """A shard is let go: its next owner, possibly this worker, begins at the store's position."""
        self._read.pop(number, None)

    async def stop(self) -> None:
        if self._consumer is not None:
            await stop_client(self._consumer)


def waits_for_rivals(shard: Shard) -> bool:
    """Whether an experiment of the shard starts on a rival's move."""
    return any(isinstance(laid_out.experiment.design, Triggered) for laid_out in shard.rosters.values())


def enrolments(texts: Mapping[str, str]) -> dict[str, Enrolment]:
    """What the store keeps of clusters, by `plan_key`."""
    found: dict[str, Enrolment] = {}
    for name, text in texts.items():
        plan, _, cluster = name.partition(BETWEEN)
        found[plan] = replace_cluster(found.get(plan, Enrolment()), cluster, CLUSTER.validate_json(text))
    return found


def spelled(plan: str, cluster: str, enrolment: Enrolment) -> tuple[str, str]:
    """Name and text of what the store keeps of one cluster."""
    return f"{plan}{BETWEEN}{cluster}", CLUSTER.dump_json(enrolment.of(cluster)).decode()


async def answer(parts: Parts, shard: Shard, records: Sequence[Incoming]) -> set[str]:
    """Answer triggers: entries and refusals go to the store with the position, and from there to the log.

    Returns the markets in which an entry begins within a day. Raises Fenced. What was answered before, by whomever, is
    passed over; one that cannot be answered is a dead letter.
    """
    begin = set[str]()

    async def together(some: Sequence[Incoming]) -> None:
        begin.update(await _answer(parts, shard, some))

    async def pass_over(record: Incoming) -> None:
        await parts.store.triggers.enrol(shard.number, shard.epoch, {}, [], record.offset + 1)
        shard.trigger = record.offset + 1

    await Spared(parts).each(records, together, lambda some: [r for r in some if r.offset >= shard.trigger], pass_over)
    return begin


async def _answer(parts: Parts, shard: Shard, records: Sequence[Incoming]) -> set[str]:
    records = [record for record in records if record.offset >= shard.trigger]
    begin = set[str]()
    if not records:
        return begin
    known, changed = dict(shard.enrolments), dict[str, str]()
    said: list[LogRecord] = []
    rejected: list[Rejected] = []
    now = parts.clock.now()
    for record in records:
        trigger = trigger_of(parts, shard, record, now)
        if isinstance(trigger, Rejected):
            rejected.append(trigger)
            continue
        # A rival's clock may run ahead of ours: nothing is answered before it was observed.
        plan, admission = judge(shard, known, trigger, max(now, trigger.observed_at))
        if admission.message is None:
            parts.metrics.triggers.labels("duplicate").inc()
            continue
        known[plan] = admission.enrolment
        if admission.enrolment.clusters:
            name, text = spelled(plan, trigger.cluster, admission.enrolment)
            changed[name] = text
            if admission.entry is not None and admission.enrolment.of(trigger.cluster).starting:
                begin.add(trigger.market)
        said.append(log_record(admission.message))
        parts.metrics.triggers.labels(outcome(admission.message)).inc()
        parts.log.info("trigger answered", trigger=trigger.id, outcome=outcome(admission.message))
    await parts.reject(rejected, now)
    end = records[-1].offset + 1
    await parts.store.triggers.enrol(shard.number, shard.epoch, changed, said, end)
    shard.enrolments, shard.trigger = known, end
    return begin


def trigger_of(parts: Parts, shard: Shard, record: Incoming, now: datetime) -> TriggerFired | Rejected:
    """The trigger in a record, or why it is not answered."""
    trigger = message_of(record, TriggerFired)
    if isinstance(trigger, UnreadableMessage):
        return unreadable(record, trigger)
    if parts.shard_of(trigger.market) != shard.number:
        said = f"triggers of {trigger.market} belong into partition {parts.shard_of(trigger.market)}"
        return Rejected(record, "partition", f"{said}, this one lies in {record.partition}")
    if parts.settings.clock == "wall" and trigger.observed_at > now + AHEAD:
        return Rejected(record, "future", f"observed at {trigger.observed_at}, which lies ahead of our clock")
    return trigger


def outcome(message: Entered | TriggerIgnored) -> str:
    """What became of a trigger, as a counter's label."""
    return "entered" if isinstance(message, Entered) else message.reason


def judge(shard: Shard, known: Mapping[str, Enrolment], trigger: TriggerFired, now: datetime) -> tuple[str, Admission]:
    """The key of the trigger's plan, and what becomes of the trigger."""
    laid_out = shard.rosters.get(trigger.experiment)
    wanted = f"{trigger.experiment}.{trigger.experiment_version}"
    if laid_out is None or laid_out.experiment.version != trigger.experiment_version:
        return "", Admission(Enrolment(), None, unanswerable(trigger, f"{wanted} is not registered", now))
    units = laid_out.units_of.get(trigger.cluster, ())
    if not isinstance(laid_out.experiment.design, Triggered) or trigger.market not in laid_out.units or not units:
        return "", Admission(Enrolment(), None, unanswerable(trigger, f"{wanted} has no such cluster there", now))
    plan, lived = key_of_plan(laid_out, trigger.market), shard.life(laid_out, now)
    held_back = holds_back(lived, shard.kills, trigger.market)
    through = shard.plan(laid_out, trigger.market).decided_through
    return plan, admit(
        laid_out.experiment,
        known.get(plan, Enrolment()),
        trigger,
        now,
        closed=f"the experiment is {lived.state}, and the market on control" if held_back else "",
        frozen=lived.frozen,
        units=len(units),
        undecided=None if through is None else through + timedelta(days=1),
        known_hash=laid_out.design_hash,
    )
