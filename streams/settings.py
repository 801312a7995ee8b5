"""Settings: every knob of the shell, read from FLIPSIDE_* and nowhere else."""

import os
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, StringConstraints, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Namespace = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{0,40}$")]


class Settings(BaseSettings):
    """Where the parts are and how the worker behaves. ``flipside config`` prints them with secrets masked."""

    model_config = SettingsConfigDict(env_prefix="FLIPSIDE_", frozen=True, extra="ignore")

    #: host:port[,host:port...] of the Kafka brokers
    kafka: str = "127.0.0.1:9092"
    #: how brokers are spoken to
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    #: how user and password are shown, where the protocol is SASL
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    #: needed where the protocol is SASL, and so is the password
    kafka_username: str | None = None
    #: never shown
    kafka_password: SecretStr | None = None
    #: PEM file of the authority that signed the brokers' certificates
    kafka_ca_file: str | None = None
    #: URL of the Redis in which decisions are made: redis:// or rediss://, with user and password where needed
    redis: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    #: prefixes topics, groups and Redis keys, so that two installations never meet
    namespace: Namespace = ""
    #: partitions of each topic at creation; the number of tick partitions is the number of shards, fixed for life
    partitions: Annotated[int, Field(ge=1, le=1024)] = 4
    #: copies of each topic at creation; 3 in production
    replication_factor: Annotated[int, Field(ge=1, le=7)] = 1
    #: acknowledged by so many replicas before a write counts; 2 in production
    min_insync_replicas: Annotated[int, Field(ge=1, le=7)] = 1
    #: the wall clock, or the tick topic (replays, demos, tests)
    clock: Literal["wall", "ticks"] = "wall"
    #: how long after the end of a day sales may still come before it is closed
    lateness_seconds: Annotated[int, Field(ge=0, le=7 * 86400)] = 900
    #: how often the reconciler asks what is due
    reconcile_seconds: Annotated[float, Field(gt=0, le=60)] = 1.0
    #: the same question under the tick clock, where a quarter may pass in a minute
    poll_seconds: Annotated[float, Field(gt=0, le=10)] = 0.02
    #: under the wall clock, a tick older than this decides nothing: the schedule goes on from now
    stale_tick_seconds: Annotated[float, Field(gt=0)] = 30.0
    #: how long a broker may hold back a fetch that finds nothing: questions about offsets queue behind it
    fetch_wait_ms: Annotated[int, Field(ge=1, le=500)] = 50
    #: where the metrics listen
    metrics_host: str = "127.0.0.1"
    #: port of a worker's metrics, /metrics; 0 switches the endpoint off
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 0
    #: least severity that is logged
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    #: a name that this worker keeps over restarts: it gets its partitions back at once instead of after the timeout
    worker_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{0,80}$")] = ""
    #: a worker that is silent for so long loses its partitions to the others
    session_timeout_ms: Annotated[int, Field(ge=1000, le=300_000)] = 10_000
    #: how long to go on trying when Kafka or Redis cannot be reached at the start
    connect_timeout_seconds: Annotated[float, Field(ge=0, le=3600)] = 60.0

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        if self.kafka_security_protocol.startswith("SASL") and (
            self.kafka_username is None or self.kafka_password is None
        ):
            raise ValueError(
                f"kafka_security_protocol = {self.kafka_security_protocol} needs kafka_username and kafka_password: "
                "set FLIPSIDE_KAFKA_USERNAME and FLIPSIDE_KAFKA_PASSWORD"
            )
        if self.min_insync_replicas > self.replication_factor:
            raise ValueError(
                f"min_insync_replicas = {self.min_insync_replicas} exceeds replication_factor = "
                f"{self.replication_factor}: no write could ever be acknowledged; lower the first or raise the second"
            )
        return self

    def prefixed(self, name: str) -> str:
        """The name of a topic, group or key in this installation's namespace."""
        return f"{self.namespace}.{name}" if self.namespace else name


def child_environment(more: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process that we start: ours without its FLIPSIDE_* settings, and ``more``."""
    return {k: v for k, v in os.environ.items() if not k.startswith("FLIPSIDE_")} | dict(more)
