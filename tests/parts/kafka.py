"""A real Apache Kafka in KRaft mode, of one node or of three, without containers: as crashes and restarts need it."""

import base64
import os
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams.embedded.processes import Child, Sandbox
from tests.parts.jars import class_sharing, jars
from tests.parts.ports import free_port

START_SECONDS = 120.0
FORMAT_SECONDS = 60.0
JVM = ("-XX:-UsePerfData", "-Dlog4j2.level=WARN")
#: a node that lives for a test is ready sooner, and never as fast as one that runs for hours
SHORT_LIVED = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
#: as Kafka's own kafka-server-start.sh has it: what runs often is compiled, what is no longer used cleared seldom
LONG_LIVED = (
    "-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent", "-XX:MaxInlineLevel=15",
)  # fmt: skip

#: of a node without others: there is nobody who would miss the no-op records of an idle quorum
ALONE = {"metadata.max.idle.interval.ms": "0"}
#: of one of several: a dead broker is noticed in three seconds and not in nine
AMONG_OTHERS = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}


class Kafka:
    """A cluster that starts on entry and is gone, files and all, on exit.

    ``address`` is what clients bootstrap from. Nodes count from 1. Methods that change a node block until the change
    has taken place: from a coroutine, call them in a thread.
    """

    def __init__(
        self,
        nodes: int = 1,
        overrides: dict[str, str] | None = None,
        doors: Sequence[str] = (),
        heap: str = "",
        users: dict[str, str] | None = None,
        jvm: Sequence[str] = SHORT_LIVED,
    ) -> None:
        """``overrides``: lines of server.properties; ``{port}`` and ``{controller}`` stand for the node's own.

        ``doors``: names of further listeners that tell clients of another port than the one they listen on, for a
        proxy of the caller's to stand there; see `door`. ``heap``: of each node, such as ``256m``. ``users``: name ->
        password of those whom a SCRAM-SHA-512 listener admits. ``jvm``: more of Java's options; see
        `LONG_LIVED`.
        """
        self._users = users or {}
        self._nodes = range(1, nodes + 1)
        self._ports = {node: free_port() for node in self._nodes}
        self._controllers = {node: free_port() for node in self._nodes}
        self._overrides = overrides or {}
        self._doors = {door: {node: (free_port(), free_port()) for node in self._nodes} for door in doors}
        self._jvm = [*JVM, *jvm]
        self._heap = heap or ("512m" if nodes == 1 else "384m")
        self._running: dict[int, Child] = {}
        self._paused: set[int] = set()

    @property
    def address(self) -> str:
        """``host:port`` of every node, with commas."""
        return ",".join(f"127.0.0.1:{port}" for port in self._ports.values())

    def door(self, name: str) -> list[tuple[int, int]]:
        """For each node the port that this listener's clients are told, and the one that it listens on."""
        return list(self._doors[name].values())

    def __enter__(self) -> Self:
        self._classpath = f"{jars()}/*"
        self._sandbox = Sandbox("flipside-kafka-")
        try:
            self._format()
            for node in self._nodes:
                self._launch(node)
            self._wait_for(self._nodes)
        except BaseException:
            self._sandbox.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._sandbox.close()

    def pid(self, node: int = 1) -> int:
        return self._running[node].pid

    def kill(self, node: int = 1) -> None:
        """SIGKILL."""
        self._running.pop(node).kill()
        self._paused.discard(node)

    def stop(self, node: int = 1, timeout: float = 30.0) -> None:
        """SIGTERM: the node hands over what it leads, and leaves; SIGKILL after ``timeout`` seconds."""
        self._running.pop(node).stop(timeout)

    def pause(self, node: int = 1) -> None:
        """SIGSTOP: its connections stay open and nothing answers, as in a long collection or a cut network."""
        self._running[node].pause()
        self._paused.add(node)

    def resume(self, node: int = 1) -> None:
        self._running[node].resume()
        self._paused.discard(node)

    def restart(self, node: int = 1) -> None:
        """Start a node that was killed or stopped, on its old port and data; returns when all who run see it."""
        assert node not in self._running, f"node {node} is running"
        self._launch(node)
        self._wait_for(self._running.keys() - self._paused)

    def wait_in_sync(self) -> None:
        """Until every partition has a leader, and all its copies in sync."""
        node = next(iter(self._running))
        client = AdminClient({"bootstrap.servers": f"127.0.0.1:{self._ports[node]}", "log_level": 0})

        def in_sync() -> bool:
            try:
                topics = client.list_topics(timeout=1).topics.values()
            except KafkaException:
                return False
            partitions = [partition for topic in topics for partition in topic.partitions.values()]
            return all(set(p.isrs) == set(p.replicas) and p.leader >= 0 for p in partitions)

        self._running[node].wait_until(in_sync, START_SECONDS, "seeing all copies in sync")

    def log(self, node: int = 1) -> str:
        """The end of a node's log."""
        return self._running[node].tail()

    def _format(self) -> None:
        """Give every node its configuration and an empty log folder that knows the cluster."""
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # A single node elects itself; several must be told of each other.
        alone = ["--standalone"] if len(self._nodes) == 1 else []
        for user, password in self._users.items():
            alone += ["--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]"]
        formatting = []
        for node in self._nodes:
            path = self._sandbox.folder / f"node-{node}.properties"
            path.write_text("".join(f"{key}={value}\n" for key, value in self._properties(node).items()))
            command = self._java("64m", "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", *alone)
            formatting.append(self._sandbox.start(f"format-{node}", [*command, "-c", str(path)]))
        for child in formatting:
            child.wait_to_end(FORMAT_SECONDS)

    def _launch(self, node: int) -> None:
        path = self._sandbox.folder / f"node-{node}.properties"
        self._running[node] = self._sandbox.start(f"kafka-{node}", self._java(self._heap, "kafka.Kafka", str(path)))

    def _java(self, heap: str, main: str, *arguments: str) -> list[str]:
        options = ["-Xms64m", f"-Xmx{heap}", *class_sharing(), *self._jvm]
        return ["java", *options, "-cp", self._classpath, main, *arguments]

    def _wait_for(self, nodes: Iterable[int]) -> None:
        """Until each of these nodes answers, and tells of all of them and of a controller."""
        expected = set(nodes)
        for node in sorted(expected):
            client = AdminClient({"bootstrap.servers": f"127.0.0.1:{self._ports[node]}", "log_level": 0})

            def sees_all(client: AdminClient = client) -> bool:
                try:
                    seen = client.list_topics(timeout=1)
                except KafkaException:
                    return False
                return expected <= set(seen.brokers) and seen.controller_id > 0

            self._running[node].wait_until(sees_all, START_SECONDS, f"seeing nodes {sorted(expected)}")

    def _properties(self, node: int) -> dict[str, str]:
        port, controller = self._ports[node], self._controllers[node]
        copies = str(len(self._nodes))
        in_sync = str(max(1, len(self._nodes) - 1))
        voters = [(other, f"127.0.0.1:{port}") for other, port in self._controllers.items()]
        quorum = (
            {"controller.quorum.bootstrap.servers": voters[0][1]}
            if len(voters) == 1
            else {"controller.quorum.voters": ",".join(f"{other}@{address}" for other, address in voters)}
        )
        doors = {name: ports[node] for name, ports in self._doors.items()}
        listening = "".join(f",{name}://127.0.0.1:{behind}" for name, (_, behind) in doors.items())
        told = "".join(f",{name}://127.0.0.1:{front}" for name, (front, _) in doors.items())
        protocols = "".join(f",{name}:PLAINTEXT" for name in doors)
        return {
            "process.roles": "broker,controller",
            "node.id": str(node),
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{listening}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}{told}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": f"CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT{protocols}",
            **quorum,
            "log.dirs": str(self._sandbox.folder / f"data-{node}"),
            "auto.create.topics.enable": "false",
            "num.partitions": "4",
            "default.replication.factor": copies,
            "min.insync.replicas": in_sync,
            "offsets.topic.replication.factor": copies,
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": in_sync,
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": in_sync,
            # Tests wait for nobody: no pause for more members.
            "group.initial.rebalance.delay.ms": "0",
            # A worker that was killed is missed after a second, where a test asks for that.
            "group.min.session.timeout.ms": "1000",
            "controlled.shutdown.enable": "true",
            # Compaction quick enough to be seen (a topic needs a small segment.ms as well).
            "log.cleaner.backoff.ms": "1000",
            "log.cleaner.min.cleanable.ratio": "0.01",
            **(ALONE if len(self._nodes) == 1 else AMONG_OTHERS),
            **{key: value.format(port=port, controller=controller) for key, value in self._overrides.items()},
        }


