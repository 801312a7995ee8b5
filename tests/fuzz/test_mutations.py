"""The generator's own memory is bounded: otherwise a long run measures it and not the readers."""

from tests.fuzz.mutations import CORPUS, Mutations
from tests.streams.inputs.arrivals import Arrived

GOOD = b'{"kind":"flipside.tick.v1","at":"2026-03-02T12:00:00Z"}'


def test_outcomes_that_differ_in_values_and_unknown_names_are_one() -> None:
    made = Mutations(GOOD, None, ["1"], 1)
    for number in range(50_000):
        for reason in (f"name{number}: Extra inputs are not permitted", f"at: Input should be {number}"):
            made.outcome(Arrived(b"%d" % number, 7, 1, 0), f"flipside.tick.v1: {reason}")
    assert made._corpus == [GOOD, b"0", b"0"]


def test_what_is_kept_stays_below_its_bounds() -> None:
    made = Mutations(GOOD, None, ["1"], 1)
    seen = len(made._seen)
    for number in range(20_000):
        rule = "".join("abcdefghij"[int(digit)] for digit in str(number))
        made.outcome(Arrived(b"x" * (number % 10_000), 7, 1, 0), f"flipside.tick.v1: at: {rule}")
    assert (len(made._corpus), len(made._seen)) == (CORPUS, seen)
    assert max(map(len, made._corpus)) < 3_000
