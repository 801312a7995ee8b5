"""`flipside worker` and `flipside analysis`: the two long-running processes."""

from typing import Annotated

import typer

from flipside.commands.options import Kafka, Namespace, Redis, settings_from


def worker(
    kafka: Kafka = None,
    redis: Redis = None,
    namespace: Namespace = None,
    name: Annotated[
        str, typer.Option(help="Name in logs and ownership records; the host and process by default.")
    ] = "",
) -> None:
    """Decide, count and publish: one worker of any number. Stops on SIGTERM or Ctrl-C with nothing half done.

    Settings come from FLIPSIDE_* (see `flipside config`). Logs go to standard error, as JSON where that is no terminal.
    """
    from flipside.without_pandas import keep_pandas_out

    keep_pandas_out()
    from flipside.serve import serve, worker_name
    from streams.app import run_worker

    settings = settings_from(kafka=kafka, redis=redis, namespace=namespace)
    serve(settings, lambda stop: run_worker(settings, name or worker_name(), stop))


def analysis(kafka: Kafka = None, namespace: Namespace = None) -> None:
    """Fold the panel, the log and what went live; publish estimates, sequences and checks after each closed day.

    Holds nothing that it cannot read again: stop it, kill it, start it anew. With FLIPSIDE_ANALYSIS_SNAPSHOTS it goes
    on from its last snapshot instead of reading the log. Where FLIPSIDE_EXPORT_FOLDER is set, all that it publishes is
    kept there as Parquet too. Metrics on FLIPSIDE_METRICS_PORT.
    """
    from flipside.without_pandas import keep_pandas_out

    keep_pandas_out()
    import asyncio
    from pathlib import Path

    from prometheus_client import start_http_server

    from analysis.worker.worker import Options, run
    from flipside.results.archive import Archive, both
    from flipside.serve import serve
    from streams.kafka.connection import connection, reach_kafka
    from streams.worker.metrics import AnalysisMetrics

    settings = settings_from(kafka=kafka, namespace=namespace)

    async def work(stop: asyncio.Event) -> None:
        await reach_kafka(settings)
        metrics = AnalysisMetrics()
        if settings.metrics_port:
            start_http_server(settings.metrics_port, settings.metrics_host, metrics.registry)
        options = Options(
            rivals=settings.analysis_reads_rivals,
            snapshots=Path(settings.analysis_snapshots) if settings.analysis_snapshots else None,
            snapshot_seconds=settings.analysis_snapshot_seconds,
            processes=settings.analysis_processes,
            dask=settings.analysis_dask,
        )
        if not settings.export_folder:
            await run(connection(settings), settings.namespace, stop, metrics.saw, options, metrics.put_aside)
            return
        archive = Archive(Path(settings.export_folder))
        writing = asyncio.create_task(archive.run(settings, stop))
        try:
            saw = both(metrics.saw, archive.take)
            await run(connection(settings), settings.namespace, stop, saw, options, metrics.put_aside)
        finally:
            stop.set()
            await writing

    serve(settings, work)