def password_listener(port: int) -> dict[str, str]:
    """Overrides: a second listener on this port, for a user ``worker`` with the password ``right`` (SASL, PLAIN)."""
    listener = f"SASL_PLAINTEXT://127.0.0.1:{port}"
    module = "org.apache.kafka.common.security.plain.PlainLoginModule"
    return {
        "listeners": "PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}," + listener,
        "advertised.listeners": "PLAINTEXT://127.0.0.1:{port}," + listener,
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": f'{module} required user_worker="right";',
    }


def guarded_listener(port: int, key_and_certificate: Path) -> dict[str, str]:
    """Overrides: a second listener on this port, over TLS, for users that know a password (SASL_SSL, SCRAM-SHA-512)."""
    listener, name = f"SASL_SSL://127.0.0.1:{port}", "listener.name.sasl_ssl"
    module = "org.apache.kafka.common.security.scram.ScramLoginModule"
    return {
        "listeners": "PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}," + listener,
        "advertised.listeners": "PLAINTEXT://127.0.0.1:{port}," + listener,
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL",
        f"{name}.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        f"{name}.scram-sha-512.sasl.jaas.config": f"{module} required;",
        f"{name}.ssl.keystore.type": "PEM",
        f"{name}.ssl.keystore.location": str(key_and_certificate),
    }


def resident_megabytes(pid: int) -> float:
    """What a process holds in memory now, in MB (from /proc, hence on Linux only)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
