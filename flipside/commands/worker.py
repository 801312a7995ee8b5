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
    from flipside.serve import serve, worker_name
    from streams.app import run_worker

    settings = settings_from(kafka=kafka, redis=redis, namespace=namespace)
    serve(settings, lambda stop: run_worker(settings, name or worker_name(), stop))


def analysis(kafka: Kafka = None, namespace: Namespace = None) -> None:
    """Fold the panel and the log, and publish running estimates after each closed day.

    Holds nothing that it cannot read again: stop it, kill it, start it anew. Metrics on FLIPSIDE_METRICS_PORT.
    """
    import asyncio

    from prometheus_client import start_http_server

    from analysis.worker import run
    from flipside.serve import serve
    from streams.kafka import connection, reach_kafka
    from streams.metrics import AnalysisMetrics

    settings = settings_from(kafka=kafka, namespace=namespace)

    async def work(stop: asyncio.Event) -> None:
        await reach_kafka(settings)
        metrics = AnalysisMetrics()
        if settings.metrics_port:
            start_http_server(settings.metrics_port, settings.metrics_host, metrics.registry)
        await run(connection(settings), settings.namespace, stop, metrics.saw)

    serve(settings, work)
