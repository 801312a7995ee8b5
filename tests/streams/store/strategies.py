"""What a store is asked, drawn at random."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import strategies as st

from controller.decisions.decide import Flip
from controller.messages.inputs import Blackout
from tests.streams.builders import at, flip, window

CLUSTERS = {"de/a": "x", "de/b": "x", "de/c": "y"}
NAMES = {"global": ["", "all"], "market": ["de", "fr"], "cluster": ["x", "y", "de"], "unit": list(CLUSTERS)}
REMEMBER = timedelta(days=2)


days = st.integers(0, 7)


rarely = st.integers(0, 7).map(lambda k: k == 7)


@st.composite
def windows(draw: st.DrawFn) -> Blackout:
    kind = draw(st.sampled_from(sorted(NAMES)))
    starts = draw(days)
    id = draw(st.sampled_from(["a", "B", "ab", "Z", "a-", "a.b", "0"]))
    return window(id, kind, draw(st.sampled_from(NAMES[kind])), starts, starts + draw(st.integers(1, 4)))


@st.composite
def flips(draw: st.DrawFn) -> Flip:
    name, version = draw(st.sampled_from([("juice", 1), ("milk", 1), ("milk", 2)]))
    arms = draw(st.dictionaries(st.sampled_from(sorted(CLUSTERS)), st.integers(0, 2), min_size=1))
    day = draw(days)
    known = draw(st.booleans())
    urgent = draw(st.integers(0, 4)) == 0
    asked = flip(
        arms,
        day,
        name=name,
        version=version,
        days=draw(st.integers(1, 3)),
        release=draw(st.booleans() if urgent else rarely),
        clusters=CLUSTERS,
        prices=(100 + day, 90 + day if known else None, 110 + day),
        # One experiment's control bears the name of the other one's treatment.
        arm_names=("control", "low", "high") if name == "juice" else ("low", "control", "high"),
        design_hash="another" if draw(rarely) else "hash",
    )
    proposals = tuple(
        replace(p, arm=0, planned_arm=p.arm, detail="a limit", code=draw(st.sampled_from(["limit", "dropped"])))
        if p.arm and draw(rarely)
        else p
        for p in asked.proposals
    )
    return replace(asked, proposals=proposals, urgent=urgent, effective_at=at(day + urgent * 0.5))
