"""`flipside export`: the topics as tables."""

from pathlib import Path
from typing import Annotated

import typer

from flipside.commands.options import AsJson, Kafka, Namespace


def export(
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder to write to [FLIPSIDE_EXPORT_FOLDER].")
    ] = None,
    kafka: Kafka = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """Write experiments, estimates, sequences, checks and panels as Parquet, a folder an experiment and day.

    Run it as often as you like: what is there is replaced row by row, and what the topics have forgotten stays, so that
    the folder keeps every day and revision of an estimate. Read it with `flipside estimates --from`, DuckDB, pandas, or
    `from analysis import read_estimates`.

    Example: flipside export --out outcome
    """
    import json

    from analysis.export.folder import write
    from controller.errors import FlipsideError
    from flipside.commands.options import settings_from
    from flipside.results.outcome import must_be_writable, tables_from_topics
    from flipside.terminal.view import counting

    settings = settings_from(kafka=kafka, namespace=namespace)
    folder = out or (Path(settings.export_folder) if settings.export_folder else None)
    if folder is None:
        raise FlipsideError("where to? Give --out DIR, or set FLIPSIDE_EXPORT_FOLDER")
    must_be_writable(folder)
    with counting("records") as on_read:
        tables = tables_from_topics(settings, on_read=on_read)
    files = write(tables, folder)
    if as_json:
        rows = {name: table.num_rows for name, table in tables.items()}
        print(json.dumps({"folder": str(folder), "files": files, "rows": rows}))
        return
    for name, table in tables.items():
        print(f"{name:12} {table.num_rows:>10,} rows")
    print(f"{files:,} files in {folder}")
