"""An assignment as it lies on the topic, read without guessing and without a model library.

The contract is the JSON Schema of `Assignment`, version 1. A field that this version does not know is left alone, so
that one may be added; another version, a missing field or a wrong type makes the record unreadable.
"""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import itemgetter
from sys import intern
from typing import Any, NamedTuple

from flipside_client.errors import Unreadable, WrongInstant

#: the topics of the contract that a pricing system meets
ASSIGNMENT_TOPIC = "pricing.experiment.assignment.v1"
APPLIED_TOPIC = "pricing.experiment.applied.v1"

VERSION = 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def topic(name: str, namespace: str = "") -> str:
    """The name of a topic in an installation's namespace: ``ns.pricing.experiment.assignment.v1``."""
    return f"{namespace}.{name}" if namespace else name


class Assignment(NamedTuple):
    """The arm of a unit over [effective_at_ms, expires_at_ms). A tuple, because 100,000 are made while loading.

    Instants are milliseconds since 1970-01-01T00:00Z: a start is rounded up and an end down, so that no arm is shown
    outside its interval.
    """

    #: experiment.version/day/unit: the same decision has the same id, however often it is published
    id: str
    #: ``market/product``
    unit: str
    cluster: str
    experiment: str
    experiment_version: int
    arm: str
    #: what the draw asked for; differs from ``arm`` where a blackout kept the old one
    planned_arm: str
    #: None where the list price is not known to Flipside
    price_minor: int | None
    currency: str
    effective_at_ms: int
    #: end of the lease; None for a release to control, which needs none
    expires_at_ms: int | None
    decided_at_ms: int
    #: a record applies only where its (epoch, sequence) is greater than what is held
    epoch: int
    sequence: int
    #: scheduled, blackout, exclusivity, released
    reason: str

    @property
    def version(self) -> tuple[int, int]:
        """(epoch, sequence): which of two records of a unit is the newer."""
        return self.epoch, self.sequence


#: milliseconds of 1973-03-03 and of 2200-01-01. What lies outside is seconds (1.8e9 today), or micro- or nanoseconds
FIRST_MS, LAST_MS = 100_000_000_000, 7_258_118_400_000


def checked_ms(now: int) -> int:
    """Milliseconds since 1970 as they are; raises WrongInstant for a number of another unit."""
    if FIRST_MS <= now < LAST_MS:
        return now
    unit = "seconds" if 0 <= now < FIRST_MS else "microseconds or nanoseconds" if now >= LAST_MS else "no instant"
    raise WrongInstant(
        f"now = {now}: an int is milliseconds since 1970, from {FIRST_MS} to {LAST_MS}; this looks like {unit}. Pass"
        " datetime.now(UTC), or time.time_ns() // 1_000_000"
    )


def instant_ms(now: datetime | int) -> int:
    """An instant as whole milliseconds since 1970-01-01T00:00Z, rounded down.

    Raises TypeError or ValueError for what is no instant: a naive datetime, seconds as a float or as an int.
    """
    if type(now) is int:
        return checked_ms(now)
    if not isinstance(now, datetime):
        raise TypeError(f"now = {now!r}: an aware datetime, or milliseconds since 1970 as an int")
    if now.tzinfo is None:
        raise ValueError(f"now = {now!r} has no time zone: write datetime.now(UTC), not datetime.now()")
    since = now - _EPOCH  # whole numbers: a float of seconds would flip some milliseconds early
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


# An instant is spelled alike for all units of a market and day, hence the caches.
@lru_cache(maxsize=8192)
def _floor_ms(text: str) -> int:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return (instant - _EPOCH) // _MILLISECOND


