"""How everybody connects to Kafka: one set of arguments from the settings, and one patient first contact."""

import asyncio
import ssl
from typing import Any

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)

from controller.errors import CannotReach
from flipside_client.batches import read_any_header_name
from streams.runtime.connect_retry import patiently
from streams.runtime.settings import Settings

NOT_ADMITTED = (AuthenticationFailedError, SaslAuthenticationFailed, UnsupportedSaslMechanismError)
#: so long may a client take to say goodbye
STOP_SECONDS = 2.0
WAY_OUT = "check FLIPSIDE_KAFKA (--kafka), and that the broker runs and listens there"


def connection(settings: Settings) -> dict[str, Any]:
    """The keyword arguments that every aiokafka client of ours is made with.

    From here on, consumers of this process read records whatever their headers are called.

    Raises CannotReach where the authority's certificate cannot be read.
    """
    read_any_header_name()
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.kafka,
        "security_protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_security_protocol in ("SSL", "SASL_SSL"):
        arguments["ssl_context"] = _trust(settings)
    if settings.kafka_security_protocol in ("SASL_PLAINTEXT", "SASL_SSL"):
        assert settings.kafka_username is not None, "Settings admits no SASL without a user"
        assert settings.kafka_password is not None, "Settings admits no SASL without a password"
        arguments["sasl_mechanism"] = settings.kafka_sasl_mechanism
        arguments["sasl_plain_username"] = settings.kafka_username
        arguments["sasl_plain_password"] = settings.kafka_password.get_secret_value()
    return arguments


def refusal(error: BaseException) -> CannotReach | None:
    """What to do about a right that Kafka's access rules do not give; None for any other error."""
    if isinstance(error, TopicAuthorizationFailedError):
        named = error.args[0] if error.args else ()
        what = ", ".join(sorted(map(str, named if isinstance(named, list | set | tuple | frozenset) else [named])))
        topics = what or "a topic"
    elif isinstance(error, GroupAuthorizationFailedError):
        topics = f"consumer group {error.args[0]}" if error.args else "a consumer group"
    elif isinstance(error, ClusterAuthorizationFailedError):
        topics = "any topic for writing"
    else:
        return None
    return CannotReach(
        f"Kafka's access rules do not let the user of FLIPSIDE_KAFKA_USERNAME use {topics}: use the role that may, or "
        "add the rules of deploy/kafka/access.sh (docs/operating.md, Who may write what)"
    )


async def reach_kafka(settings: Settings) -> Settings:
    """Return once a broker answers and admits us; call it before the first client is started.

    All brokers are asked at once, so that one that hangs holds up nobody. Returns the same settings with the broker
    that answered first as the only address: a client that is made with them asks no other one for the cluster's layout.

    aiokafka's clients say "unable to bootstrap" whatever the cause; this one says the cause. Raises CannotReach after
    ``connect_timeout_seconds``, or at once where waiting will not help: a wrong password, a certificate not trusted.
    """
    arguments = connection(settings)
    arguments.pop("bootstrap_servers")

    async def first_to_answer() -> str:
        asked = [asyncio.create_task(_answers(address, settings, arguments)) for address in settings.kafka.split(",")]
        refusals = []
        try:
            for next_one in asyncio.as_completed(asked):
                try:
                    return await next_one
                except (OSError, KafkaError) as error:
                    refusals.append(str(error))
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        raise ConnectionError("; ".join(refusals))

    address = await patiently(first_to_answer, "Kafka", settings.kafka, settings.connect_timeout_seconds, WAY_OUT)
    return settings.model_copy(update={"kafka": address})


async def _answers(address: str, settings: Settings, arguments: dict[str, Any]) -> str:
    """The address, once the broker there admits us; raises CannotReach where it never will, ConnectionError else."""
    (host, port, _), *_ = collect_hosts(address)
    try:
        (await create_conn(host, port, **arguments)).close()
    except NOT_ADMITTED as error:
        raise CannotReach(
            f"Kafka at {host}:{port} does not admit {settings.kafka_username!r}: {error}; check "
            "FLIPSIDE_KAFKA_USERNAME, FLIPSIDE_KAFKA_PASSWORD and FLIPSIDE_KAFKA_SASL_MECHANISM"
        ) from error
    except ssl.SSLCertVerificationError as error:
        raise CannotReach(
            f"Kafka at {host}:{port} shows a certificate that is not trusted: {error.verify_message}; "
            "check FLIPSIDE_KAFKA_CA_FILE, and that the certificate names this host"
        ) from error
    except (OSError, KafkaError) as error:
        raise ConnectionError(f"{host}:{port}: {error or type(error).__name__}") from error
    return address


async def stop_client(client: Any, seconds: float = STOP_SECONDS) -> None:
    """Stop an aiokafka client; one whose broker does not answer is left as it is after ``seconds``.

    Its fetcher awaits tasks that it has cancelled, and lets the cancellation of one that was waiting to try again
    escape; that one is not ours.
    """
    try:
        async with asyncio.timeout(seconds):
            await client.stop()
    except TimeoutError:
        return  # it says goodbye for as long as a request may take: 40 s; what it has left open ends with the process
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise


def _trust(settings: Settings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.kafka_ca_file)
    except OSError as error:
        raise CannotReach(
            f"FLIPSIDE_KAFKA_CA_FILE = {settings.kafka_ca_file!r} is no readable certificate: {error}; "
            "name the PEM file of the authority that signed the brokers' certificates"
        ) from error
