"""/metrics, /live and /ready on one port, answered by a thread: a loop that hangs must not keep that to itself."""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from socketserver import ThreadingMixIn
from threading import Thread
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from controller.errors import CannotReach
from streams.worker.heartbeat import Pulse

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

Probe = Callable[[], str | None]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the library calls it by
        """A probe a second is no news."""


def serve_probes(host: str, port: int, registry: CollectorRegistry, pulse: Pulse) -> WSGIServer:
    """Listen on ``host``:``port`` until the process ends or the server is shut down; port 0 takes a free one.

    A probe that fails answers 503 and says why in plain text. Raises CannotReach where the port is taken.
    """
    metrics: Callable[..., Iterable[bytes]] = make_wsgi_app(registry)
    probes: dict[str, Probe] = {"/live": pulse.why_not_alive, "/ready": pulse.why_not_ready}

    def answer(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            return metrics(environ, start)
        if path in probes:
            trouble = probes[path]()
            status = HTTPStatus.OK if trouble is None else HTTPStatus.SERVICE_UNAVAILABLE
            text = "ok" if trouble is None else trouble
        else:
            status, text = HTTPStatus.NOT_FOUND, "there are /metrics, /live and /ready"
        start(f"{status.value} {status.phrase}", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{text}\n".encode()]

    try:
        server = make_server(host, port, answer, _Server, _Quiet)
    except OSError as error:
        raise CannotReach(
            f"cannot listen on {host}:{port} for metrics and probes: {error}; set FLIPSIDE_METRICS_HOST and "
            "FLIPSIDE_METRICS_PORT to an address that is free, or the port to 0 for none"
        ) from error
    Thread(target=server.serve_forever, name="probes", daemon=True).start()
    return server
