"""Whether clocks can be trusted: under the wall clock, a worker decides by its own what has not begun yet.

A worker compares its clock with that of Redis and with those of the brokers before it takes any work, and while it
runs. Where it contradicts Redis it ends: one of the two is wrong, and deciding by a wrong one moves prices in the
middle of a day. Where it agrees with Redis and the brokers differ from both, the brokers are wrong: what they stamp too
late is void and becomes control (`streams.outputs.late_assignments`), so that the worker goes on, and says so.
"""

import asyncio
from datetime import UTC, datetime, timedelta

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from controller.definition.field_types import from_milliseconds
from controller.errors import FlipsideError
from controller.messages.codec import encode
from controller.messages.events import Tick
from controller.messages.topics import TICK
from streams.kafka.publishing import stamp_of
from streams.worker.services import Parts

#: how often the brokers' clocks are asked, and for how long one may keep its answer
ASK_SECONDS, ANSWER_SECONDS = 20.0, 10.0
#: how long a log line on the brokers' clocks holds
TELL_AGAIN = timedelta(minutes=10)


class ClockWrong(FlipsideError):
    """Two clocks contradict each other by more than can be put up with: the worker ends, so that another decides."""


def ahead(before: datetime, told: datetime, after: datetime) -> float:
    """Seconds by which a clock that was asked between two instants is ahead (or, negative, behind) for certain.

    An answer that was long under way proves nothing about the time that it took.
    """
    return (max(told - after, timedelta(0)) - max(before - told, timedelta(0))).total_seconds()


async def keep_in_step(parts: Parts, brokers: float | None = None) -> None:
    """Compare this machine's clock with the store's; raises ClockWrong with both and the way out.

    ``brokers``: how far those of the brokers are ahead, where that is known: of three clocks, the one alone is wrong.
    """
    before = parts.clock.now()
    told = await parts.store.time()
    after = parts.clock.now()
    apart = ahead(before, told, after)
    parts.metrics.clock_difference.labels("redis").set(apart)
    tolerance = parts.settings.clock_tolerance_seconds
    if abs(apart) <= tolerance:
        return
    third = ""
    if brokers is not None:
        third = f", those of the brokers {after + timedelta(seconds=brokers)}"
        if abs(brokers) <= tolerance:
            third += ": Redis is alone"
        elif abs(brokers - apart) <= tolerance:
            third += ": this machine is alone"
    raise ClockWrong(
        f"this machine's clock shows {after}, that of Redis {told}{third}: they differ by {abs(apart):.0f} s, more "
        f"than FLIPSIDE_CLOCK_TOLERANCE_SECONDS = {tolerance:g}; mend NTP where it is wrong, then start the worker"
    )


async def ask_brokers(parts: Parts) -> float | None:
    """How far the brokers' clocks are ahead of this one, in seconds: the farthest of those that lead a tick partition.

    None where they stamp nothing: under another clock than the wall's, or where the topic keeps producers' timestamps.
    What they stamp is a tick of so long ago that every owner takes it for stale: it decides nothing. Raises KafkaError,
    TimeoutError.
    """
    settings, topic = parts.settings, parts.topic(TICK)
    old = parts.clock.now() - max(timedelta(days=1), timedelta(seconds=2 * settings.stale_tick_seconds))
    record = encode(Tick(at=old), f"{parts.name}/clock/{old.isoformat()}", old)
    found: list[float] = []
    async with asyncio.timeout(ANSWER_SECONDS):
        await parts.producer.partitions_for(topic)
        cluster = parts.producer.client.cluster
        # One partition of each broker.
        leaders = {cluster.leader_for_partition(TopicPartition(topic, n)): n for n in range(settings.partitions)}
        for partition in leaders.values():
            before = parts.clock.at_brokers(parts.clock.now())
            sent = await parts.producer.send_and_wait(topic, record.value, partition=partition, headers=record.headers)
            stamp, after = stamp_of(sent), parts.clock.at_brokers(parts.clock.now())
            if stamp is not None and before is not None and after is not None:
                found.append(ahead(before, from_milliseconds(stamp), after))
    return max(found, key=abs, default=None)


class BrokerClocks:
    """What a worker knows of the brokers' clocks, and has said of them."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._wrong = False
        self._told_at, self._told = datetime.min.replace(tzinfo=UTC), 0.0

    async def look(self) -> float | None:
        """Ask them, and show and tell what they say; None where they do not answer, which others say aloud."""
        parts, tolerance = self._parts, self._parts.settings.clock_tolerance_seconds
        try:
            apart = await ask_brokers(parts)
        except (KafkaError, TimeoutError) as error:
            parts.log.debug("waiting", duty="clocks", error=str(error))
            return None
        if apart is None:
            return None
        parts.metrics.clock_difference.labels("kafka").set(apart)
        now = parts.clock.now()
        if abs(apart) > tolerance:
            if not self._wrong or now - self._told_at > TELL_AGAIN or abs(apart - self._told) > tolerance:
                self._told_at, self._told = now, apart
                parts.log.error(
                    "brokers' clock differs",
                    ahead_seconds=round(apart),
                    tolerance_seconds=tolerance,
                    means=MEANS[apart > 0],
                    way_out="mend NTP on the brokers' machines",
                )
        elif self._wrong:
            parts.log.warning("brokers' clock agrees again", ahead_seconds=round(apart, 1))
        self._wrong = abs(apart) > tolerance
        return apart

    async def run(self, stop: asyncio.Event) -> None:
        """Look every so often until asked to stop."""
        while not stop.is_set():
            looking, asked = asyncio.create_task(self.look()), asyncio.create_task(stop.wait())
            await asyncio.wait([looking, asked], return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait([asked], timeout=0 if stop.is_set() else ASK_SECONDS)
            for task in (looking, asked):
                task.cancel()


#: whether they are ahead -> what comes of it
MEANS = {
    True: "announcements with a shorter lead than that are void and become control (`late`); sales count as later",
    False: "announcements that come too late are not recognised as void; sales are refused as `future`",
}


async def before_any_work(parts: Parts, brokers: BrokerClocks) -> None:
    """Compare all clocks before a shard is claimed: who is out of step must not make the others share out anew."""
    if parts.settings.clock == "wall":
        await keep_in_step(parts, await brokers.look())
