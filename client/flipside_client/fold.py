"""Records in, the arm of a unit at an instant out. No Kafka, no clock, no chance: every rule of the client stands here.

The rule. Let R be the records of a unit that were taken. At instant t holds the record of R with the greatest
(epoch, sequence) among those with effective_at <= t. While t < expires_at its arm is shown; afterwards control. So a
newer record replaces what older ones say about every instant from its effective_at on, and nothing that they say about
earlier ones: what is announced in the evening does not disturb what holds until midnight.

The rule is a maximum over a set, hence the theorem that the tests try to break: any order and any repetition of the
same records gives the same arm at every instant t, provided that
(a) an (epoch, sequence) names one record of a unit;
(b) a tombstone, which has no version, keeps its place among the records of its unit, as it does in a Kafka partition;
(c) t is not long past: what was over FORGET_MS before the newest decision may be dropped.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from flipside_client.errors import Unreadable
from flipside_client.record import FIRST_MS, LAST_MS, Assignment, instant_ms, read

#: A record whose time was over this long before the unit's newest decision is dropped. Longer than clocks are wrong.
FORGET_MS = 6 * 3_600_000

#: The records of one unit that can still hold: latest effective_at first, and therefore newest first.
Held = tuple[Assignment, ...]

#: late: the brokers had it only after it had begun
Outcome = Literal["applied", "old", "repeated", "conflicting", "tombstone", "unreadable", "late"]

Why = Literal["assigned", "announced", "lapsed", "released", "unknown", "loading"]


@dataclass(frozen=True, slots=True)
class Price:
    """What to show for a unit at an instant. ``arm`` None means control: the price of every day."""

    unit: str
    arm: str | None
    #: in minor units (cents); None where Flipside does not know the list price, and for control without a record
    price_minor: int | None
    currency: str | None
    #: id of the assignment that holds: what an acknowledgement names; None where none holds
    assignment_id: str | None
    #: assigned: an assignment holds. Otherwise control, because: announced (the first one starts later), lapsed (the
    #: lease ran out and nothing newer came), released (the experiment let go), unknown (no record), loading (not ready)
    why: Why
    #: the answer cannot change before this instant unless a record arrives; None: not by itself
    until_ms: int | None

    @property
    def lease_lapsed(self) -> bool:
        return self.why == "lapsed"


def insert(held: Held, record: Assignment) -> tuple[Held, Outcome]:
    """The records that can still hold once ``record`` is taken, and what became of it. Pure."""
    if not held:
        return (record,), "applied"
    version, start, newest = record.version, record.effective_at_ms, held[0]
    if start >= newest.effective_at_ms and version > newest.version:
        # An evening's announcement: nothing is newer, and nothing starts later.
        return _without_past((record, *(held if start > newest.effective_at_ms else held[1:]))), "applied"
    for other in held:
        if other.version == version:
            return held, "repeated" if other == record else "conflicting"
        if other.effective_at_ms <= start and other.version > version:
            return held, "old"
    later = tuple(other for other in held if other.effective_at_ms > start and other.version > version)
    earlier = tuple(other for other in held if other.effective_at_ms < start)
    kept = _without_past((*later, record, *earlier))
    return (kept, "applied") if record in kept else (held, "old")


def _without_past(held: Held) -> Held:
    """Drop what was over FORGET_MS before the newest decision among them."""
    instant = max([record.decided_at_ms for record in held]) - FORGET_MS
    for index, record in enumerate(held):
        if record.effective_at_ms <= instant:
            return held[: index + 1]
    return held


#: What a look-up needs of a record and nothing else: start, end (the start where nothing is to be shown), arm, and the
#: step before it. A third of the cost of walking through records.
Step = tuple[int, int, str, "Step | None"]


def steps(held: Held) -> Step | None:
    """The same records as a chain from the latest start back. Pure."""
    chain: Step | None = None
    for record in reversed(held):
        start, end = record.effective_at_ms, record.expires_at_ms
        chain = (start, start if end is None else end, record.arm, chain)
    return chain


def in_force(held: Held, now_ms: int) -> Assignment | None:
    """The record that speaks about ``now_ms``, whether or not its lease has lapsed; None before the first one."""
    for record in held:
        if record.effective_at_ms <= now_ms:
            return record
    return None


def price_of(unit: str, held: Held, now_ms: int) -> Price:
    """What to show for a unit whose records are ``held``. Pure."""
    record, next_start = None, None
    for other in held:
        if other.effective_at_ms <= now_ms:
            record = other
            break
        next_start = other.effective_at_ms
    if record is None:
        return Price(unit, None, None, None, None, "announced" if held else "unknown", next_start)
    if record.expires_at_ms is None:
        return Price(unit, None, None, None, None, "released", next_start)
    if now_ms >= record.expires_at_ms:
        return Price(unit, None, None, None, None, "lapsed", next_start)
    until = record.expires_at_ms if next_start is None else min(next_start, record.expires_at_ms)
    return Price(unit, record.arm, record.price_minor, record.currency, record.id, "assigned", until)


class Fold:
    """All units. Look-ups are safe from any thread: a unit's records are replaced whole, never changed."""

    __slots__ = ("_forgotten", "_held", "_steps", "counts", "last_unreadable")

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        #: what `arm` reads; every entry is `steps` of the unit's records
        self._steps: dict[str, Step] = {}
        #: the newest version of a unit at its last tombstone: what is not newer does not come back
        self._forgotten: dict[str, tuple[int, int]] = {}
        self.counts: dict[Outcome, int] = dict.fromkeys(get_args(Outcome), 0)
        #: what was wrong with the last record that could not be read
        self.last_unreadable: str | None = None

    def __len__(self) -> int:
        return len(self._held)

    # --- records in -------------------------------------------------------------------------------------------------

    def take(
        self, key: bytes | None, value: bytes | None, late: bool = False, latest_ms: int | None = None
    ) -> tuple[Outcome, Assignment | None]:
        """A record as it lies on the topic: counted, applied if it is newer, never fatal; ``late``: it is void.

        ``latest_ms``: no decision is later than this. One from next year would make all that holds now long past.
        """
        if late:
            self.counts["late"] += 1
            return "late", None
        try:
            if value is None:
                if key is None:
                    raise Unreadable("neither key nor value")  # noqa: TRY301 - one place counts what cannot be read
                self.forget(key.decode())
                return "tombstone", None
            record = read(key, value)
            if latest_ms is not None and record.decided_at_ms > latest_ms:
                raise Unreadable("decided_at lies more than a day ahead of this client's clock")  # noqa: TRY301
        except (Unreadable, UnicodeDecodeError) as error:
            self.counts["unreadable"] += 1
            self.last_unreadable = str(error)
            return "unreadable", None
        return self.apply(record), record

    def apply(self, record: Assignment) -> Outcome:
        """Take one assignment; the outcome says what became of it."""
        if self._forgotten and record.version <= self._forgotten.get(record.unit, (-1, -1)):
            outcome: Outcome = "old"
        else:
            held = self._held.get(record.unit, ())
            replaced, outcome = insert(held, record)
            if replaced is not held:
                self._held[record.unit] = replaced
                chain = steps(replaced)
                if chain is not None:
                    self._steps[record.unit] = chain
        self.counts[outcome] += 1
        return outcome

    def forget(self, unit: str) -> None:
        """A tombstone: the unit is on control until a record comes that is newer than all before it."""
        self.counts["tombstone"] += 1
        held = self._held.pop(unit, ())
        self._steps.pop(unit, None)
        if held:
            self._forgotten[unit] = max(record.version for record in held)

    # --- answers out ------------------------------------------------------------------------------------------------

    def arm(self, unit: str, now: datetime | int) -> str | None:
        """The arm to show; None means control. The hot path: one dictionary look-up and two comparisons."""
        if now.__class__ is not int or not FIRST_MS <= now < LAST_MS:
            now = instant_ms(now)
        step = self._steps.get(unit)
        while step is not None:
            start, end, arm, step = step
            if start <= now:
                return arm if now < end else None
        return None

    def price(self, unit: str, now: datetime | int) -> Price:
        """Arm, price, assignment and why, for the same rule as :meth:`arm`."""
        return price_of(unit, self._held.get(unit, ()), instant_ms(now))

    def assignment(self, unit: str, now: datetime | int) -> Assignment | None:
        """The record behind the answer; None where control is shown."""
        now_ms = instant_ms(now)
        record = in_force(self._held.get(unit, ()), now_ms)
        if record is None or record.expires_at_ms is None or now_ms >= record.expires_at_ms:
            return None
        return record

    def announced(self, unit: str, now: datetime | int) -> tuple[Assignment, ...]:
        """Records that start later, soonest first."""
        now_ms = instant_ms(now)
        return tuple(record for record in reversed(self._held.get(unit, ())) if record.effective_at_ms > now_ms)

    def units(self) -> tuple[str, ...]:
        """All units of which a record is held, sorted."""
        return tuple(sorted(self._held))

    def markets(self) -> frozenset[str]:
        """Markets of which a record was ever taken; those of units that were forgotten by a tombstone too."""
        return frozenset(unit.partition("/")[0] for known in (self._held, self._forgotten) for unit in known)
