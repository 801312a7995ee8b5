"""How FLIPSIDE_REDIS is read: one server, or the one that Sentinels name at the moment.

``redis://[user:password@]host:port/db``; ``rediss://`` speaks TLS (``?ssl_ca_certs=FILE`` names the authority). With
Sentinels: ``redis+sentinel://[user:password@]host:port[,host:port...]/SERVICE[/db]``, ``rediss+sentinel://`` with
TLS to both; ``?sentinel_username=...&sentinel_password=...`` where the Sentinels ask for their own.
"""

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialBackoff

from controller.errors import CannotReach

#: how often a lost answer is asked for again
RETRIES = 3
SENTINEL_PORT = 26379


def connect(url: str, answer_seconds: float) -> tuple[Redis, str]:
    """A client that connects with its first call, and how its server is called in messages, without secrets.

    Raises CannotReach for an address that cannot be read; the message never quotes it, because of the password.
    """
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": answer_seconds,
        "socket_connect_timeout": answer_seconds,
        "health_check_interval": 15,
        # Every call may be repeated, so a lost reply is asked for again.
        "retry": Retry(ExponentialBackoff(cap=1.0, base=0.05), RETRIES),
    }
    try:
        if "+sentinel://" in url:
            return _by_sentinel(url, options)
        client: Redis = Redis.from_url(url, **options)
    except ValueError:
        raise CannotReach(
            "FLIPSIDE_REDIS is no address of a Redis; write redis://[user:password@]host:port/0, or "
            "redis+sentinel://[user:password@]host:port,host:port/SERVICE, with the password percent-encoded"
        ) from None
    where = client.connection_pool.connection_kwargs
    return client, where.get("path") or f"{where.get('host', 'localhost')}:{where.get('port', 6379)}"


def _by_sentinel(url: str, options: dict[str, Any]) -> tuple[Redis, str]:
    parts = urlsplit(url)
    if parts.scheme not in ("redis+sentinel", "rediss+sentinel"):
        raise ValueError(parts.scheme)
    given = dict(parse_qsl(parts.query))
    names = {"sentinel_username": "username", "sentinel_password": "password"}
    for_sentinels = {name: given.pop(asked) for asked, name in names.items() if asked in given}
    user, _, hosts = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    credentials = {"username": unquote(name) or None, "password": unquote(password)} if user else {}
    service, _, db = parts.path.strip("/").partition("/")
    if not service or not hosts:
        raise ValueError("a service and a Sentinel are needed")
    transport = {"ssl": True, **given} if parts.scheme == "rediss+sentinel" else given
    sentinels = Sentinel(  # type: ignore[no-untyped-call]
        [_host(host) for host in hosts.split(",")],
        sentinel_kwargs={
            "socket_timeout": options["socket_timeout"],
            "socket_connect_timeout": options["socket_connect_timeout"],
            **transport,
            **for_sentinels,
        },
        **options,
        **transport,
        **credentials,
    )
    client: Redis = sentinels.master_for(service, db=int(db or 0))
    return client, f"{service} (by Sentinels {hosts})"


def _host(text: str) -> tuple[str, int]:
    host, _, port = text.partition(":")
    return host, int(port or SENTINEL_PORT)
