"""Records that hypothesis and a seeded generator make of a good one of each kind, and what is measured of them."""

import gc
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from controller.definition.field_types import Message
from controller.messages.codec import encode
from tests.controller.messages.examples import AT, EXAMPLES
from tests.e2e.inputs.hostile_records import NUMBERS, TEXTS, YEARS
from tests.fuzz.mutations import Mutations
from tests.fuzz.ways_in import WayIn
from tests.streams.inputs.arrivals import Arrived

#: in one go of hypothesis, which keeps what it has tried: its own memory is no growth of ours
EXAMPLES_AT_ONCE = 100
#: batches of the seeded generator beside each go of hypothesis
MUTATED_AT_ONCE = 3000
#: seconds of this process' CPU for one batch; measured again where it took longer, since a collection may fall into it
LONGEST_SECONDS = 0.1
MOST_GROWTH_MB = 20.0
RECORDS_A_BATCH = 4

#: what may stand in the place of any value, as it is spelled in JSON
SPELLED = tuple(
    dict.fromkeys(
        [
            *NUMBERS.values(), *(text for text in TEXTS.values() if len(text) < 10_000),
            *(json.dumps(f"{year}-12-31T23:59:59-14:00") for year in YEARS), '"m0/p1"', '"de/a"', "{}", "[{}]", "true",
            '"2026-03-02T12:00:00+00:00"', '"2026-03-02T12:00:00Z"', '"EUR"', "[[[]]]", '{"a":{}}', "1e5", "-0", "1.0",
        ]
    )
)  # fmt: skip
HEADER = st.tuples(
    st.binary(max_size=12).map(lambda name: name.decode(errors="surrogateescape")), st.none() | st.binary(max_size=12)
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run of one kind was."""

    kind: str
    #: on the clock
    seconds: float
    #: of this process' CPU, where other work ran beside it
    cpu_seconds: float
    records: int
    #: of these
    messages: int
    slowest_ms: float
    growth_mb: float
    #: of it in the second half of the time: what levels off has none
    later_mb: float
    #: exceptions, differences between paths, and what took too long; each once, shortened
    failures: tuple[str, ...]


def json_values(kind: type[Message]) -> st.SearchStrategy[bytes]:
    """JSON near a good message of a kind: fields replaced, left out, doubled, added; texts cut and bytes changed."""
    body = json.loads(encode(EXAMPLES[kind][0], "fuzz", AT).value or b"{}")
    names = sorted(body)
    change = st.tuples(
        st.sampled_from(names),
        st.sampled_from(("replace", "drop", "double", "inside")),
        st.sampled_from(SPELLED) | ANYTHING.map(_spelled),
    )

    def changed(changes: list[tuple[str, str, str]], added: dict[str, Any], spaced: bool) -> str:
        fields = {name: [_spelled(body[name])] for name in names}
        for name, what, spelled in changes:
            if what == "drop":
                fields.pop(name, None)
            elif what == "inside":
                fields[name] = [f"[{spelled}]" if isinstance(body[name], list) else f'{{"x":{spelled}}}']
            else:
                fields[name] = [spelled] if what == "replace" else [*fields.get(name, []), spelled]
        for name, value in added.items():
            fields[name] = [_spelled(value)]
        gap = ", " if spaced else ","
        return "{" + gap.join(f"{json.dumps(n)}:{v}" for n, values in fields.items() for v in values) + "}"

    whole = st.builds(
        changed,
        st.lists(change, max_size=3),
        st.dictionaries(st.text(max_size=6), ANYTHING, max_size=1),
        st.booleans(),
    ).map(lambda text: text.encode(errors="surrogatepass"))
    cut = st.tuples(whole, st.integers(0, 400)).map(lambda pair: pair[0][: pair[1]])
    patched = st.tuples(whole, st.integers(0, 400), st.binary(max_size=3)).map(
        lambda three: three[0][: three[1]] + three[2] + three[0][three[1] + len(three[2]) :]
    )
    glued = st.tuples(whole, whole).map(b",".join)
    return whole | whole | cut | patched | glued | st.binary(max_size=40)


def batches(kind: type[Message]) -> st.SearchStrategy[list[Arrived]]:
    """Some records of one topic, most of them near a good one."""
    record = st.builds(
        lambda value, key, headers, stamp: Arrived(value, 7, 1, stamp, key=key, headers=tuple(headers)),
        st.none() | json_values(kind),
        st.sampled_from([b"de/a", b"m0/p1", None, b"\xff"]) | st.binary(max_size=8),
        st.lists(HEADER, max_size=2),
        st.sampled_from([int(AT.timestamp() * 1000), 0, -1, -(7 * 10**13), 2**62]),
    )
    return st.lists(record, min_size=1, max_size=RECORDS_A_BATCH)


def fuzz(
    way: WayIn,
    budget_seconds: float,
    least_records: int = 0,
    first_seed: int = 1,
    at_once: int = EXAMPLES_AT_ONCE,
    mutated_at_once: int = MUTATED_AT_ONCE,
) -> Measured:
    """Let records of a kind in for so many seconds, and at least so many records. Failures are collected, not raised.

    The same seeds make the same records, as far as the same time reaches.
    """
    failures: dict[str, None] = {}
    records = messages = 0
    slowest = 0.0

    def look(some: list[Arrived]) -> list[object]:
        nonlocal records, messages, slowest
        took, found = timed(way.told, some, failures)
        for _ in range(2):
            if took <= LONGEST_SECONDS:
                break
            took = min(took, timed(way.told, some, failures)[0])
        if took > LONGEST_SECONDS:
            failures[f"{took * 1000:.0f} ms: {some!r:.1000}"] = None
        records, slowest = records + len(some), max(slowest, took)
        messages += sum(isinstance(one, Message) for one in found)
        return found

    began, began_cpu = time.monotonic(), time.process_time()
    number, base, half, reached = first_seed, 0.0, 0.0, 0.0

    def share() -> float:
        on_clock = (time.monotonic() - began) / budget_seconds if budget_seconds else 1.0
        return min(on_clock, records / least_records if least_records else 1.0)

    strategy = batches(way.kind)
    good = encode(EXAMPLES[way.kind][0], "fuzz", AT)
    mutations = Mutations(good.value or b"{}", good.key, SPELLED, first_seed)
    while share() < 1.0 or number == first_seed:
        run_once(strategy, look, number, at_once)
        for some in mutations.batches(mutated_at_once, RECORDS_A_BATCH):
            for record, what in zip(some, look(some), strict=False):
                mutations.outcome(record, str(what) if isinstance(what, Exception) else "a message")
        number += 1
        reached = resident_mb()
        # The first goes fill caches: of compiled models, of spelled instants.
        if number <= first_seed + 3 or not base:
            base = reached
        if not half or share() <= 0.5:
            half = reached
    growth = reached - base
    if growth > MOST_GROWTH_MB:
        failures[f"{growth:.1f} MB more than after the first goes"] = None
    return Measured(
        way.kind.__name__, round(time.monotonic() - began, 1), round(time.process_time() - began_cpu, 1), records,
        messages, round(slowest * 1000, 2), round(growth, 1), round(reached - half, 1), tuple(failures),
    )  # fmt: skip


def timed(
    told: Callable[[Sequence[Arrived]], list[object]], some: list[Arrived], failures: dict[str, None]
) -> tuple[float, list[object]]:
    """CPU seconds, and what the records are; an exception is a failure with the records that led to it."""
    began = time.process_time()
    found: list[object] = []
    try:
        found = told(some)
    except Exception as error:  # noqa: BLE001 - any is what is looked for
        failures[f"{type(error).__name__}: {error!s:.600} of {some!r:.1000}"] = None
    return time.process_time() - began, found


def run_once(
    strategy: st.SearchStrategy[list[Arrived]], look: Callable[[list[Arrived]], object], number: int, at_once: int
) -> None:
    @seed(number)
    @settings(
        max_examples=at_once, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def once(some: list[Arrived]) -> None:
        look(some)

    once()


def resident_mb() -> float:
    """What this process holds in memory, after a collection (from /proc, hence on Linux only)."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _spelled(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
