"""`flipside report`: an experiment as one page."""

from pathlib import Path
from typing import Annotated

import typer

from flipside.commands.options import AsJson, Kafka, Namespace


def report(
    experiment: Annotated[
        str | None, typer.Argument(help="Its name; may be left out where a folder has only one.", show_default=False)
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option(
            "--replay", metavar="DIR", help="Read this export (`replay --out`, `export --out`) instead of Kafka."
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write the page.")] = Path("report.html"),
    kafka: Kafka = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """Write an experiment's report: one HTML file that needs no network, with its pictures, numbers and origin.

    Three pictures: the effect after each closed block with its anytime and its fixed interval; arms by cluster and day
    with washout, blackouts and missed flips; every assumption and how far it is from its threshold. Where the catalog
    gave units a category or attributes before the start: who responds. Then which clusters carry each number.
    --json has both.

    Example: flipside report --replay outcome --out report.html
    """
    from analysis.report.vega import bundled
    from controller.errors import FlipsideError
    from flipside.results.outcome import tables_from_folder, tables_from_topics, write_report
    from streams.runtime.settings import cache_folder

    if replay is None and experiment is None:
        raise FlipsideError(
            "which experiment? Name it (`flipside experiment list` has the names), or give --replay DIR"
        )
    with bundled(cache_folder()) as vega:  # ahead of the reading: it is another process's work
        if replay is not None:
            tables, name = tables_from_folder(replay, experiment)
        else:
            from flipside.commands.options import settings_from
            from flipside.terminal.view import counting

            name = experiment or ""
            with counting("records") as on_read:
                tables = tables_from_topics(settings_from(kafka=kafka, namespace=namespace), on_read=on_read)
        path = write_report(tables, name, out, vega)
    if as_json:
        import json

        from flipside.results.outcome import who_responds

        print(json.dumps({"report": str(path), "experiment": name, "who_responds": who_responds(tables, name)}))
        return
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB; open it in a browser, it needs no network")
