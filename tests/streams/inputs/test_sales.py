"""What becomes of each record of a batch, before a store has its say."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.messages.events import SaleCorrection
from streams.inputs.sales import IDS_PER_CALL, Counted, Rules, SaleBatch, fold, judge
from streams.kafka.dead_letters import Rejected
from tests.streams.inputs.arrivals import CATALOG, MONDAY, NOON, PARTITIONS, Arrived, sale

RULES = Rules(CATALOG, PARTITIONS)


def code_of(record: Arrived, rules: Rules = RULES) -> str:
    judged = judge(record, rules)
    assert isinstance(judged, Rejected), judged
    return judged.code


def total(batch: SaleBatch) -> Counter[tuple[str, int]]:
    found: Counter[tuple[str, int]] = Counter()
    for cell in batch.cells():
        found[cell.unit, cell.day] += cell.events
    return found


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (replace(sale(), value=None), "unreadable"),
        (replace(sale(), value=b""), "unreadable"),
        (replace(sale(), value=b"\xff\xfe{"), "unreadable"),
        (replace(sale(), value=b"[" * 100_000), "unreadable"),
        (sale(quantity="2"), "unreadable"),
        (sale(quantity=-1), "unreadable"),
        (sale(unknown=1), "unreadable"),
        (sale(occurred_at="2026-03-02T12:00:00"), "unreadable"),
        (sale(occurred_at="0001-01-01T00:00:00+14:00"), "unreadable"),
        (sale(occurred_at="9999-12-31T23:59:59Z"), "unreadable"),
        (sale(version=2, loyalty_card="new in 2"), "version"),
        (sale(version=0), "version"),
        (sale(unit="de/unknown"), "unknown-unit"),
        (sale(currency="USD"), "currency"),
        (replace(sale(), partition=(sale().partition + 1) % PARTITIONS), "partition"),
    ],
)
def test_what_cannot_be_counted_is_rejected_with_its_code(record: Arrived, code: str) -> None:
    assert code_of(record) == code


@pytest.mark.parametrize("deduplicate", [True, False])
def test_what_is_judged_by_a_few_comparisons_is_judged_as_one_by_one(deduplicate: bool) -> None:
    """The usual sales are decided apart from the others, with the same answer; here kinds of readable ones mix."""
    rules = replace(RULES, future_ms=300_000, sealed={"de": MONDAY - 1}, closed={"de": MONDAY}, deduplicate=deduplicate)
    kinds = [
        sale(id="usual"), sale(id="next day", at=NOON + timedelta(hours=20)),
        sale(id="ahead", at=NOON + timedelta(hours=30)),
        sale(id="sealed", at=NOON - timedelta(days=2)), sale(unit="de/unknown"), sale(currency="USD"),
        replace(sale(), partition=(sale().partition + 1) % PARTITIONS), sale(occurred_at="9999-12-31T23:59:59Z"),
        sale(id="abroad", occurred_at="2026-03-02T23:30:00+14:00"), sale(occurred_at="2026-02-30T12:00:00Z"),
    ]  # fmt: skip
    records = [replace(record, offset=place) for place, record in enumerate(kinds)]
    batch, used = fold(records, 0, rules)
    assert used == len(records)
    judged = [judge(record, rules) for record in records]
    assert batch.counted == [one for one in judged if isinstance(one, Counted)]
    assert batch.corrections == [one for one in judged if isinstance(one, SaleCorrection)]
    assert batch.rejected == [one for one in judged if isinstance(one, Rejected)]
    assert batch.counted
    assert batch.corrections
    assert batch.rejected


#: around the ends of two months, days that never were among them; the sales arrive on Monday, the 2nd of March, at noon
DAYS = ("2026-02-27", "2026-02-28", "2026-02-29", "2026-02-31", "2026-03-01", "2026-03-02", "2026-03-31", "2026-04-01")
TIMES = ("00:00:00", "22:59:59", "23:00:00", "23:59:59", "12:04:59", "12:05:00", "11:30:00")
TEXTS = st.tuples(
    st.sampled_from(DAYS), st.just("T"), st.sampled_from(TIMES), st.sampled_from(("", ".000", ".000001", ".9")),
    st.sampled_from(("Z", "Z", "Z", "+00:00", "-00:30", "+01:00", "+14:00")),
).map("".join)  # fmt: skip


@given(st.lists(TEXTS, min_size=1, max_size=30), st.sampled_from([300_000, None]))
def test_an_instant_compared_as_text_lies_on_the_day_on_which_it_lies_when_read(
    texts: list[str], future_ms: int | None
) -> None:
    rules = replace(RULES, future_ms=future_ms, sealed={"de": MONDAY - 3}, closed={"de": MONDAY - 3})
    kinds = [sale(id=str(place), occurred_at=text) for place, text in enumerate(texts)]
    records = [replace(record, offset=place) for place, record in enumerate(kinds)]
    batch, _ = fold(records, 0, rules)
    judged = [judge(record, rules) for record in records]
    assert batch.counted == [one for one in judged if isinstance(one, Counted)]
    assert batch.corrections == [one for one in judged if isinstance(one, SaleCorrection)]
    assert batch.rejected == [one for one in judged if isinstance(one, Rejected)]


def test_a_version_that_is_not_told_is_the_first() -> None:
    assert isinstance(judge(sale(version=...), RULES), Counted)


def test_a_sale_from_the_future_is_rejected_from_the_first_millisecond_past_the_tolerance() -> None:
    rules = replace(RULES, future_ms=300_000)
    assert isinstance(judge(sale(at=NOON + timedelta(seconds=300)), rules), Counted)
    assert code_of(sale(at=NOON + timedelta(seconds=300, milliseconds=1)), rules) == "future"
    assert isinstance(judge(sale(at=NOON + timedelta(days=400)), RULES), Counted), "no tolerance, no check"


def test_a_sale_of_a_sealed_day_is_a_correction_that_says_where_it_lies() -> None:
    rules = replace(RULES, sealed={"de": MONDAY}, closed={"de": MONDAY + 7})
    judged = judge(sale(offset=41), rules)
    assert isinstance(judged, SaleCorrection)
    assert (judged.sale.id, judged.day.toordinal(), judged.closed_through.toordinal()) == ("s1", MONDAY, MONDAY + 7)
    assert judged.offset == 41
    again = judge(sale(offset=99), rules)
    assert isinstance(again, SaleCorrection)
    assert again.id == judged.id, "a repetition has the same key"
    assert isinstance(judge(sale(at=NOON + timedelta(days=1)), rules), Counted)


def test_the_day_is_the_local_one() -> None:
    midnight_in_berlin = datetime(2026, 3, 2, 23, tzinfo=UTC)
    before, after = (judge(sale(at=midnight_in_berlin + timedelta(seconds=s)), RULES) for s in (-1, 0))
    assert isinstance(before, Counted)
    assert isinstance(after, Counted)
    assert after.place[1] == before.place[1] + 1 == MONDAY + 1


def test_an_id_that_comes_twice_in_a_batch_is_counted_once() -> None:
    records = [sale("a", offset=0), sale("b", offset=1), sale("a", offset=2), sale("a", "de/b", offset=3)]
    batch, _ = fold([r for r in records if r.partition == records[0].partition], 0, RULES)
    assert batch.doubled == 1
    assert total(batch)["de/a", MONDAY] == 2


def test_the_same_id_for_two_units_is_two_sales() -> None:
    assert judge(sale("a", "de/a"), RULES) != judge(sale("a", "de/b"), RULES)
    ids = {judged.id for u in CATALOG if isinstance(judged := judge(sale("a", u), RULES), Counted)}
    assert len(ids) == 2


def test_without_comparing_ids_everything_is_counted() -> None:
    rules = replace(RULES, deduplicate=False)
    batch, _ = fold([sale("a", offset=0), sale("a", offset=1)], 0, rules)
    assert (batch.doubled, batch.ids(), total(batch)["de/a", MONDAY]) == (0, [], 2)


def test_records_before_the_position_are_passed_over() -> None:
    """What was polled before a rebalance is handed over once more after it: it must not be counted twice."""
    records = [sale(str(k), offset=k) for k in range(10)]
    batch, used = fold(records, 7, replace(RULES, deduplicate=False))
    assert (batch.start, batch.end, used) == (7, 10, 10)
    assert total(batch)["de/a", MONDAY] == 3
    nothing, used = fold(records, 10, RULES)
    assert (nothing.start, nothing.end, nothing.counted, used) == (10, 10, [], 10)


def test_a_full_batch_ends_where_the_next_one_begins() -> None:
    records = [sale(str(k), offset=k) for k in range(IDS_PER_CALL + 5)]
    first, used = fold(records, 0, RULES)
    assert (used, first.end) == (IDS_PER_CALL, IDS_PER_CALL)
    second, rest = fold(records[used:], first.end, RULES)
    assert (rest, second.start, second.end) == (5, IDS_PER_CALL, IDS_PER_CALL + 5)


@given(st.data())
def test_whatever_is_taken_out_of_a_batch_the_rest_adds_up(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from("abcdef"), max_size=12))
    units = [u for u in CATALOG if sale(unit=u).partition == sale().partition]
    records = [sale(n, data.draw(st.sampled_from(units)), k, at=NOON + timedelta(days=k % 3))
               for k, n in enumerate(names)]  # fmt: skip
    batch, _ = fold(records, 0, RULES)
    assert len(batch.counted) + batch.doubled == len(records)
    gone = data.draw(st.sets(st.sampled_from(range(len(batch.counted))))) if batch.counted else set()
    left = batch.without(gone)
    assert sum(total(left).values()) == len(batch.counted) - len(gone)
    assert left.doubled == batch.doubled + len(gone)
    assert len(left.ids()) == len(left.counted)
    assert (left.start, left.end) == (batch.start, batch.end)
