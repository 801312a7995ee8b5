"""Whether the duties of a worker go on: each turn is a beat, and one that misses too many looks is stuck.

Missed beats are counted in looks of the watchdog, not in seconds: a worker that was suspended as a whole (SIGSTOP, a
machine that slept) has not looked either, and is not called stuck when it goes on.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Pulse:
    """The beats of one worker. Written by its event loop, read by the thread that answers probes."""

    #: looks without a beat after which a duty is stuck
    patience: int = 60
    #: duty, or duty and partition -> looks since its last beat
    _missed: dict[str, int] = field(default_factory=dict)
    #: duties that wait for Kafka or Redis
    _waiting: set[str] = field(default_factory=set)
    _expected: frozenset[str] = frozenset()
    _looked: float | None = None

    def expect(self, duties: Iterable[str]) -> None:
        """Name the duties that must each have had a turn before the worker is ready."""
        self._expected = frozenset(duties)

    def beat(self, duty: str) -> None:
        """A turn of ``duty`` is over, and it led somewhere or there was nothing to do."""
        self._missed[duty] = 0
        self._waiting.discard(duty)

    def waits(self, duty: str) -> None:
        """A part does not answer: the duty tries again, which is no fault of its own."""
        for name in self._missed:
            if name == duty or name.startswith(f"{duty}-"):
                self._missed[name] = 0
        self._missed[duty] = 0
        self._waiting.add(duty)

    def forget(self, duty: str) -> None:
        """Nothing is to be done for it any more."""
        self._missed.pop(duty, None)

    def follow(self, name: str, moved: bool) -> None:
        """Watch what is behind its end: it beats when it has ``moved``, and misses one look after another if not."""
        if moved:
            self._missed[name] = 0
        else:
            self._missed.setdefault(name, 0)

    def look(self) -> Mapping[str, int]:
        """Count one look, once a second; returns what is stuck, with the looks it has missed."""
        self._looked = time.monotonic()
        for duty in self._missed:
            self._missed[duty] += 1
        return {duty: missed for duty, missed in self._missed.items() if missed > self.patience}

    def excuse(self) -> None:
        """Begin to count anew: what stood still could not go on."""
        for duty in self._missed:
            self._missed[duty] = 0

    def why_not_alive(self) -> str | None:
        """What a liveness probe is told; None while the event loop turns and every duty goes on."""
        if self._looked is None:
            return None  # still starting: how long that may take is the supervisor's to say
        silent = time.monotonic() - self._looked
        if silent > self.patience:
            return f"the event loop has not turned for {silent:.0f} s"
        stuck = [f"{duty} for {n} s" for duty, n in sorted(self._missed.copy().items()) if n > self.patience]
        return f"no progress: {', '.join(stuck)}" if stuck else None

    def why_not_ready(self) -> str | None:
        """What a readiness probe is told; None once every duty has had its first turn, while none waits for a part."""
        first = sorted(self._expected - self._missed.keys())
        if self._looked is None or first:
            return f"starting: no turn yet of {', '.join(first) or 'the watchdog'}"
        if self._waiting:
            return f"waiting for Kafka or Redis: {', '.join(sorted(self._waiting))}"
        return self.why_not_alive()
