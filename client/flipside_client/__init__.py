"""What a pricing system embeds to know the arm of a product now.

``Assignments`` for asyncio, ``flipside_client.sync.SyncAssignments`` for threads,
``flipside_client.openfeature.FlipsideProvider`` for OpenFeature. The rules alone, without Kafka: ``Fold``.
"""

from flipside_client.assignments import Assignments, Status
from flipside_client.changes import Change, Changes
from flipside_client.errors import (
    FlipsideClientError,
    KafkaUnreachable,
    NotStarted,
    TopicMissing,
    Unreadable,
    WrongInstant,
)
from flipside_client.fold import Fold, Price
from flipside_client.record import APPLIED_TOPIC, ASSIGNMENT_TOPIC, Assignment, read, topic

__all__ = [
    "APPLIED_TOPIC",
    "ASSIGNMENT_TOPIC",
    "Assignment",
    "Assignments",
    "Change",
    "Changes",
    "FlipsideClientError",
    "Fold",
    "KafkaUnreachable",
    "NotStarted",
    "Price",
    "Status",
    "TopicMissing",
    "Unreadable",
    "WrongInstant",
    "read",
    "topic",
]
