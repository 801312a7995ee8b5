"""Parts of a day's unsold units: each listed unit without a sale is in exactly one place, and stays in its part."""

from hypothesis import given
from hypothesis import strategies as st

from controller.outcomes.unsold_units import UNITS_PER_PART, counts, living, packed, parts_of, revived, unpacked

LISTED = [f"p{number}" for number in range(9)]
SOME = st.sets(st.sampled_from(LISTED))
PARTITIONS = st.sets(st.integers(0, 2))


def home(product: str) -> int:
    return int(product[1:]) % 3


@given(sold=SOME, closed=SOME, silent=PARTITIONS, more=SOME, still=PARTITIONS)
def test_late_sales_turn_silence_into_zeros_and_nothing_into_silence(
    sold: set[str], closed: set[str], silent: set[int], more: set[str], still: set[int]
) -> None:
    parts = parts_of(LISTED, sold, closed, silent, home)
    assert sorted(product for part in parts for product in part.products()) == sorted(set(LISTED) - sold)
    assert unpacked(packed(parts)) == parts
    after = revived(parts, sold | more, still, home, 4)
    ((before,), (now,)) = parts, after
    assert set(before.zeros) - (sold | more) <= set(now.zeros)
    assert set(now.missing.get("feed_silent", ())) <= set(before.missing.get("feed_silent", ()))
    assert set(now.missing.get("closed", ())) <= set(before.missing.get("closed", ()))
    assert now.revision in (0, 4)
    zeros, missing = counts(after, sold | more)
    assert zeros + sum(missing.values()) == len(set(LISTED) - sold - more)
    assert revived(after, sold | more, still, home, 9) == after, "the same word again moves nothing"


def test_partitions_that_live_are_those_with_a_sale_or_a_zero() -> None:
    parts = parts_of(["p0", "p1", "p2", "p3"], {"p3"}, {"p2"}, {1}, home)
    assert living(parts, {0: 7}, home) == {0: 7}
    assert living(parts, {}, home) == {0: 0}


def test_a_unit_stays_in_its_part_whatever_is_sold() -> None:
    listed = [f"p{number:05d}" for number in range(2 * UNITS_PER_PART + 1)]
    few = parts_of(listed, set(), set(), set(), lambda _: 0)
    many = parts_of(listed, set(listed[:UNITS_PER_PART]), set(), set(), lambda _: 0)
    assert [len(part.zeros) for part in few] == [UNITS_PER_PART, UNITS_PER_PART, 1]
    assert [part.zeros for part in many] == [(), *(part.zeros for part in few[1:])]
