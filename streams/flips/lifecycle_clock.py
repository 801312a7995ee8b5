"""The moves that time makes in experiments' lives: written down when they come, not with the next request."""

from collections.abc import Mapping
from datetime import datetime

from controller.messages.codec import encode
from controller.messages.topics import DEFINITION
from streams.control.overrides import moves_of_the_clock
from streams.flips.shard import Shard
from streams.store import Registration
from streams.worker.services import Parts


async def ask_clock(parts: Parts, shard: Shard, now: datetime, registrations: Mapping[str, Registration]) -> None:
    """Ask for what time has brought about and nobody has written down; the owner of an experiment's first market asks.

    The answer is in the hands of whoever writes lives down, so that nobody else does: he looks at the time himself.
    """
    for request in moves_of_the_clock(registrations, now):
        first = min(shard.rosters[request.experiment].units, default="")
        if request.id not in shard.asked and parts.shard_of(first) == shard.number:
            await parts.publish(DEFINITION, [encode(request, request.id, request.requested_at)])
            shard.asked.add(request.id)
