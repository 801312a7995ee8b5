"""Settings: every knob of the shell, read from FLIPSIDE_* and nowhere else."""

import os
import pwd
from collections.abc import Mapping
from pathlib import Path
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
    #: URL of the Redis in which decisions are made: redis://, rediss:// or redis+sentinel:// (docs/operating.md)
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
    #: how many days a closed day may still be revised; a sale that comes later is kept as a correction
    revision_days: Annotated[int, Field(ge=1, le=60)] = 7
    #: whether a sale that repeats the id of another one of its unit and day is counted once
    deduplicate: bool = True
    #: how far a sale's own instant may lie ahead of its arrival before it is a dead letter (wall clock only)
    future_seconds: Annotated[int, Field(ge=0, le=7 * 86400)] = 300
    #: how many days a sale's own instant may lie before its arrival; an older one is a dead letter (wall clock only)
    past_days: Annotated[int, Field(ge=1, le=20_000)] = 1100
    #: how often an owner sums its shard up in a checkpoint, which a rebuild reads on from; 0: never
    checkpoint_seconds: Annotated[float, Field(ge=0, le=86_400)] = 900.0
    #: how often the reconciler asks what is due
    reconcile_seconds: Annotated[float, Field(gt=0, le=60)] = 1.0
    #: the same question under the tick clock, where a quarter may pass in a minute
    poll_seconds: Annotated[float, Field(gt=0, le=10)] = 0.02
    #: under the wall clock, a tick older than this decides nothing: the schedule goes on from now
    stale_tick_seconds: Annotated[float, Field(gt=0)] = 30.0
    #: under the wall clock, a decision that is not sent this long before it takes effect becomes control, because a
    #: failing broker may delay it by some seconds
    publish_margin_seconds: Annotated[float, Field(ge=0, le=86400)] = 5.0
    #: under the wall clock, a worker whose clock differs by more from that of Redis ends with an error
    clock_tolerance_seconds: Annotated[float, Field(gt=0, le=86400)] = 60.0
    #: how long a broker may delay its answer to an empty fetch; requests for offsets queue behind it
    fetch_wait_ms: Annotated[int, Field(ge=1, le=500)] = 50
    #: where metrics and probes listen
    metrics_host: str = "127.0.0.1"
    #: port of /metrics and of the probes /live and /ready; 0 switches them off
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 0
    #: a worker whose duties make no progress for so long, though Kafka and Redis answer, ends with an error
    stuck_seconds: Annotated[int, Field(ge=5, le=3600)] = 60
    #: folder in which the analysis keeps its snapshots; empty: it reads the log from its beginning at every start
    analysis_snapshots: str = ""
    #: how often a snapshot is written, and one more at a stop
    analysis_snapshot_seconds: Annotated[float, Field(ge=1, le=86_400)] = 900.0
    #: processes among which many experiments are shared out
    analysis_processes: Annotated[int, Field(ge=1, le=256)] = 1
    #: host:port of a Dask scheduler to share them out on instead; needs the package dask[distributed]
    analysis_dask: str = ""
    #: read rivals' prices too, to see whether they are staler in one arm
    analysis_reads_rivals: bool = False
    #: least severity that is logged
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    #: a name that this worker keeps over restarts: back from a crash within the timeout, it gets its partitions again
    worker_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{0,80}$")] = ""
    #: a worker that is silent for so long loses its partitions to the others
    session_timeout_ms: Annotated[int, Field(ge=1000, le=300_000)] = 10_000
    #: folder for tables as Parquet: `flipside analysis` keeps every finding there, `flipside export` writes there
    export_folder: str = ""
    #: how long to go on trying when Kafka or Redis cannot be reached at the start; a command that a person waits for
    #: gives up after ten seconds whatever is set here
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

    def environment(self) -> dict[str, str]:
        """The FLIPSIDE_* variables that make these settings, secrets in clear: for a child process, never for a log."""
        shown = {name: getattr(self, name) for name in type(self).model_fields}
        plain = {name: v.get_secret_value() if isinstance(v, SecretStr) else v for name, v in shown.items()}
        return {f"FLIPSIDE_{name.upper()}": str(value) for name, value in plain.items() if value is not None}

    def prefixed(self, name: str) -> str:
        """The name of a topic, group or key in this installation's namespace."""
        return f"{self.namespace}.{name}" if self.namespace else name


def child_environment(more: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process that we start: ours without its FLIPSIDE_* settings, and ``more``."""
    return {k: v for k, v in os.environ.items() if not k.startswith("FLIPSIDE_")} | dict(more)


def cache_folder() -> Path | None:
    """Where this user's things are kept that can be made again at any time; it need not exist yet.

    None where the environment names no folder and the user is unknown.
    """
    root = os.environ.get("XDG_CACHE_HOME")
    try:  # a HOME that is set and empty is as good as none
        root = root or f"{os.environ.get('HOME') or pwd.getpwuid(os.getuid()).pw_dir}/.cache"
    except KeyError:
        return None
    return Path(root) / "flipside"