@lru_cache(maxsize=8192)
def _ceil_ms(text: str) -> int:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return -((_EPOCH - instant) // _MILLISECOND)


_FIELDS = (
    "version",
    "id",
    "unit",
    "cluster",
    "experiment",
    "experiment_version",
    "arm",
    "planned_arm",
    "price_minor",
    "currency",
    "effective_at",
    "expires_at",
    "decided_at",
    "epoch",
    "sequence",
    "reason",
)
_pick = itemgetter(*_FIELDS)
_NONE = type(None)
_TYPES: tuple[tuple[type, ...], ...] = (
    (int,),
    (str,),
    (str,),
    (str,),
    (str,),
    (int,),
    (str,),
    (str,),
    (int, _NONE),
    (str,),
    (str,),
    (str, _NONE),
    (str,),
    (int,),
    (int,),
    (dict,),
)
#: every admitted row of types; one set look-up replaces sixteen checks
_SHAPES = frozenset(
    tuple(types[0] if len(types) == 1 else chosen[index] for index, types in enumerate(_TYPES))
    for chosen in ({8: price, 11: lease} for price in _TYPES[8] for lease in _TYPES[11])
)


#: what an assignment may say: a record beyond it is unreadable, and evicts nothing. A price in minor units; epochs and
#: sequence numbers as a double holds them; instants from 1970-01-02 on and before 2200; bytes of a record
MOST_MINOR, MOST_ORDINAL, LONGEST_RECORD = 10**12, 2**53, 64 * 1024
EARLIEST_MS, LATEST_MS = 86_400_000, 7_258_118_400_000
#: characters of a name, and bytes of an instant, however it is spelled
LONGEST_NAME, LONGEST_INSTANT = 200, 40

#: the instant by which the brokers must have a record
ANNOUNCE_BY = "ce_announceby"
#: `ConsumerRecord.timestamp_type` where the broker's clock stamped it
LOG_APPEND_TIME = 1


def void(headers: Sequence[tuple[str, bytes | None]], stamp_ms: int, timestamp_type: int) -> bool:
    """Whether the brokers had a record only when it was too late: then no reader takes it, since another one may have
    it later still, and two prices would be shown. Never where they do not stamp what they append."""
    if timestamp_type != LOG_APPEND_TIME:
        return False
    for name, value in headers:
        if name == ANNOUNCE_BY:
            return value is not None and len(value) <= LONGEST_INSTANT and stamp_ms >= _deadline_ms(value)
    return False


@lru_cache(maxsize=1024)
def _deadline_ms(spelled: bytes) -> float:
    try:
        return _ceil_ms(spelled.decode())
    except (ValueError, OverflowError):  # not ours: it binds nobody
        return float("inf")


def read(key: bytes | None, value: bytes) -> Assignment:
    """The assignment in a record of the topic; raises Unreadable with what is wrong with it."""
    if len(value) > LONGEST_RECORD:
        raise Unreadable(f"{len(value)} bytes, where an assignment has at most {LONGEST_RECORD}")
    record = as_spelled(value) or _read(value)
    if key is not None and key != record.unit.encode(errors="replace"):
        raise Unreadable(f"the key {key!r:.80} is not the unit {record.unit!r:.80}")
    _check_bounds(record)
    return record


def _check_bounds(record: Assignment) -> None:
    """Raise Unreadable for what no decision can be: it would be shown, or outlive every later one."""
    price, start, end = record.price_minor, record.effective_at_ms, record.expires_at_ms
    if price is not None and not 0 <= price <= MOST_MINOR:
        raise Unreadable(f"price_minor = {price!r:.40} is not between 0 and {MOST_MINOR}")
    if not (0 <= record.epoch <= MOST_ORDINAL and 0 <= record.sequence <= MOST_ORDINAL):
        raise Unreadable(f"epoch {record.epoch!r:.40}, sequence {record.sequence!r:.40}: not in 0 to {MOST_ORDINAL}")
    if not (EARLIEST_MS <= start < LATEST_MS and (end is None or EARLIEST_MS <= end < LATEST_MS)):
        raise Unreadable("effective_at or expires_at does not lie between 1970-01-02 and 2200-01-01")
    if not EARLIEST_MS <= record.decided_at_ms < LATEST_MS:
        raise Unreadable("decided_at does not lie between 1970-01-02 and 2200-01-01")
    if max(len(record.id), len(record.unit), len(record.arm)) > LONGEST_NAME:
        raise Unreadable(f"id, unit or arm is longer than {LONGEST_NAME} characters")
    if not record.unit.isascii():
        raise Unreadable(f"unit = {record.unit!a:.80} is not ASCII")


_TEXT, _WHOLE = r'"[^"\\\x00-\x1f]*+"', r"(?:0|[1-9][0-9]{0,15}+)"
#: a record as Flipside spells it: fields in this order, nothing between them, no escapes. What the records of a market
#: and a day have in common is one group each.
_SPELLING = re.compile(
    rf'\{{"version":1,"id":({_TEXT}),"unit":({_TEXT}),"cluster":({_TEXT}),'
    rf'("experiment":{_TEXT},"experiment_version":{_WHOLE}),'
    rf'"design_hash":{_TEXT},"block":-?{_WHOLE},"day":{_TEXT},"arm":({_TEXT}),"planned_arm":({_TEXT}),'
    rf'"price_minor":(null|-?{_WHOLE}),'
    rf'("currency":{_TEXT},"effective_at":{_TEXT},"expires_at":(?:null|{_TEXT}),"decided_at":{_TEXT},'
    rf'"epoch":{_WHOLE}),"sequence":({_WHOLE}),("reason":\{{"code":{_TEXT},"detail":{_TEXT}\}})\}}',
)


def as_spelled(value: bytes) -> Assignment | None:
    """The assignment in a record that is spelled as Flipside does: a third of the time. None for any other."""
    try:
        spelled = _SPELLING.fullmatch(value.decode())
        if spelled is None:
            return None
        id_, unit, cluster, experiment, arm, planned_arm, price, terms, sequence, reason = spelled.groups()
        currency, effective_at_ms, expires_at_ms, decided_at_ms, epoch = _terms(terms)
        return Assignment(
            id_[1:-1],
            unit[1:-1],
            intern(cluster[1:-1]),
            *_experiment(experiment),
            intern(arm[1:-1]),
            intern(planned_arm[1:-1]),
            None if price == "null" else int(price),
            currency,
            effective_at_ms,
            expires_at_ms,
            decided_at_ms,
            epoch,
            int(sequence),
            _reason(reason),
        )
    except (ValueError, OverflowError):  # `_read` says what is wrong
        return None


@lru_cache(maxsize=8192)
def _experiment(spelled: str) -> tuple[str, int]:
    name, version = json.loads(f"{{{spelled}}}").values()
    return intern(name), version


@lru_cache(maxsize=8192)
def _terms(spelled: str) -> tuple[str, int, int | None, int, int]:
    currency, effective_at, expires_at, decided_at, epoch = json.loads(f"{{{spelled}}}").values()
    lease = None if expires_at is None else _floor_ms(expires_at)
    return intern(currency), _ceil_ms(effective_at), lease, _floor_ms(decided_at), epoch


@lru_cache(maxsize=1024)
def _reason(spelled: str) -> str:
    return intern(json.loads(f"{{{spelled}}}")["reason"]["code"])


def _read(value: bytes) -> Assignment:
    """The same of any JSON."""
    try:
        body = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"no JSON: {error!s:.200}") from None
    if type(body) is not dict:
        raise Unreadable(f"a {type(body).__name__}, where an object is expected")
    try:
        picked = _pick(body)
    except KeyError:
        _check_version(body)
        raise Unreadable(f"fields missing: {', '.join(name for name in _FIELDS if name not in body)}") from None
    if tuple(map(type, picked)) not in _SHAPES or picked[0] != VERSION:
        _check_version(body)
        raise Unreadable(_first_wrong_type(picked))
    (_, id_, unit, cluster, experiment, experiment_version, arm, planned_arm, price_minor, currency) = picked[:10]
    (effective_at, expires_at, decided_at, epoch, sequence, reason) = picked[10:]
    if type(reason.get("code")) is not str:
        raise Unreadable(f"reason = {reason!r:.80} has no code")
    try:
        return Assignment(
            id_,
            unit,
            intern(cluster),
            intern(experiment),
            experiment_version,
            intern(arm),
            intern(planned_arm),
            price_minor,
            intern(currency),
            _ceil_ms(effective_at),
            None if expires_at is None else _floor_ms(expires_at),
            _floor_ms(decided_at),
            epoch,
            sequence,
            intern(reason["code"]),
        )
    except (ValueError, OverflowError) as error:
        raise Unreadable(f"no instant: {error!s:.200}") from None


def _check_version(body: dict[str, Any]) -> None:
    if body.get("version") != VERSION:
        found = body.get("version")
        raise Unreadable(f"version = {found!r:.80}: this client reads version {VERSION}; update flipside-client")


def _first_wrong_type(picked: tuple[Any, ...]) -> str:
    for name, value, types in zip(_FIELDS, picked, _TYPES, strict=True):
        if type(value) not in types:
            return f"{name} = {value!r:.80} is no {' or '.join(known.__name__ for known in types)}"
    raise AssertionError(picked)
