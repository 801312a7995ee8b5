"""One's own sales: what is found by itself, what is summed, and what is refused, with its lines."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from controller.errors import FlipsideError
from flipside.sales_history.columns import SalesColumns
from flipside.sales_history.faults import UnreadableSales
from flipside.sales_history.own_sales import for_rehearsal, for_replay, read_own
from flipside.sales_history.sales_table import read_table
from flipside.sales_history.unit_periods import summed

DAYS = [date(2026, 5, 30) + timedelta(days=k) for k in range(4)]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def catalog(path: Path, *units: str, currency: str = "EUR") -> Path:
    lines = (
        {"unit": unit, "time_zone": "Europe/Vienna", "currency": currency, "list_price_minor": 349} for unit in units
    )
    return write(path, "".join(json.dumps(line) + "\n" for line in lines))


def test_semicolons_decimal_commas_german_dates_and_receipts_are_read_and_said_in_one_line(tmp_path: Path) -> None:
    path = write(
        tmp_path / "bons.csv",
        "Filiale;Artikel;Datum;Menge;Preis\n"
        + "".join(f"Nord 1;4711;{day:%d.%m.%Y} 09:{k}0;{k};3,49\n" for day in DAYS for k in (1, 2)),
    )
    names = SalesColumns(store="Filiale", product="Artikel", time="Datum", quantity="Menge", price="Preis")
    found = summed(read_table(path, names))
    assert found.units == ("Nord-1/4711",)
    assert found.quantity.tolist() == [[3.0]] * 4
    assert found.notes[0] == "bons.csv: 8 rows, separated by semicolon, decimal comma, dates DD.MM.YYYY"
    assert found.notes[1] == "names as catalog and definition spell them: Nord 1 is Nord-1"
    assert found.notes[2] == "8 rows are summed to 4 unit-days: 4 of them have several rows"


def test_names_with_umlauts_and_signs_are_respelled_and_said(tmp_path: Path) -> None:
    rows = "".join(f"Köln-Süd;Crème brûlée, 200 g (4/Pkg.);{day};1\n" for day in DAYS)
    found = summed(read_table(write(tmp_path / "s.csv", "store;product;date;quantity\n" + rows)))
    assert found.units == ("Koeln-Sued/Creme-brulee-200-g-4-Pkg",)
    (said,) = [note for note in found.notes if note.startswith("names as")]
    assert "Köln-Süd is Koeln-Sued" in said


def test_two_names_that_would_become_one_are_refused_with_both_lines(tmp_path: Path) -> None:
    text = "store;product;date;quantity\na;Käse;2026-05-30;1\na;Kaese;2026-05-31;1\n"
    with pytest.raises(UnreadableSales, match=r"both be spelled 'Kaese'.*line 2 \('Käse'\), line 3 \('Kaese'\)"):
        read_table(write(tmp_path / "s.csv", text))


def test_a_name_of_another_script_is_refused_with_the_way_out(tmp_path: Path) -> None:
    text = "store;product;date;quantity\n京都;x;2026-05-30;1\n"
    with pytest.raises(UnreadableSales, match=r"line 2 \('京都'\) cannot be named.*codes of the catalog"):
        read_table(write(tmp_path / "s.csv", text))


def test_a_line_after_a_quoted_line_break_is_named_by_its_number_in_the_file(tmp_path: Path) -> None:
    note = '"two ""big""\nlines, one text"'
    text = f"note,{HEAD}{note},a,x,2026-05-30,1,1\n{note},a,x,2026-05-31,-1,1\n"
    with pytest.raises(UnreadableSales, match=r"negative on line 4 \(-1\)"):
        read_table(write(tmp_path / "s.csv", text))


@pytest.mark.parametrize("stamp", ["2026-05-30T22:30:00Z", "2026-05-30 22:30:00+02:00", "2026-05-30T22:30-0500"])
def test_time_stamps_with_an_offset_are_read_as_written_and_it_is_said(tmp_path: Path, stamp: str) -> None:
    text = f"store,product,date,quantity\na,x,2026-05-29 08:00,1\na,x,{stamp},1\n"
    found = summed(read_table(write(tmp_path / "s.csv", text)))
    assert found.days == (date(2026, 5, 29), date(2026, 5, 30))
    (said,) = [note for note in found.notes if "offset" in note]
    assert f"warning: 1 values of date carry an offset from UTC, line 3 ({stamp})" in said


def test_typed_time_stamps_are_of_the_days_of_their_own_zone(tmp_path: Path) -> None:
    late = [datetime(2026, 5, 29 + k, 22, 30, tzinfo=UTC) for k in range(2)]
    stamps = pa.array(late, type=pa.timestamp("us", tz="Europe/Vienna"))
    table = pa.table({"unit": ["a/x", "a/x"], "time": stamps, "quantity": [1, 2]})
    pa.parquet.write_table(table, tmp_path / "s.parquet")
    found = summed(read_table(tmp_path / "s.parquet"))
    assert found.days == (date(2026, 5, 30), date(2026, 5, 31)), "half past midnight in Vienna"
    assert "the days of time are those of its own time zone, Europe/Vienna" in found.notes


def test_two_rows_of_a_store_product_and_day_both_count(tmp_path: Path) -> None:
    path = write(
        tmp_path / "s.csv",
        "store,product,date,units,price\na,x,2026-05-01,38,1\na,x,2026-05-01,9000,2\na,x,2026-05-02,5,2\n",
    )
    found = summed(read_table(path))
    assert found.quantity[:, 0].tolist() == [9038.0, 5.0]
    assert found.price is not None
    assert found.price[0, 0] == pytest.approx((38 * 1 + 9000 * 2) / 9038)


def test_rows_of_weeks_are_weeks_and_numbered_weeks_are_too(tmp_path: Path) -> None:
    dated = "".join(f"a,x,{date(2026, 5, 4) + timedelta(weeks=k)},7\n" for k in range(3))
    assert summed(read_table(write(tmp_path / "w.csv", "store,product,date,quantity\n" + dated))).period_days == 7
    numbered = "".join(f"a,x,{k},7\n" for k in (40, 41, 42))
    found = summed(read_table(write(tmp_path / "n.csv", "store,product,week,quantity\n" + numbered)))
    assert (found.period_days, found.labels) == (7, ("week 40", "week 41", "week 42"))


def test_parquet_is_read_like_csv(tmp_path: Path) -> None:
    columns = {"unit": ["a/x"] * 4, "day": DAYS, "quantity": [1, 2, 3, 4], "revenue": [2.0, 4.0, 6.0, 8.0]}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "s.parquet")
    found = summed(read_table(tmp_path / "s.parquet"))
    assert found.quantity[:, 0].tolist() == [1, 2, 3, 4]
    assert found.price is not None
    assert found.price[:, 0].tolist() == [2.0] * 4


def test_a_day_without_a_sale_is_a_zero_and_a_day_without_the_store_is_left_out(tmp_path: Path) -> None:
    rows = [("a/x", 0), ("a/y", 0), ("a/x", 1), ("b/x", 0), ("b/x", 1), ("b/x", 2), ("a/x", 3), ("b/x", 3)]
    text = "unit,date,quantity\n" + "".join(f"{unit},{DAYS[day]},5\n" for unit, day in rows)
    found = summed(read_table(write(tmp_path / "s.csv", text)))
    grid = dict(zip(found.units, np.nan_to_num(found.quantity, nan=-1).T.tolist(), strict=True))
    assert grid == {"a/x": [5, 5, -1, 5], "a/y": [5, 0, -1, 0], "b/x": [5, 5, 5, 5]}
    (said,) = [note for note in found.notes if "closed_weekdays" in note]
    assert "on 1 of 4 days a store has no row at all (a)" in said


def test_a_store_that_opened_later_was_not_closed_before(tmp_path: Path) -> None:
    text = "unit,date,quantity\n" + "".join(f"a/x,{day},5\n" for day in DAYS) + f"b/x,{DAYS[3]},5\n"
    notes = summed(read_table(write(tmp_path / "s.csv", text))).notes
    assert not any("no row at all" in note for note in notes)
    assert any("not sold from the first day on: b/x" in note for note in notes)


def test_units_in_the_sales_and_not_in_the_catalog_and_the_reverse_are_counted_and_the_first_five_named(
    tmp_path: Path,
) -> None:
    text = "unit,date,quantity,price\n" + "".join(f"a/p{k},{day},1,2.5\n" for k in range(8) for day in DAYS)
    known = catalog(tmp_path / "c.jsonl", "a/p0", "a/p1", *(f"a/q{k}" for k in range(7)))
    notes = read_own(write(tmp_path / "s.csv", text), catalog=known).notes
    assert any(
        "6 units of the sales are not in the catalog" in note and "a/p6 ... (6 in all)" in note for note in notes
    )
    assert any("7 units of the catalog have no sales" in note and "a/q0, a/q1" in note for note in notes)


def test_one_currency_of_three_is_chosen_and_money_has_its_own_minor_unit(tmp_path: Path) -> None:
    text = "unit,date,quantity,price,currency\n" + "".join(
        f"{store}/p,{day},2,{price},{code}\n"
        for store, price, code in (("wien", "3.49", "EUR"), ("bern", "4.10", "CHF"), ("kyoto", "480", "JPY"))
        for day in DAYS
    )
    own = read_own(write(tmp_path / "s.csv", text))
    with pytest.raises(FlipsideError, match="the sales are in CHF, EUR, JPY: choose one with --currency CHF"):
        for_replay(own)
    yen = for_replay(read_own(tmp_path / "s.csv", currency="JPY"))
    assert (yen.currency, yen.periods[0][0].price_minor) == ("JPY", 480)
    euro = read_own(tmp_path / "s.csv", currency="EUR")
    assert for_replay(euro).periods[0][0].price_minor == 349
    assert for_rehearsal(euro, "revenue", "market").outcome[0, 0] == 698
    assert for_rehearsal(own, "units", "market").currency == "XXX"


def test_a_currency_names_that_of_sales_and_catalog_which_name_none(tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", HEAD + GOOD)
    assert read_own(path, currency="DKK").currencies == ("DKK",)
    with pytest.raises(FlipsideError, match="--currency kr: a currency code is three capital letters"):
        read_own(path, currency="kr")


HEAD = "store,product,date,quantity,price\n"
GOOD = "".join(f"a,x,{day},3,3.49\n" for day in DAYS)
#: name -> (text of the file, what is said); each names what is wrong, where, and the way out
DAMAGED = {
    "an empty file": ("", r"is empty: a table of sales has a header, and a row for each sale, day or week"),
    "a header alone": (HEAD, r"has a header and no rows: give a row for each"),
    "one column": ("sales\n1\n2\n", r"has one column, 'sales': .* separated by one of comma, semicolon, tab, bar"),
    "dates in four formats": (
        HEAD + "a,x,2026-05-30,1,1\na,x,31.05.2026,1,1\na,x,20260601,1,1\na,x,2026/06/02,1,1\n",
        r"YYYY-MM-DD on 1 rows, line 2 \(2026-05-30\); DD.MM.YYYY on 1 rows, line 3 .*: write one of them throughout",
    ),
    "a day that may be a month": (
        HEAD + "a,x,01/02/2026,1,1\na,x,02/02/2026,1,1\n",
        r"day/month or month/day.*write YYYY",
    ),
    "a unit in two currencies": (
        "store,product,date,quantity,price,currency\na,x,2026-05-30,1,1,EUR\na,x,2026-05-31,1,1,USD\n",
        r"1 units are sold in several currencies, a/x; a/x: line 2 \(EUR\), line 3 \(USD\): a unit has one currency",
    ),
    "a return": (
        HEAD + GOOD + "a,x,2026-06-05,-2,3.49\n",
        r"quantity is negative on line 6 \(-2\): a return does not tell the day of its sale, .*; leave returns out",
    ),
    "a unit that was only given away": (
        HEAD + "a,x,2026-05-30,3,0\na,x,2026-05-31,3,0\n",
        r"a/x .* at a price of zero",
    ),
    "a word for a number": (HEAD + GOOD + "a,x,2026-06-05,three,1\n", r"quantity is no number on line 6 \('three'\)"),
    "decimal commas and points": (
        "store;product;date;quantity;price\na;x;2026-05-30;1;3,49\na;x;2026-05-31;1;3.49\n",
        r"decimal commas and decimal points in one file, .*line 2 \(3,49\).*line 3 \(3\.49\)",
    ),
    "a line with a column too many": (
        HEAD + GOOD + "a,x,2026-06-05,1,3,49\n",
        r"Expected 5 columns, got 6.*every line",
    ),
    "an id twice": (
        "id,store,product,date,quantity\n7,a,x,2026-05-30,1\n\n8,a,x,2026-05-31,1\n7,a,y,2026-05-31,1\n",
        r"id '7' stands on lines 2 and 5 \(1 such rows\)",
    ),
    "no column of quantities": (
        "store,product,date,menge\na,x,2026-05-30,1\n",
        r"no column for quantity.*--quantity COLUMN",
    ),
    "a day that does not exist": (
        HEAD + GOOD + "a,x,2026-02-30,1,1\n",
        r"no day of the calendar on line 6 \(2026-02-30\)",
    ),
    "one day alone": (HEAD + "a,x,2026-05-30,1,1\n", r"sales of one period alone"),
    "a year mistyped": (
        HEAD + GOOD + "a,x,2926-06-05,1,1\n",
        r"days go from 2026-05-30 to 2926-06-05: one of them is mist",
    ),
    "text that is not UTF-8": ("store,product,date,quantity\n\xe9,x,2026-05-30,1\n", r"line 2: not UTF-8 text"),
}


@pytest.mark.parametrize("fault", DAMAGED)
def test_a_damaged_file_is_refused_with_lines_value_rule_and_way_out(tmp_path: Path, fault: str) -> None:
    text, said = DAMAGED[fault]
    (tmp_path / "s.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(UnreadableSales, match=said):
        for_replay(read_own(tmp_path / "s.csv"))


def test_prices_of_zero_are_counted_and_shown(tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", HEAD + GOOD + "a,x,2026-06-02,2,0\n")
    (note,) = [note for note in read_own(path).notes if "price of zero" in note]
    assert "1 rows have a price of zero, line 6 (0)" in note


def test_sales_and_catalog_in_different_currencies_are_refused(tmp_path: Path) -> None:
    path = write(
        tmp_path / "s.csv", "unit,date,quantity,price,currency\n" + "".join(f"a/x,{d},1,2,USD\n" for d in DAYS)
    )
    with pytest.raises(UnreadableSales, match="a/x in USD, the catalog says EUR"):
        read_own(path, catalog=catalog(tmp_path / "c.jsonl", "a/x"))


def test_a_catalog_of_other_units_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", HEAD + GOOD)
    with pytest.raises(UnreadableSales, match=r"none of its 1 units is in the catalog: it has a/x, the catalog b/x"):
        read_own(path, catalog=catalog(tmp_path / "c.jsonl", "b/x"))
