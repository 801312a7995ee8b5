"""`flipside estimates`: the published numbers, for people and for machines."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flipside.commands.options import Kafka, Namespace

if TYPE_CHECKING:
    import pyarrow as pa

    from analysis.export.schemas import Tables


def estimates(
    experiment: Annotated[str | None, typer.Argument(help="Only this experiment.", show_default=False)] = None,
    source: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="Read this export instead of Kafka.")
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Every day and revision that is kept, not only the latest.")
    ] = False,
    kafka: Kafka = None,
    namespace: Namespace = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list as the last line of standard output.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV with a header; a cell without a value is empty.")] = False,
) -> None:
    """The latest estimates: a row for each experiment, metric and arm, with the data that it rests on.

    The table quotes the always-valid interval before the planned day and the fixed-horizon interval from then on, as
    the report does, and shows the other one beside it. --json, --csv and --history have the fixed-horizon estimates as
    they were published, with `anytime` for the other. Kafka keeps the last estimate of a series; an export keeps all.

    Example: flipside estimates juice --from outcome --csv
    """
    from controller.errors import FlipsideError

    if as_json and as_csv:
        raise FlipsideError("--json and --csv: choose one")
    tables = _tables(source, experiment, kafka, namespace)
    rows = _rows(tables["estimates"], history)
    if experiment is not None and not rows:
        raise FlipsideError(f"no estimate of {experiment!r} is published; `flipside experiment list` has the names")
    if as_json:
        _print_json(rows)
    elif as_csv:
        _print_csv(rows)
    elif history:
        _print_history(rows)
    else:
        _print_table(rows, tables)


def _tables(source: Path | None, experiment: str | None, kafka: str | None, namespace: str | None) -> "Tables":
    """The estimates and the running sequences of one experiment, or of all."""
    if source is not None:
        from analysis.export.folder import read

        return {name: read(name, source, experiment) for name in ("estimates", "sequences")}
    import pyarrow.compute as pc

    from controller.messages.topics import ESTIMATE, SEQUENCE
    from flipside.commands.options import settings_from
    from flipside.results.outcome import tables_from_topics

    tables = tables_from_topics(settings_from(kafka=kafka, namespace=namespace), (ESTIMATE, SEQUENCE))
    found = {name: tables[name] for name in ("estimates", "sequences")}
    if experiment is None:
        return found
    return {k: t.filter(pc.equal(t["experiment"].cast("string"), experiment)) for k, t in found.items()}


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


def _print_table(rows: list[dict[str, Any]], tables: "Tables") -> None:
    """What to quote of each metric and arm; an observational estimate stands as it is, and is never quoted instead."""
    from analysis.export.headline import headlines, kind_text, other_text, quoted_text
    from controller.messages.events import OBSERVATIONAL

    quotable = {(h.experiment, h.metric, h.arm): h for h in headlines(tables["estimates"], tables["sequences"])}
    lines = []
    for r in rows:
        found = quotable.get((r["experiment"], r["metric"], r["arm"]))
        if r["estimator"] == OBSERVATIONAL or found is None:
            lines.append(_line(r, _fixed_text(r), f"fixed-horizon {100 * r['confidence']:.0f} %", ""))
        else:
            kind = "" if found.quoted is None else kind_text(found, found.quoted)
            lines.append(_line(r, quoted_text(found), kind, other_text(found)))
    _show("effect relative to control", ("effect [interval]", "interval", "beside it"), lines)


def _print_history(rows: list[dict[str, Any]]) -> None:
    lines = [_line(r, _fixed_text(r)) for r in rows]
    _show("effect relative to control, fixed-horizon: for the planned day only", ("effect [interval]",), lines)


def _fixed_text(r: dict[str, Any]) -> str:
    from analysis.export.headline import Span, interval_text

    if r["relative"] is None:
        return f"none: {r['reason_absent']}"
    return interval_text(Span(r["relative"], r["relative_low"], r["relative_high"]))


def _line(r: dict[str, Any], *said: str) -> tuple[str, ...]:
    from controller.messages.events import OBSERVATIONAL

    series = f"{r['experiment']} {r['metric']} {r['arm']}"
    through = f"{r['day']}" + (f" r{r['revision']}" if r["revision"] else "")
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in r["left_out"].items()) or "none"
    observational = " (observational)" if r["estimator"] == OBSERVATIONAL else ""
    return (series + observational, through, *said, f"{r['cells']:,}", left_out)


def _show(title: str, names: tuple[str, ...], lines: list[tuple[str, ...]]) -> None:
    from rich import box

    from flipside.terminal.record_list import print_records

    columns = ("experiment metric arm", "through", *names, "unit-days", "left out")
    print_records(columns, lines, title=title, box=box.SIMPLE, right=("unit-days",))
