"""A reader that shares no line with ours: Java, kafka-clients, the rule as the page states it."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from client.tests.builders import UNIT, at, published
from controller.messages.events import Assignment
from controller.messages.topics import ASSIGNMENT
from flipside_client import Assignments
from tests.client.installation import Announced, installation
from tests.parts.jars import jars
from tests.parts.shared_kafka import SharedKafka

SOURCE = Path(__file__).resolve().parents[2] / "examples" / "java" / "Assignments.java"
#: a JVM that lives for a second need not optimise
LIGHT = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]
OTHERS = [f"berlin/sku-{number}" for number in range(2, 12)]


def early(day: int, arm: str, **other: object) -> Assignment:
    """Decided before the first day, because our client forgets what was over well before the newest decision."""
    return published(day, arm, decided_at=at(0, 20), **other)


@pytest.mark.broker
@pytest.mark.jdk
async def test_a_java_consumer_reads_the_same_arms_at_every_instant(
    kafka: SharedKafka, namespace: str, tmp_path: Path
) -> None:
    instants = [at(1, hour) for hour in range(-2, 98, 6)] + [at(2), at(3), at(4)]
    async with installation(kafka.address, namespace) as publish:
        await publish(*(published(1, "low" if unit > "berlin/sku-5" else "high", unit=unit) for unit in OTHERS))
        await publish(
            early(2, "high"), early(1, "low"), early(2, "high"),  # the wrong way round, and twice
            early(3, "low", epoch=8, sequence=0), early(3, "high", epoch=7, sequence=99),  # an older epoch
            early(4, "control", sequence=100, epoch=8, expires_at=None),  # a release
            (UNIT.encode(), b"{"),
            # Newer than everything: with the brokers in time, and too late.
            Announced(published(1, "low", unit=OTHERS[-1], epoch=9), datetime(2999, 1, 1, tzinfo=UTC)),
            Announced(published(1, "high", unit=OTHERS[0], epoch=9), datetime(2001, 1, 1, tzinfo=UTC)),
        )  # fmt: skip
        async with Assignments(kafka.address, namespace) as client:
            units = client.units()
            assert client.status().records["late"] == 1
            ours = [f"{unit} {_z(now)} {client.arm(unit, now) or 'control'}" for unit in units for now in instants]
    classpath = f"{jars()}/*"
    lint = "-Xlint:all,-processing,-classfile,-path"
    _run(
        ["javac", *(f"-J{flag}" for flag in LIGHT), "-Werror", lint, "-cp", classpath, "-d", str(tmp_path), str(SOURCE)]
    )
    topic = f"{namespace}.{ASSIGNMENT}"
    theirs = _run(
        ["java", *LIGHT, "-cp", f"{tmp_path}:{classpath}", "Assignments", kafka.address, topic, *map(_z, instants)]
    )
    assert theirs.splitlines() == ours
    assert {line.rsplit(" ", 1)[1] for line in ours} == {"control", "low", "high"}


def _z(instant: object) -> str:
    return str(instant).replace(" ", "T").replace("+00:00", "Z")


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
