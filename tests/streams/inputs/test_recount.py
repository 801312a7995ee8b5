"""Counting again: a row of the panel and the sales after it add up, whatever became of the rest."""

from datetime import UTC, date, datetime, timedelta

from aiokafka import ConsumerRecord

from controller.messages.codec import encode
from controller.messages.events import PeriodClosed, SaleCorrection, UnitDay
from streams.inputs.published_sales import Published
from streams.inputs.recount import Recounted
from streams.inputs.sales import Counted, Rules, judge
from streams.kafka.dead_letters import Rejected, dead_letter
from tests.streams.inputs.arrivals import CATALOG, MONDAY, NOON, PARTITIONS, Arrived, sale

HERE = ("de/a", MONDAY)


def row(events: int, offset: int | None, revision: int = 0, cost: int | None = None) -> UnitDay:
    return UnitDay(
        unit="de/a", day=NOON.date(), starts_at=NOON, ends_at=NOON + timedelta(days=1), quantity=2 * events,
        revenue_minor=180 * events, cost_minor=cost, currency="EUR", events=events, revision=revision, offset=offset,
    )  # fmt: skip


def counted(id: str) -> Counted:
    judged = judge(sale(id), Rules(CATALOG, PARTITIONS))
    assert isinstance(judged, Counted)
    return judged


def record(message: UnitDay | PeriodClosed | SaleCorrection) -> Arrived:
    written = encode(message, "id", NOON)
    return Arrived(written.value, 0, 0, key=written.key, headers=tuple(written.headers))


def closing(day: date, revision: int, recount: dict[str, int]) -> PeriodClosed:
    return PeriodClosed(
        market="de", day=day, watermark=NOON, offsets={}, unit_days=1, events=1, revised=0, revision=revision,
        recount=recount,
    )  # fmt: skip


def test_what_a_row_counts_is_not_added_to_it_and_what_came_after_is() -> None:
    found = Recounted({HERE: row(3, offset=10)})
    for offset in (4, 9, 10, 17):
        found.take(counted(str(offset)), offset)
    (day,) = found.days()
    assert (day.events, day.quantity, day.revenue_minor) == (5, 10, 900)
    assert (day.published, day.revision) == (3, 1), "it is to be published again, as a revision"
    assert found.firsts == {("de", MONDAY): 4}


def test_a_day_without_a_row_is_counted_whole_and_was_never_published() -> None:
    found = Recounted({})
    found.take(counted("a"), 4)
    (day,) = found.days()
    assert (day.events, day.published, day.revision) == (1, -1, 0)


def test_a_row_alone_comes_back_as_it_was_published() -> None:
    (day,) = Recounted({HERE: row(3, offset=10, revision=2, cost=120)}).days()
    assert (day.events, day.published, day.revision, day.costed, day.cost_minor) == (3, 3, 3, 3, 120)


def test_of_several_rows_the_last_revision_counts_and_of_closings_the_latest_word() -> None:
    published = Published()
    for message in (
        row(4, 12, revision=1),
        row(3, 10, revision=0),
        closing(NOON.date(), 0, {"0": 5, "1": 8}),
        closing(NOON.date() - timedelta(days=1), 3, {"0": 4, "1": 9}),
    ):
        published.take_panel(record(message))
    here = published.row(*HERE)
    assert here is not None
    assert here.events == 4
    assert (published.starts, published.closed) == ({0: 5, 1: 9}, {"de": MONDAY})


def too_late(offset: int, unit: str = "de/a") -> SaleCorrection:
    """What becomes of a sale of Monday once Monday is sealed."""
    judged = judge(sale("s1", unit, offset), Rules(CATALOG, PARTITIONS, sealed={"de": MONDAY}))
    assert isinstance(judged, SaleCorrection)
    return judged


def test_a_sale_of_a_sealed_day_was_dealt_with_if_it_came_before_a_closing_of_its_market() -> None:
    published, home = Published(), str(sale().partition)
    for reached in (7, 9, 8):
        message = closing(NOON.date(), 0, {}).model_copy(update={"offsets": {home: reached}})
        published.take_panel(record(message))
    of_another = closing(NOON.date(), 0, {}).model_copy(update={"offsets": {home: 50}, "market": "fr"})
    published.take_panel(record(of_another))
    assert published.dealt_with(too_late(8))
    assert not published.dealt_with(too_late(9)), "counted perhaps, but in a store that is lost: it must be kept now"


def test_a_sale_that_the_last_row_of_its_day_counts_is_not_set_aside() -> None:
    published = Published()
    published.take_panel(record(row(3, offset=10)))
    assert published.dealt_with(too_late(9))
    assert not published.dealt_with(too_late(10))
    published.take_panel(record(row(4, offset=None, revision=1)))
    assert published.dealt_with(too_late(10)), "a row that does not say how far it counts is taken for the whole day"


def test_rejected_sales_are_known_by_where_they_lay() -> None:
    published = Published()
    sale = ConsumerRecord("pricing.sale.v1", 2, 41, 0, 1, None, b"garbage", None, 0, 0, ())
    written = tuple(dead_letter(Rejected(sale, "unreadable", "garbage"), datetime(2026, 3, 2, tzinfo=UTC)).headers)
    published.take_dead_letter(Arrived(b"", 0, 0, headers=written), "pricing.sale.v1")
    published.take_dead_letter(Arrived(b"", 0, 0, headers=written), "another.topic")
    for strange in ((), written[:4], tuple((name, None) for name, _ in written)):
        published.take_dead_letter(Arrived(b"", 0, 0, headers=strange), "pricing.sale.v1")
    assert published.set_aside == {(2, 41)}


def test_a_sale_that_was_kept_as_a_correction_is_not_counted_again() -> None:
    """Its day was shut before the closing that says so was out, and the store was lost in between."""
    published, kept = Published(), too_late(5)
    published.take_correction(record(kept))
    assert published.set_aside == {(kept.partition, 5)}
