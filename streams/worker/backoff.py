"""A turn of an endless loop that rides through what passes."""

import asyncio

from aiokafka.errors import KafkaError

from controller.errors import CannotReach
from streams.runtime.connect_retry import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS
from streams.worker.services import Parts


class Backoff:
    """Around one turn of an endless loop: a part that does not answer is logged and waited for, longer each time.

    Anything else that goes wrong goes through: a fault of ours must stop the worker, so that another takes over.
    """

    def __init__(self, parts: Parts, duty: str) -> None:
        self._parts = parts
        self._duty = duty
        self._pause = FIRST_PAUSE_SECONDS

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        if error is None:
            self._pause = FIRST_PAUSE_SECONDS
            self._parts.pulse.beat(self._duty)
            return False
        if not isinstance(error, CannotReach | KafkaError):
            return False
        self._parts.metrics.waits.labels(self._duty).inc()
        self._parts.pulse.waits(self._duty)
        self._parts.log.warning("waiting", duty=self._duty, error=str(error), next_try_seconds=round(self._pause, 2))
        await asyncio.sleep(self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        return True
