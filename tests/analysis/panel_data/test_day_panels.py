"""Panels of unit-days: what breaks a rule is named with its row, and what Kafka brought is a panel too."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.csv
import pyarrow.parquet
import pytest

from analysis.panel_data.day_panels import panel_of_days, panel_of_unit_days
from analysis.panel_data.ledger import Ledger
from controller.errors import InvalidPanel
from tests.analysis.traffic import experiment, history

ARMS = ("control", "low")
GOOD = """unit,day,arm,quantity,hours,money,left_out
de/a,2026-03-01,control,5,24,EUR,
de/a,2026-03-02,low,7,24,EUR,washout
de/b,2026-03-01,low,3,12,EUR,
de/b,2026-03-02,control,,24,EUR,
"""


def frame(text: str = GOOD) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text))


def test_pandas_csv_and_parquet_give_the_same_panel(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(GOOD)
    csv = pyarrow.csv.read_csv(tmp_path / "p.csv")
    pyarrow.parquet.write_table(csv, tmp_path / "p.parquet")
    tables = (frame(), csv, pyarrow.parquet.read_table(tmp_path / "p.parquet"))
    panels = [panel_of_days(t, ARMS, exposure="hours", currency="money", leave_out="left_out") for t in tables]
    for panel in panels:
        assert panel.units == ("de/a", "de/b")
        assert panel.periods == ("2026-03-01", "2026-03-02")
        assert panel.arm.tolist() == [[0, 1], [1, 0]]
        assert np.array_equal(panel.outcome, np.array([[5, 7], [3, np.nan]]), equal_nan=True)
        assert panel.usable.tolist() == [[True, False], [True, False]]
        assert panel.exposure is not None
        assert panel.exposure.tolist() == [[24, 24], [12, 24]]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("de/b,2026-03-01,low", "de/a,2026-03-02,low", r"row 3: de/a in 2026-03-02 was already given in row 2"),
        ("2026-03-02,low", "2026-03-02,lower", r"row 2: arm is lower: the arms are control, low"),
        (",3,12,", ",3,-12,", r"row 3: hours is -12: a cell is exposed"),
        (",7,24,", ",inf,24,", r"row 2: quantity is infinite"),
        (",3,12,EUR", ",3,12,SEK", r"row 3: money is SEK, but row 1 has EUR: one currency in a panel"),
        ("de/a,2026-03-01", "de/a,2026-03-03", r"row 2: de/a goes back from 2026-03-03 to 2026-03-02"),
        ("2026-03-02", "2026-03-05", r"row 2: day goes from 2026-03-01 to 2026-03-05: no unit has a row in between"),
        ("2026-03-01", "Monday", r"row 2|no day: write 2026-03-01"),
    ],
)
def test_a_row_that_breaks_a_rule_is_named_with_the_way_out(old: str, new: str, message: str) -> None:
    with pytest.raises(InvalidPanel, match=message):
        panel_of_days(frame(GOOD.replace(old, new)), ARMS, exposure="hours", currency="money")


def test_gaps_and_disorder_are_accepted_where_they_are_asked_for() -> None:
    gappy = frame(GOOD.replace("2026-03-02", "2026-03-05"))[::-1]
    assert panel_of_days(gappy, ARMS, sort=True, gaps=True).periods == ("2026-03-01", "2026-03-05")


def test_what_kafka_brought_is_a_panel() -> None:
    definition = experiment(markets=4, products=2, days=3)
    ledger = Ledger()
    for message in history(definition):
        ledger.fold(message)
    (study,) = ledger.studies.values()
    ledger.settle(study, study.last_day)
    days = study.unit_days(study.last_day)
    panel = panel_of_unit_days(days, study.units, study.roster.clusters, ("control", "low"), "units")
    assert panel.units == study.units
    assert panel.periods == ("2026-03-02", "2026-03-03", "2026-03-04")
    assert panel.usable.all()
    assert panel.outcome.sum() == days.quantity.sum()
    assert set(panel.clusters or ()) == {"m00", "m01", "m02", "m03"}
