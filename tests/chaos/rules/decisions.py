"""What workers decide: every planned day once, ahead of time, at a boundary, by one writer, as the design says."""

import hashlib
from collections.abc import Mapping
from datetime import date
from fractions import Fraction
from math import floor
from typing import Any

from tests.chaos.evidence.evidence import Evidence, all_of_kind, announce_by, instant, of_kind
from tests.chaos.rules.reading import by_unit, each_said, first_said, lease, shard_of, version

#: real instants are spelled in milliseconds
SPELLING_SECONDS = 0.002
#: faults that take from Redis what it held
LOSSES = frozenset({"Redis flushed", "Redis restarted without its file", "Redis restored"})


def planned(evidence: Evidence) -> list[str]:
    """Every unit of every planned day is decided, or reported as undelivered or withheld; never both."""
    decided = {(b["unit"], b["day"]) for bodies in by_unit(evidence.log).values() for b in bodies}
    reported: set[tuple[str, str]] = set()
    for entry in of_kind(evidence.log, "undelivered"):
        assert entry.body is not None
        first, last = (date.fromisoformat(entry.body[name]).toordinal() for name in ("first_day", "last_day"))
        reported |= {(entry.body["market"], str(date.fromordinal(day))) for day in range(first, last + 1)}
    withheld = {(u, e.body["day"]) for e in of_kind(evidence.log, "withheld") if e.body for u in e.body["units"]}
    found = []
    for market, day, _ in evidence.planned():
        for unit in evidence.units:
            if unit.split("/")[0] != market:
                continue
            said = [(unit, str(day)) in decided, (market, str(day)) in reported, (unit, str(day)) in withheld]
            if not any(said):
                found.append(f"{unit} on {day}: neither decided nor reported")
            elif said[0] and said[1]:
                found.append(f"{unit} on {day}: decided, and reported as undelivered")
    return found


def at_rest(evidence: Evidence) -> list[str]:
    """Once nothing more is done to it, the system catches up with everything."""
    return [evidence.unrest] if evidence.unrest else []


def ahead(evidence: Evidence) -> list[str]:
    """Whatever is not control is on the topic before it takes effect, or void if it is not, or no news when it comes:
    somebody who was away says what has been replaced by a newer version that was there before."""
    found, versions = [], by_unit(evidence.assignments)
    for entry in all_of_kind(evidence.assignments, "assignment"):
        assert entry.body is not None
        begins, by = evidence.pace.real(instant(entry.body["effective_at"])), announce_by(entry)
        if by != float("inf") and abs(by - begins) > SPELLING_SECONDS:
            found.append(f"{entry.body['id']}: to be announced by {by:.3f}, takes effect at {begins:.3f}")
    appended = {identity: entry.real for identity, entry in first_said(evidence.assignments).items()}
    for (identity, *_), entry in each_said(evidence.assignments).items():
        assert entry.body is not None
        body = entry.body
        late = entry.real - evidence.pace.real(instant(body["effective_at"]))
        if late <= 0 or body["arm"] == evidence.control:
            continue
        replaced = any(
            version(other) > version(body)
            and other["effective_at"] == body["effective_at"]
            and appended[other["id"]] < entry.real
            for other in versions[body["unit"]]
        )
        if not replaced:
            found.append(f"{identity}: appended {late:.2f} s after it took effect")
    return found


def boundary(evidence: Evidence) -> list[str]:
    """An arm begins at the first instant of its local day, and its lease ends with a day."""
    found = []
    for identity, entry in first_said(evidence.log).items():
        assert entry.body is not None
        market = entry.body["unit"].split("/")[0]
        begins, ends = lease(entry.body)
        if begins != evidence.midnight(market, date.fromisoformat(entry.body["day"])):
            found.append(f"{identity}: begins at {entry.body['effective_at']}, no midnight of {market}")
        if ends != float("inf") and ends != evidence.midnight(market, evidence.day_of(market, int(ends))):
            found.append(f"{identity}: ends at {entry.body['expires_at']}, no midnight of {market}")
    return found


def once(evidence: Evidence) -> list[str]:
    """A decision that is said again is said the same, but where Redis lost it before it was out and another owner made
    it anew; a unit has one decision a day, and at most one newer one that has put control in its place because it was
    late; a version has one record."""
    found = []
    by_id: dict[str, Mapping[str, Any]] = {}
    by_day: dict[tuple[str, str, bool], Mapping[str, Any]] = {}
    by_version: dict[tuple[int, int, int], str] = {}
    for entry in of_kind([*evidence.log, *evidence.assignments], "assignment"):
        assert entry.body is not None
        body, identity = entry.body, entry.body["id"]
        if by_id.setdefault(identity, body) != body and not _lost_between(evidence, by_id[identity], body):
            found.append(f"{identity} is said twice, differently: {version(by_id[identity])} and {version(body)}")
        late = body["reason"]["code"] == "late"
        if by_day.setdefault((body["unit"], body["day"], late), body)["id"] != identity:
            found.append(f"{body['unit']} has two decisions for {body['day']}")
        replaced = by_day.get((body["unit"], body["day"], not late), body)
        if (version(body) > version(replaced)) != late and replaced is not body:
            found.append(f"{body['unit']} has a decision for {body['day']} that is newer than the one that it was late")
        place = (shard_of(body["unit"], evidence.partitions), *version(body))
        if by_version.setdefault(place, identity) != identity:
            found.append(f"version {place} names both {by_version[place]} and {identity}")
    return found


