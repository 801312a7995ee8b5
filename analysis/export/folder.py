"""The export as a folder of Parquet, ``TABLE/experiment=NAME/day=DAY/vVERSION.parquet``, as Hive and Spark read it.

A file is replaced as a whole or not at all. What the topics have forgotten stays: a compacted topic keeps the last
record of a key, the folder every day and revision that was ever exported.
"""

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.export.schemas import TABLES, Tables
from controller.errors import FlipsideError


class UnreadableExport(FlipsideError):
    """The caller's: a folder is no export; the message names it and the way out."""


def write(tables: Tables, folder: Path, *, anew: bool = False) -> int:
    """Write tables into a folder, and return the number of files written.

    A row that is there already is replaced by the one with the same key; other rows stay, unless ``anew``: then what
    the folder had of these experiments goes first, so that nothing of an earlier run stands beside the new one.

    Raises:
        FlipsideError: the folder cannot be written to.
    """
    try:
        if anew:
            for name, table in tables.items():
                for experiment in table["experiment"].unique().to_pylist():
                    shutil.rmtree(folder / name / f"experiment={experiment}", ignore_errors=True)
        written = 0
        for name, table in tables.items():
            for place, rows in _files(name, table):
                _replace(folder / place, rows, TABLES[name].key)
                written += 1
    except OSError as error:
        raise FlipsideError(f"cannot write to {folder}: {error.strerror or error}; name another folder") from error
    return written


def read(name: str, folder: Path, experiment: str | None = None, columns: list[str] | None = None) -> pa.Table:
    """A table of an export, sorted by experiment, version and day; of one experiment, or of all.

    Raises:
        UnreadableExport: there is no such folder, or it is no export, or it has nothing of the experiment.
    """
    schema = TABLES[name].schema
    root = folder / name
    if not any((folder / table).is_dir() for table in TABLES):
        what = "holds none of its tables" if folder.is_dir() else "is not there"
        raise UnreadableExport(f"{folder} {what}; write one with `flipside export --out` or `flipside replay --out`")
    if not root.is_dir():
        return _chosen(schema.empty_table(), columns)
    if experiment is not None:
        _must_have(folder, experiment)
        if not (root / f"experiment={experiment}").is_dir():
            return _chosen(schema.empty_table(), columns)
    levels = [("experiment", pa.string()), *([("day", pa.date32())] if TABLES[name].by_day else [])]
    # Brings pandas along, 45 MB that writing does not need (flipside/without_pandas.py keeps it out of processes).
    import pyarrow.dataset as ds

    source = ds.dataset(
        root if experiment is None else root / f"experiment={experiment}",
        schema=schema,
        format="parquet",
        partitioning=ds.partitioning(pa.schema(levels), flavor="hive"),
        partition_base_dir=str(root),
    )
    wanted = [field for field in schema.names if columns is None or field in columns]
    try:
        table = source.to_table(columns=wanted)
    except (pa.ArrowException, OSError) as error:
        raise UnreadableExport(f"{root}: {error}; export it anew") from error
    order = [column for column in ("experiment", "version", "day") if column in wanted]
    sortable = table.select(order).set_column(0, order[0], table[order[0]].cast(pa.string())) if order else None
    return table if sortable is None else table.take(pc.sort_indices(sortable, [(c, "ascending") for c in order]))


def experiments(folder: Path) -> list[str]:
    """The experiments of an export, sorted."""
    return sorted(
        {path.name.removeprefix("experiment=") for table in TABLES for path in (folder / table).glob("experiment=*")}
    )


def _must_have(folder: Path, experiment: str) -> None:
    found = experiments(folder)
    if experiment not in found:
        raise UnreadableExport(f"{folder} has no experiment {experiment!r}; it has {', '.join(found) or 'none'}")


def _chosen(table: pa.Table, columns: list[str] | None) -> pa.Table:
    return table if columns is None else table.select([name for name in table.schema.names if name in columns])


def _files(name: str, table: pa.Table) -> Iterator[tuple[Path, pa.Table]]:
    """The table cut into its files; the columns that the path says are not written again."""
    if not table.num_rows:
        return
    levels = ["experiment", *(["day"] if TABLES[name].by_day else []), "version"]
    plain = pa.table([table[c].cast(pa.string() if c == "experiment" else table[c].type) for c in levels], levels)
    order = pc.sort_indices(plain, [(c, "ascending") for c in levels])
    plain, table = plain.take(order), table.take(order)
    rows = plain.to_pylist()
    starts = [k for k, row in enumerate(rows) if k == 0 or row != rows[k - 1]]
    written = table.drop_columns([c for c in levels if c != "version"])
    for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
        row = rows[start]
        place = Path(name, f"experiment={row['experiment']}", *([f"day={row['day']}"] if "day" in row else []))
        yield place / f"v{row['version']}.parquet", written.slice(start, end - start)


def _replace(path: Path, rows: pa.Table, key: tuple[str, ...]) -> None:
    """Put a file in place at once; rows of the old one whose key does not come again are kept."""
    if path.exists() and key:
        rows = _with_kept(pq.read_table(path, schema=rows.schema, partitioning=None), rows, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        pq.write_table(rows, beside, compression="zstd")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _with_kept(old: pa.Table, new: pa.Table, key: tuple[str, ...]) -> pa.Table:
    def keys(table: pa.Table) -> list[tuple[Any, ...]]:
        return list(zip(*(table[c].to_pylist() for c in key), strict=True))

    coming = set(keys(new))
    kept = [k for k, one in enumerate(keys(old)) if one not in coming]
    return pa.concat_tables([old.take(kept), new]) if kept else new
