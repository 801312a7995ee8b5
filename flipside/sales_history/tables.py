"""What the advisor rehearses on: a folder of sales as the replay reads it, or a table with a row a unit and period."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from analysis.panel_data.panel import FloatArray, Panel
from analysis.panel_data.panel_files import panel_from_table
from analysis.planning.candidates import Clusters
from analysis.planning.rehearsal import History
from controller.definition.field_types import market_of
from controller.definition.metrics import Metric
from controller.errors import FlipsideError, InvalidPanel
from flipside.sales_history.file_columns import column_names
from flipside.sales_history.history import CURRENCY, WeekOfSales, read_history

#: the panel reader wants a treatment: before an experiment there is none
UNTREATED = "__untreated__"
DAYS_IN_A_WEEK = 7


@dataclass(frozen=True, slots=True)
class Columns:
    """Of a table."""

    unit: str = "unit"
    time: str = "time"
    outcome: str = "outcome"
    #: units of one label are randomised together; None: as ``clusters`` says
    cluster: str | None = None


def is_own(path: Path, columns: Columns | None = None) -> bool:
    """Whether a path is a table of sales (`flipside.sales`); else a folder with brands.csv, or a table of outcomes."""
    if path.is_dir():
        return not (path / "brands.csv").is_file() and (path / "sales.csv").is_file()
    return columns is None and path.is_file() and "outcome" not in column_names(path)


def read_sales(
    path: Path,
    *,
    metric: Metric = "units",
    clusters: Literal["market", "product", "unit"] | None = None,
    markets: Collection[str] = (),
    columns: Columns | None = None,
) -> History:
    """A folder of sales (a row of history is a week), or a table of outcomes, a row a unit and day.

    Sales as their owner has them are read by `flipside.sales_history.own_sales.read_own`.

    Raises:
        FlipsideError: no such file or folder, a market that is not there, or a row that breaks a rule, named.
    """
    if path.is_dir():
        if columns is not None:
            raise FlipsideError(f"{path} is a folder of sales: it has columns of its own; leave --unit, --time out")
        found = _folder(path, metric)
        found = replace(found, clusters=clusters or "market")
    else:
        found = _table(path, columns or Columns(), clusters)
    return _only(found, markets) if markets else found


def _folder(path: Path, metric: Metric) -> History:
    history = read_history(path)
    units = tuple(sorted(entry.unit for entry in history.catalog))
    column = {unit: number for number, unit in enumerate(units)}
    outcome = np.full((len(history.periods), len(units)), np.nan)
    for row, week in enumerate(history.periods):
        for sold in week:
            outcome[row, column[sold.unit]] = _value(sold, metric)
    labels = tuple(f"week {number}" for number in range(1, len(outcome) + 1))
    return History(units, outcome, labels, DAYS_IN_A_WEEK, "market", metric, CURRENCY)


def _value(sold: WeekOfSales, metric: Metric) -> float:
    """Units, or money in minor units."""
    if metric == "units":
        return sold.packs
    return sold.packs * (sold.price_minor - ((sold.cost_minor or 0) if metric == "margin" else 0))


def _table(path: Path, columns: Columns, clusters: Literal["market", "product", "unit"] | None) -> History:
    panel = _panel(path, columns)
    _refuse_gaps(panel.periods)
    outcome: FloatArray = np.ascontiguousarray(panel.outcome.T)
    plain = all(unit.count("/") == 1 for unit in panel.units)
    if panel.clusters is None and clusters in ("market", "product") and not plain:
        raise InvalidPanel(
            f"--clusters {clusters}: units are not spelled market/product ({panel.units[0]}); name a --cluster column"
        )
    # Names that a definition takes, whatever the table calls its units.
    units = panel.units if plain else tuple(f"all/{number}" for number in range(len(panel.units)))
    return History(units, outcome, panel.periods, 1, _clusters(panel, units, clusters), columns.outcome)


def _clusters(panel: Panel, units: tuple[str, ...], asked: Literal["market", "product", "unit"] | None) -> Clusters:
    if panel.clusters is None:
        return asked or "unit"
    if asked is not None:
        raise FlipsideError(f"--clusters {asked} and --cluster: give one of them")
    members: dict[str, list[str]] = {}
    for unit, label in zip(units, panel.clusters, strict=True):
        members.setdefault(label, []).append(unit)
    return {f"c{number}": tuple(held) for number, (_, held) in enumerate(sorted(members.items()))}


def _panel(path: Path, columns: Columns) -> Panel:
    if not path.exists():
        raise FlipsideError(f"{path} does not exist: give a folder of sales, or a .csv or .parquet table")
    try:
        table = pa.parquet.read_table(path) if path.suffix.lower() in (".parquet", ".pq") else pa.csv.read_csv(path)
    except pa.ArrowInvalid as error:
        raise InvalidPanel(f"{path} cannot be read as {path.suffix or 'CSV'}: {error}") from error
    table = table.append_column(UNTREATED, pa.array(np.zeros(table.num_rows, dtype=np.int64)))
    return panel_from_table(
        table,
        unit=columns.unit,
        time=columns.time,
        outcome=columns.outcome,
        treatment=UNTREATED,
        cluster=columns.cluster,
        sort=True,
    )


def _refuse_gaps(periods: tuple[str, ...]) -> None:
    """Days that are missing altogether are named: to leave them out would move weekdays and washouts."""
    gap = next(_gaps(periods), None)
    if gap is not None:
        before, after = gap
        raise InvalidPanel(
            f"there is no row between {before} and {after}: a history has every day; add the missing ones,"
            " with an empty outcome where nothing is known"
        )


def _gaps(periods: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    try:
        days = [date.fromisoformat(label[:10]) for label in periods]
        follows = [after - before == timedelta(days=1) for before, after in pairwise(days)]
    except ValueError:
        try:
            numbers = [int(float(label)) for label in periods]
        except ValueError:
            return
        follows = [after - before == 1 for before, after in pairwise(numbers)]
    yield from ((periods[k], periods[k + 1]) for k, adjacent in enumerate(follows) if not adjacent)


def _only(history: History, markets: Collection[str]) -> History:
    there = {market_of(unit) for unit in history.units}
    unknown = sorted(set(markets) - there)
    if unknown:
        raise FlipsideError(f"--market {unknown[0]} is not in the history; it has {', '.join(sorted(there)[:5])} ...")
    kept = [number for number, unit in enumerate(history.units) if market_of(unit) in markets]
    units = tuple(history.units[number] for number in kept)
    clusters = history.clusters
    if isinstance(clusters, dict):
        held = set(units)
        clusters = {name: tuple(u for u in members if u in held) for name, members in clusters.items()}
        clusters = {name: members for name, members in clusters.items() if members}
    return replace(history, units=units, outcome=history.outcome[:, kept], clusters=clusters)
