"""The watchdog: a worker whose duties stand still while Kafka and Redis answer must end, so that another takes over."""

import asyncio
import contextlib

from controller.errors import CannotReach, FlipsideError
from streams.kafka.connection import reach_kafka
from streams.worker.services import Parts

LOOK_SECONDS = 1.0


class Stuck(FlipsideError):
    """A duty makes no progress, and no part is to blame: the process must be started anew."""


async def look_after(parts: Parts, stop: asyncio.Event, every: float = LOOK_SECONDS) -> None:
    """Look once a second (or ``every`` so many) until asked to stop; raises Stuck with the duties that stand still."""
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), every)
        stuck = parts.pulse.look()
        if not stuck:
            continue
        if await _parts_answer(parts):
            raise Stuck(
                f"no progress for {max(stuck.values())} s though Kafka and Redis answer: {', '.join(sorted(stuck))}; "
                "the worker ends, so that its partitions move: start it again"
            )
        parts.pulse.excuse()


async def _parts_answer(parts: Parts) -> bool:
    try:
        await reach_kafka(parts.settings.model_copy(update={"connect_timeout_seconds": 0.0}))
        await parts.store.caught_up()
    except CannotReach as error:
        parts.log.warning("waiting", duty="watchdog", error=str(error))
        return False
    return True
