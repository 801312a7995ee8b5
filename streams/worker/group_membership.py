"""Membership of Kafka's consumer groups: a worker that crashes keeps its place for a while, one that stops gives it up.

With a name of its own (``worker_id``) a worker is a static member: one that was killed and is back within the session
timeout gets its partitions again, and no other member pauses. One that is asked to stop leaves instead: what it had
is with the others within a second, while to start again takes several.
"""

from typing import Any

from aiokafka import AIOKafkaConsumer

from streams.kafka.connection import stop_client
from streams.kafka.sticky_assignor import Sticky
from streams.worker.services import Parts

#: all members stand still from the first one's heartbeat that tells of a newcomer, or of one that left, to the last's
HEARTBEAT_MS = 300


def heartbeat_ms(session_timeout_ms: int) -> int:
    """How often a member sends its heartbeat, and learns of a rebalance."""
    return min(HEARTBEAT_MS, session_timeout_ms // 3)


def membership(parts: Parts, group: str) -> dict[str, Any]:
    """The keyword arguments of a consumer that is a member of a group."""
    settings = parts.settings
    return {
        "group_id": parts.topic(group),
        "group_instance_id": settings.worker_id or None,
        "enable_auto_commit": False,
        "fetch_max_wait_ms": settings.fetch_wait_ms,
        "auto_offset_reset": "earliest",
        "session_timeout_ms": settings.session_timeout_ms,
        "heartbeat_interval_ms": heartbeat_ms(settings.session_timeout_ms),
        "partition_assignment_strategy": [Sticky()],
    }


async def leave(consumer: AIOKafkaConsumer) -> None:
    """Stop a consumer for good; the rest of its group shares out at once what it had."""
    coordinator = getattr(consumer, "_coordinator", None)
    if coordinator is not None:
        # aiokafka does not say goodbye for static members, and has no other word for it.
        coordinator._group_instance_id = None
    await stop_client(consumer)
