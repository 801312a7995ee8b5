"""What a run was, in numbers: faults, takeovers, how late anything was, and the verdict of every rule."""

import json
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.chaos.evidence.evidence import Evidence, instant, of_kind
from tests.chaos.rules import RULES
from tests.chaos.rules.reading import first_said, shard_of

SHOWN = 10


def machine() -> str:
    """The processor, how many of it, and how much else they had to do in the last quarter of an hour."""
    text = Path("/proc/cpuinfo").read_text()
    model = next((line.partition(": ")[2] for line in text.splitlines() if line.startswith("model name")), "unknown")
    return f"{os.cpu_count()} x {model}, Python {platform.python_version()}, load {os.getloadavg()[2]:.1f}"


def quantile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that so many are not above."""
    if not values:
        return None
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def takeovers(evidence: Evidence, lease: float) -> list[float]:
    """Real seconds from the loss of a worker to another owner of each shard it held.

    Away for one lease and a half: after a shorter time it may not have been missed, and keeps its shards.
    """
    owners: dict[int, list[tuple[float, str]]] = {}
    for entry in sorted(evidence.ticks, key=lambda e: e.real):
        if entry.body is not None and entry.body.get("kind") == "ownership":
            owners.setdefault(entry.partition, []).append((entry.real, entry.body["worker"]))
    found = []
    for fault in evidence.faults:
        if "worker SIG" not in fault.what or fault.ended - fault.began < 1.5 * lease:
            continue
        for history in owners.values():
            before = [worker for real, worker in history if real < fault.began]
            after = [(real, worker) for real, worker in history if real >= fault.began]
            if before and before[-1] == fault.target and after:
                found.append(after[0][0] - fault.began)
    return found


def announced(evidence: Evidence) -> list[float]:
    """Real seconds from the instant that a market's day was due to be announced to its last assignment on the topic."""
    lead = evidence.experiment["lead_minutes"] * 60_000
    last: dict[tuple[str, str], float] = {}
    for entry in first_said(evidence.assignments).values():
        assert entry.body is not None
        due = evidence.pace.real(instant(entry.body["effective_at"]) - lead)
        place = (entry.body["unit"].split("/")[0], entry.body["day"])
        last[place] = max(last.get(place, 0.0), entry.real - due)
    return list(last.values())


def summary(evidence: Evidence, verdict: Mapping[str, Sequence[str]], lease: float, seed: int) -> dict[str, Any]:
    """The run as one JSON object."""
    taken, delays, began = takeovers(evidence, lease), announced(evidence), evidence.pace.started
    assignments = first_said(evidence.log)
    bodies = [entry.body for entry in assignments.values() if entry.body is not None]
    undelivered = of_kind(evidence.log, "undelivered")
    looks = [look for look in evidence.looks if look.client != "cold"]
    return {
        "seed": seed,
        "date": datetime.fromtimestamp(began, UTC).date().isoformat(),
        "machine": machine(),
        "seconds_of_faults": round(max((f.ended - began for f in evidence.faults), default=0.0), 1),
        "faults": dict(sorted(Counter(fault.what for fault in evidence.faults).items())),
        "leases_of_stops": sorted(fault.leases for fault in evidence.faults if "SIGSTOP" in fault.what),
        "takeovers": {"count": len(taken), "p50": quantile(taken, 0.5), "p99": quantile(taken, 0.99)},
        "announcement_delay": {
            "p50": quantile(delays, 0.5), "p99": quantile(delays, 0.99), "max": max(delays, default=None)
        },
        "rebuilds": dict(sorted(Counter(why for why, _ in evidence.rebuilds).items())),
        "longest_rebuild": max((seconds for _, seconds in evidence.rebuilds), default=None),
        "market_days": len(evidence.planned()),
        "market_days_undelivered": len(undelivered),
        "decisions": len(assignments),
        "epochs": len({(shard_of(b["unit"], evidence.partitions), b["epoch"]) for b in bodies}),
        "sales": len(evidence.sales),
        "looks": len(looks),
        "cold_starts": len(evidence.looks) - len(looks),
        "lapsed": sum(look.why.count("l") for look in looks),
        "broken": {name: len(cases) for name, cases in verdict.items()},
        "cases": {name: list(cases[:SHOWN]) for name, cases in verdict.items() if cases},
    }  # fmt: skip


def write(found: Mapping[str, Any], verdict: Mapping[str, Sequence[str]], folder: Path) -> None:
    """`report.json` with every case that breaks a rule, and `report.txt` with the first ones."""
    (folder / "report.json").write_text(json.dumps({**found, "cases": {n: list(c) for n, c in verdict.items() if c}}))
    (folder / "report.txt").write_text(table(found) + "\n")


def spelled(number: float | None) -> str:
    return "-" if number is None else f"{number:.2f}"


def table(found: Mapping[str, Any]) -> str:
    """The same for people."""
    faults, taken, delay = found["faults"], found["takeovers"], found["announcement_delay"]
    width = max([len(what) for what in faults] + [len(name) for name in RULES] + [24])
    title = f"seed {found['seed']}, {found['seconds_of_faults']:.0f} s of faults, {found['date']}"
    lines = [title, found["machine"], "", f"{'fault':<{width}}  times"]
    lines += [f"{what:<{width}}  {times:>5}" for what, times in faults.items()]
    lines += ["", f"{'measured':<{width}}"]
    for what, value in (
        ("market-days judged", found["market_days"]),
        ("  reported undelivered", found["market_days_undelivered"]),
        ("decisions", found["decisions"]),
        ("owners that decided", found["epochs"]),
        ("sales", found["sales"]),
        ("looks of clients", found["looks"]),
        ("cold starts of clients", found["cold_starts"]),
        ("rebuilds", sum(found["rebuilds"].values())),
        ("  seconds, longest", spelled(found["longest_rebuild"])),
        ("takeovers", taken["count"]),
        ("  seconds, p50", spelled(taken["p50"])),
        ("  seconds, p99", spelled(taken["p99"])),
        ("announced after due, p50", spelled(delay["p50"])),
        ("  seconds, p99", spelled(delay["p99"])),
        ("  seconds, longest", spelled(delay["max"])),
    ):
        lines.append(f"{what:<{width}}  {value:>5}")
    lines += ["", f"{'rule':<{width}}  broken"]
    lines += [f"{name:<{width}}  {times:>6}" for name, times in found["broken"].items()]
    for name, cases in found["cases"].items():
        lines += ["", f"{name}:", *(f"  {case}" for case in cases)]
    return "\n".join(lines)
