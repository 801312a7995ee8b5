"""`flipside estimates`: the published numbers, for people and for machines."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flipside.commands.options import Kafka, Namespace

if TYPE_CHECKING:
    import pyarrow as pa


def estimates(
    experiment: Annotated[str | None, typer.Argument(help="Only this experiment.", show_default=False)] = None,
    source: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="Read this export instead of Kafka.")
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Every day and revision that is there, not only the last word.")
    ] = False,
    kafka: Kafka = None,
    namespace: Namespace = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list as the last line of standard output.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV with a header; a cell without a value is empty.")] = False,
) -> None:
    """The estimates that stand: a row for each experiment, metric and arm, with what each rests on.

    Intervals are those of one look on the planned day. Kafka keeps the last estimate of a series; an export keeps all.

    Example: flipside estimates juice --from outcome --csv
    """
    from controller.errors import FlipsideError

    if as_json and as_csv:
        raise FlipsideError("--json and --csv: choose one")
    rows = _rows(_table(source, experiment, kafka, namespace), history)
    if experiment is not None and not rows:
        raise FlipsideError(f"no estimate of {experiment!r} is published; `flipside experiment list` has the names")
    if as_json:
        _print_json(rows)
    elif as_csv:
        _print_csv(rows)
    else:
        _print_table(rows)


def _table(source: Path | None, experiment: str | None, kafka: str | None, namespace: str | None) -> "pa.Table":
    if source is not None:
        from analysis.export.folder import read

        return read("estimates", source, experiment)
    import pyarrow.compute as pc

    from controller.messages.topics import ESTIMATE
    from flipside.commands.options import settings_from
    from flipside.results.outcome import tables_from_topics

    table = tables_from_topics(settings_from(kafka=kafka, namespace=namespace), (ESTIMATE,))["estimates"]
    return table if experiment is None else table.filter(pc.equal(table["experiment"].cast("string"), experiment))


def _rows(table: "pa.Table", history: bool) -> list[dict[str, Any]]:
    from analysis.export.rows import latest_estimates

    rows: list[dict[str, Any]] = table.to_pylist() if history else latest_estimates(table)
    for row in rows:
        row["left_out"], row["offsets"] = dict(row["left_out"] or ()), dict(row["offsets"] or ())
    return sorted(rows, key=lambda r: (r["experiment"], r["version"], r["metric"], r["arm"], r["day"], r["revision"]))


def _print_json(rows: list[dict[str, Any]]) -> None:
    import json

    print(json.dumps(rows, default=str))


def _print_csv(rows: list[dict[str, Any]]) -> None:
    import csv
    import json
    import sys

    from analysis.export.schemas import TABLES
    from flipside.terminal.escape import csv_cell

    writer = csv.DictWriter(sys.stdout, TABLES["estimates"].schema.names, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        shown = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in row.items()}
        writer.writerow({name: csv_cell(value) for name, value in shown.items()})


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from analysis.report.style import percent
    from controller.messages.events import OBSERVATIONAL
    from flipside.terminal.escape import cell

    table = Table(title="effect against control, for one look on the planned day", box=box.SIMPLE, title_justify="left")
    for name in ("experiment metric arm", "through", "effect [interval]", "unit-days", "left out"):
        table.add_column(name, justify="right" if name == "unit-days" else "left")
    for r in rows:
        said = f"none: {r['reason_absent']}"
        if r["relative"] is not None:
            said = f"{percent(r['relative'])} [{percent(r['relative_low'])}, {percent(r['relative_high'])}]"
        table.add_row(
            cell(
                f"{r['experiment']} {r['metric']} {r['arm']}"
                + (" (observational)" if r["estimator"] == OBSERVATIONAL else "")
            ),
            f"{r['day']}" + (f" r{r['revision']}" if r["revision"] else ""),
            cell(said),
            f"{r['cells']:,}",
            cell(", ".join(f"{count:,} {reason}" for reason, count in r["left_out"].items()) or "none"),
        )
    Console(soft_wrap=True).print(table)
