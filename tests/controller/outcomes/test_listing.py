"""A unit is listed for a whole day if the catalog knew it before the day's first instant, and to its end."""

from datetime import UTC, date, datetime, timedelta

import pytest

from controller.outcomes.listing import ALWAYS, Listed, WholeDays, listed, merged, read_whole_days, spelled, whole_days

#: a zone whose days are all of 24 hours
ZONE = "Asia/Tokyo"
DAY = date(2026, 3, 2).toordinal()
#: when that day begins there
MIDNIGHT = datetime(2026, 3, 1, 15, tzinfo=UTC)
SECOND, HOUR, ONE_DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("since", "until", "first", "last"),
    [
        (MIDNIGHT, None, 0, None),
        (MIDNIGHT - SECOND, None, 0, None),
        (MIDNIGHT + SECOND, None, 1, None),
        (MIDNIGHT, MIDNIGHT + 3 * ONE_DAY, 0, 2),
        (MIDNIGHT, MIDNIGHT + 3 * ONE_DAY - SECOND, 0, 1),
        (MIDNIGHT + HOUR, MIDNIGHT + 2 * HOUR, 1, -1),
    ],
)
def test_whole_days_are_local_days_of_the_market(
    since: datetime, until: datetime | None, first: int, last: int | None
) -> None:
    found = whole_days(Listed(since, until), ZONE)
    assert found == WholeDays(DAY + first, None if last is None else DAY + last)
    assert [day - DAY for day in range(DAY - 2, DAY + 5) if day in found] == [
        n for n in range(-2, 5) if n >= first and (last is None or n <= last)
    ]


def test_what_was_read_before_a_clock_of_ticks_began_was_always_known() -> None:
    assert DAY in whole_days(Listed(ALWAYS), ZONE)


def test_a_unit_that_changes_its_price_is_listed_as_before_and_one_that_comes_back_anew() -> None:
    found = listed(None, MIDNIGHT, delisted=False)
    assert listed(found, MIDNIGHT + ONE_DAY, delisted=False) == found
    gone = listed(found, MIDNIGHT + 3 * ONE_DAY, delisted=True)
    assert listed(gone, MIDNIGHT + 4 * ONE_DAY, delisted=True) == gone
    back = listed(gone, MIDNIGHT + 5 * ONE_DAY, delisted=False)
    assert back == Listed(MIDNIGHT + 5 * ONE_DAY, again=True)
    assert DAY not in whole_days(listed(None, MIDNIGHT, delisted=True), ZONE), "it was never listed, as far as we know"


@pytest.mark.parametrize(
    ("held", "found", "kept"),
    [
        (None, Listed(MIDNIGHT), (0, None)),
        # compaction kept a later record of the unit only
        ((0, None), Listed(MIDNIGHT + 9 * ONE_DAY), (0, None)),
        ((0, None), Listed(MIDNIGHT + 9 * ONE_DAY, MIDNIGHT + 9 * ONE_DAY), (0, 8)),
        # said again by a later record
        ((0, 8), Listed(MIDNIGHT + 20 * ONE_DAY, MIDNIGHT + 20 * ONE_DAY), (0, 8)),
        # listed again: seen, or forgotten by compaction, or on the very day on which it was delisted
        ((0, 8), Listed(MIDNIGHT + 20 * ONE_DAY, again=True), (20, None)),
        ((0, 8), Listed(MIDNIGHT + 20 * ONE_DAY), (20, None)),
        ((0, 8), Listed(MIDNIGHT + 9 * ONE_DAY), (10, None)),
        ((20, None), Listed(MIDNIGHT + 20 * ONE_DAY, again=True), (20, None)),
        # and delisted once more
        ((0, 8), Listed(MIDNIGHT + 20 * ONE_DAY, MIDNIGHT + 22 * ONE_DAY, again=True), (20, 21)),
    ],
)
def test_what_is_kept_is_the_older_word_on_a_units_first_day(
    held: tuple[int, int | None] | None, found: Listed, kept: tuple[int, int | None]
) -> None:
    def of(days: tuple[int, int | None]) -> WholeDays:
        return WholeDays(DAY + days[0], None if days[1] is None else DAY + days[1])

    after = merged(None if held is None else of(held), found, ZONE)
    assert after == of(kept)
    assert merged(after, found, ZONE) == after, "the same word again moves nothing"
    assert read_whole_days(spelled(after)) == after
