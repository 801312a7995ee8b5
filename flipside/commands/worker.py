"""`flipside worker` and `flipside analysis`: the two long-running processes."""

from pathlib import Path
from typing import Annotated

import typer

from flipside.commands.options import Kafka, Namespace, Redis, settings_of_service

#: supervisors kill after ten seconds or more
GIVE_UP_SECONDS = 9.5


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

    settings = settings_of_service(kafka=kafka, redis=redis, namespace=namespace)
    serve(settings, lambda stop: run_worker(settings, name or worker_name(), stop), GIVE_UP_SECONDS)


def analysis(
    kafka: Kafka = None,
    namespace: Namespace = None,
) -> None:
    """Fold the panel, the log and what went live; publish estimates, sequences and checks after each closed day.

    All its state can be read again: stop, kill and restart it at any time. With FLIPSIDE_ANALYSIS_SNAPSHOTS it
    continues from its last snapshot instead of reading the log. Where FLIPSIDE_EXPORT_FOLDER is set, all that it
    publishes is kept there as Parquet too. Metrics on FLIPSIDE_METRICS_PORT. Estimates have effects with spillover by
    the graph of substitutes that `flipside graph publish` has published, and interference is looked for between its
    pairs.
    """
    from flipside.without_pandas import keep_pandas_out

    keep_pandas_out()
    import asyncio

    from analysis.worker.worker import Options, Watch, run
    from flipside.freed_memory import giving_back
    from flipside.results.archive import Archive, both
    from flipside.serve import serve
    from streams.kafka.connection import connection, reach_kafka
    from streams.worker.heartbeat import Pulse
    from streams.worker.metrics import AnalysisMetrics
    from streams.worker.probes import serve_probes

    settings = settings_of_service(kafka=kafka, namespace=namespace)

    async def work(stop: asyncio.Event) -> None:
        await reach_kafka(settings)
        metrics, pulse = AnalysisMetrics(), Pulse(patience=settings.stuck_seconds)
        pulse.expect(["reading"])
        metrics.ready.set_function(lambda: float(pulse.why_not_ready() is None))

        def turned(behind: int) -> None:
            """Ready once all was read that was there; a turn that lasts long is no fault of its own."""
            metrics.lag.set(behind)
            pulse.look()
            if not behind:
                pulse.beat("reading")
            else:
                pulse.excuse()

        watch = Watch(metrics.known, turned)
        if settings.metrics_port:
            serve_probes(settings.metrics_host, settings.metrics_port, metrics.registry, pulse)
        options = Options(
            rivals=settings.analysis_reads_rivals,
            snapshots=Path(settings.analysis_snapshots) if settings.analysis_snapshots else None,
            snapshot_seconds=settings.analysis_snapshot_seconds,
            processes=settings.analysis_processes,
            dask=settings.analysis_dask,
        )
        if not settings.export_folder:
            await run(connection(settings), settings.namespace, stop, metrics.saw, options, metrics.put_aside, watch)
            return
        archive = Archive(Path(settings.export_folder))
        writing = asyncio.create_task(archive.run(settings, stop))
        try:
            saw = both(metrics.saw, archive.take)
            await run(connection(settings), settings.namespace, stop, saw, options, metrics.put_aside, watch)
        finally:
            stop.set()
            await writing

    serve(settings, giving_back(work))