def _lost_between(evidence: Evidence, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether Redis lost what it held between two decisions of two owners."""
    first, last = sorted(evidence.pace.real(instant(body["decided_at"])) for body in (one, other))
    losses = [fault for fault in evidence.faults if fault.what in LOSSES]
    return one["epoch"] != other["epoch"] and any(loss.began <= last and first <= loss.ended for loss in losses)


def one_writer(evidence: Evidence) -> list[str]:
    """Epochs are offsets of ownership records; nobody writes who has been succeeded."""
    owned = {
        (entry.partition, entry.offset) for entry in evidence.ticks if (entry.body or {}).get("kind") == "ownership"
    }
    found = []
    highest: dict[int, int] = {}
    for write in evidence.writes:
        if write.epoch < highest.get(write.shard, -1):
            found.append(f"shard {write.shard}: {write.what} by epoch {write.epoch} after {highest[write.shard]}")
        highest[write.shard] = max(write.epoch, highest.get(write.shard, -1))
    reached: dict[int, tuple[int, int]] = {}
    entries = [e.body for e in first_said(evidence.log).values() if e.body is not None]
    for body in sorted(entries, key=lambda b: b["sequence"]):
        shard = shard_of(body["unit"], evidence.partitions)
        if (shard, body["epoch"]) not in owned:
            found.append(f"{body['id']}: epoch {body['epoch']} of shard {shard} is no ownership record")
        before = reached.get(shard, (-1, -1))
        if body["epoch"] < before[0]:
            found.append(f"{body['id']}: written by epoch {body['epoch']} after {before}")
        reached[shard] = version(body)
    return found


def draw(evidence: Evidence) -> list[str]:
    """Every arm can be recomputed: `planned_arm` is the draw by hand, and another arm than that has its reason."""
    found, dealt = [], {}
    names = [arm["name"] for arm in evidence.experiment["arms"]]
    days = evidence.days()
    for identity, entry in first_said(evidence.log).items():
        assert entry.body is not None
        body, day = entry.body, date.fromisoformat(entry.body["day"])
        if body["reason"]["code"] == "released" or day not in days:
            continue
        block = days.index(day)
        if block not in dealt:
            dealt[block] = _deal(evidence, block, len(names))
        drawn = names[dealt[block][body["unit"]]]
        if body["planned_arm"] != drawn:
            found.append(f"{identity}: planned {body['planned_arm']}, the draw says {drawn}")
        if body["arm"] != body["planned_arm"] and body["reason"]["code"] == "scheduled":
            found.append(f"{identity}: {body['arm']} instead of {body['planned_arm']} for no reason")
    return found


def _score(*names: str | int) -> int:
    return int(hashlib.sha256("|".join(map(str, names)).encode()).hexdigest()[:16], 16)


def _deal(evidence: Evidence, block: int, arms: int) -> dict[str, int]:
    """Equal shares, by systematic sampling from a random start; the last arm goes to the lowest scores."""
    seed, name, units = evidence.experiment["seed"], evidence.experiment["name"], evidence.units
    start = Fraction(_score(seed, name, block), 2**64)
    marks = [floor(Fraction(len(units) * k, arms) + start) for k in range(arms + 1)]
    ordered = sorted(units, key=lambda unit: (_score(seed, name, block, unit), unit))
    slots = [arm for arm in range(arms) for _ in range(marks[arm + 1] - marks[arm])]
    return dict(zip(ordered, slots[::-1], strict=True))


def same_everywhere(evidence: Evidence) -> list[str]:
    """Log, topic of assignments and Redis tell the same; but for what was replaced, on both, before it took effect:
    the owner of that may have died while it published it all the same."""
    found = []
    logged, told = first_said(evidence.log), first_said(evidence.assignments)
    both = [body for identity in logged.keys() & told.keys() if (body := logged[identity].body) is not None]
    for identity in sorted(logged.keys() ^ told.keys()):
        body = (logged | told)[identity].body
        if body is None or not any(_replaces(newer, body) for newer in both):
            found.append(f"{identity} is only in the {'log' if identity in logged else 'topic of assignments'}")
    found += [
        f"{i} differs between log and topic" for i in logged.keys() & told.keys() if logged[i].body != told[i].body
    ]
    newest = {unit: bodies[-1] for unit, bodies in by_unit(evidence.log).items()}
    for unit in sorted(newest.keys() | evidence.states.keys()):
        said = newest.get(unit)
        expected = None if said is None else (said["arm"], *version(said))
        if evidence.states.get(unit) != expected:
            found.append(f"{unit}: Redis holds {evidence.states.get(unit)}, the log ends with {expected}")
    return found


def _replaces(newer: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    """Whether nobody was to show a decision, because another one of its day was there when it took effect."""
    same = all(newer[name] == body[name] for name in ("unit", "day"))
    return same and version(newer) > version(body) and instant(newer["effective_at"]) <= instant(body["effective_at"])
