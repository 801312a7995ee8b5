"""An evening before a day whose assignments are announced."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.messages.events import Assignment
from flipside.topics.reader import Reader
from streams.worker.services import Parts
from tests.streams.builders import at

EVENING, MORNING = at(0) - timedelta(hours=1), at(0) + timedelta(hours=8)


@dataclass
class Told:
    """A clock that is told the time; the brokers' clocks differ from it by ``brokers``."""

    at: datetime
    brokers: timedelta

    def now(self) -> datetime:
        return self.at

    def at_brokers(self, instant: datetime) -> datetime:
        return instant + self.brokers


async def assignments_on(parts: Parts, topic: str) -> list[Assignment]:
    """What is there and not void."""
    reader = Reader(parts.settings, [topic])
    await reader.start()
    try:
        await reader.drain()
    finally:
        await reader.stop()
    return [message for message in reader.messages if isinstance(message, Assignment)]
