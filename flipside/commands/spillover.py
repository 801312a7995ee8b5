"""`flipside spillover`: who pays for it, of one experiment."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flipside.commands.options import AsJson, Kafka, Namespace

if TYPE_CHECKING:
    from analysis.export.schemas import Tables


def spillover(
    experiment: Annotated[str, typer.Argument(help="Its name.")],
    source: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="Read this export instead of Kafka.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE", help="Naive against corrected, as .html, .svg or .png.")
    ] = None,
    metric: Annotated[str, typer.Option("--metric", help="Of the picture: units, revenue or margin.")] = "margin",
    kafka: Kafka = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """Total, direct and spillover effects beside the naive one, by the published graph of substitutes.

    All are fixed-horizon numbers: valid for one look, on the planned day.

    Example: flipside spillover juice --from outcome --picture juice.svg
    """
    from analysis.report.spillover import rows_of, spillover_chart
    from controller.errors import FlipsideError

    tables = _tables(source, experiment, kafka, namespace)
    if not tables["experiments"].num_rows:
        raise FlipsideError(f"no experiment {experiment!r} is registered; `flipside experiment list` has the names")
    rows = rows_of(tables["spillover"], tables["experiments"].to_pylist()[-1]["currency"])
    if not rows:
        raise FlipsideError(
            f"no effect with spillover is published of {experiment!r}: no day is closed yet, or no graph of substitutes"
            " was published before; its estimates have the naive number"
        )
    if picture is not None:
        mine = [row for row in rows if row["metric"] == metric]
        if not mine:
            raise FlipsideError(f"--metric {metric}: choose one of units, revenue, margin")
        _draw(mine, picture, spillover_chart)
    if as_json:
        _print_json(rows)
        return
    from flipside.terminal.spillover_output import print_effects

    print_effects(experiment, rows)
    if picture is not None:
        print(f"picture: {picture}")


def _tables(source: Path | None, experiment: str, kafka: str | None, namespace: str | None) -> "Tables":
    names = ("experiments", "spillover")
    if source is not None:
        from analysis.export.folder import read

        return {name: read(name, source, experiment) for name in names}
    import pyarrow.compute as pc

    from controller.messages.topics import ASSIGNMENT_LOG, ESTIMATE
    from flipside.commands.options import settings_from
    from flipside.results.outcome import tables_from_topics

    tables = tables_from_topics(settings_from(kafka=kafka, namespace=namespace), (ASSIGNMENT_LOG, ESTIMATE))
    return {k: tables[k].filter(pc.equal(tables[k]["experiment"].cast("string"), experiment)) for k in names}


def _draw(rows: list[dict[str, Any]], picture: Path, chart: Any) -> None:
    from controller.errors import FlipsideError

    if picture.suffix not in (".html", ".svg", ".png"):
        raise FlipsideError(f"--picture {picture}: the name ends in .html, .svg or .png")
    try:
        chart(rows).save(str(picture), **({"inline": True} if picture.suffix == ".html" else {}))
    except ValueError as error:
        raise FlipsideError(f"--picture {picture}: {error}") from error
    except OSError as error:
        raise FlipsideError(f"cannot write {picture}: {error.strerror or error}; name another file") from error


def _print_json(rows: list[dict[str, Any]]) -> None:
    import json

    kept = [{k: v for k, v in row.items() if k not in ("left_out", "offsets")} for row in rows]
    print(json.dumps(kept, default=str))
