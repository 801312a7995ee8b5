"""What clients show: one price, as announced, under a lease, and unchanged inside a blackout."""

from bisect import bisect_right
from collections import defaultdict

from tests.chaos.evidence.evidence import Evidence, Window, instant, of_kind
from tests.chaos.rules.reading import by_unit, lease, version

#: a client is given so long, in real seconds, to hear what was appended
HEARD_SECONDS = 1.5
#: a window binds what is decided so long after it was answered: clocks of workers may be two hours of the shop wrong
TOLD_HOURS = 3


def one_price(evidence: Evidence) -> list[str]:
    """Clients that look at the same instant see the same arm, but for those whose lease has lapsed."""
    seen: dict[tuple[int, int], dict[str, str]] = defaultdict(dict)
    for look in evidence.looks:
        for place, (arm, why) in enumerate(zip(look.arms, look.why, strict=True)):
            if why not in "l-":
                seen[look.t, place].setdefault(arm or evidence.control, f"{look.client} life {look.life}")
    return [
        f"{evidence.units[place]} at {t}: {', '.join(f'{arm} by {who}' for arm, who in arms.items())}"
        for (t, place), arms in seen.items()
        if len(arms) > 1
    ]


def as_announced(evidence: Evidence) -> list[str]:
    """A client shows what the topic says: of the records it may have heard, the newest that has begun, to its end."""
    said: dict[str, list[tuple[float, tuple[int, int], int, float, str]]] = defaultdict(list)
    for entry in sorted(of_kind(evidence.assignments, "assignment"), key=lambda e: e.real):
        assert entry.body is not None
        body = entry.body
        said[body["unit"]].append((entry.real, version(body), *lease(body), body["arm"]))
    known: dict[tuple[str, int, int], str] = {}

    def held(unit: str, t: int, heard: int) -> str:
        if (unit, t, heard) not in known:
            begun = [record for record in said[unit][:heard] if record[2] <= t]
            newest = max(begun, key=lambda record: record[1], default=None)
            known[unit, t, heard] = newest[4] if newest is not None and t < newest[3] else evidence.control
        return known[unit, t, heard]

    found = []
    times = {unit: [record[0] for record in records] for unit, records in said.items()}
    for look in evidence.looks:
        for place, unit in enumerate(evidence.units):
            if look.why[place] == "-":
                continue
            shown = look.arms[place] or evidence.control
            sure = bisect_right(times.get(unit, []), look.real - HEARD_SECONDS)
            perhaps = bisect_right(times.get(unit, []), look.real + 0.1)
            if all(shown != held(unit, look.t, heard) for heard in range(sure, perhaps + 1)):
                found.append(
                    f"{unit} at {look.t}: {look.client} shows {shown}, the topic says {held(unit, look.t, perhaps)}"
                )
    return found


def fail_safe(evidence: Evidence) -> list[str]:
    """An arm other than control is shown only under a lease that has begun and not ended."""
    leases: dict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)
    for entry in of_kind([*evidence.log, *evidence.assignments], "assignment"):
        assert entry.body is not None
        leases[entry.body["unit"], entry.body["arm"]].append(lease(entry.body))
    found = []
    for look in evidence.looks:
        for unit, arm in zip(evidence.units, look.arms, strict=True):
            if arm in (None, evidence.control):
                continue
            if not any(begins <= look.t < ends for begins, ends in leases[unit, str(arm)]):
                found.append(f"{unit} at {look.t}: {look.client} shows {arm} without a lease")
    return found


def blackout(evidence: Evidence) -> list[str]:
    """No arm changes inside a window that was answered in time: neither in the log nor in what clients show. But where
    nobody renewed a lease in time it ends, window or not: control with the reason `late` says no more than that."""
    found = []
    late: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for entry in of_kind(evidence.log, "assignment"):
        assert entry.body is not None
        if entry.body["reason"]["code"] == "late" and entry.body["arm"] == evidence.control:
            late[entry.body["unit"]].append(lease(entry.body))
    for unit, bodies in by_unit(evidence.log).items():
        before, until = evidence.control, float("inf")
        for body in sorted(bodies, key=lambda b: (instant(b["effective_at"]), version(b))):
            begins, ends = lease(body)
            held = before if until >= begins else evidence.control
            decided = evidence.pace.real(instant(body["decided_at"]))
            for window in _binding(evidence, unit, decided):
                if window.starts <= begins < window.ends and body["arm"] != held and (begins, ends) not in late[unit]:
                    found.append(f"{unit} at {begins}: {held} to {body['arm']} inside {window.id}")
            before, until = body["arm"], ends
    last: dict[tuple[str, int], tuple[int, str, str]] = {}
    lead = evidence.experiment["lead_minutes"] * 60_000
    for look in evidence.looks:
        if look.client == "cold":
            continue
        for place, unit in enumerate(evidence.units):
            t, arm, why = last.get((look.client, place), (look.t, None, "-"))
            shown = look.arms[place] or evidence.control
            last[look.client, place] = (look.t, shown, look.why[place])
            if arm in (None, shown) or "l" in (why, look.why[place]) or "-" in (why, look.why[place]):
                continue
            if shown == evidence.control and any(begins <= look.t < ends for begins, ends in late[unit]):
                continue
            # What was decided before the answer is not taken back: the window must have been told a lead before.
            for window in _binding(evidence, unit, evidence.pace.real(look.t - lead)):
                if window.starts < t and look.t < window.ends:
                    found.append(f"{unit} at {look.t}: {look.client} went from {arm} to {shown} inside {window.id}")
    return found


def _binding(evidence: Evidence, unit: str, decided: float) -> list[Window]:
    slack = TOLD_HOURS * 3600 / evidence.pace.rate
    return [window for window in evidence.windows if window.covers(unit) and window.told + slack < decided]
