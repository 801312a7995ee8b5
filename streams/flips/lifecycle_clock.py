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
    """Request the lifecycle changes that are due by the clock and not recorded yet, as owner of the first market.

    Only the control agents record lifecycles. They check the time themselves before they carry out such a request.
    """
    for request in moves_of_the_clock(registrations, now):
        first = min(shard.rosters[request.experiment].units, default="")
        if request.id not in shard.asked and parts.shard_of(first) == shard.number:
            await parts.publish(DEFINITION, [encode(request, request.id, request.requested_at)])
            shard.asked.add(request.id)
