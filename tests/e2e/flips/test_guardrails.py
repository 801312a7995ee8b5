"""Kafka and Redis as operated in earnest: passwords and certificates demanded, and a Redis that fails over."""

import asyncio
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from controller.errors import CannotReach
from flipside.replay.progress import Result
from flipside.replay.replay import Replayer, replayer
from streams.embedded.processes import Sandbox
from streams.embedded.servers import redis_program
from streams.kafka.connection import reach_kafka
from streams.store.redis.store import RedisStore
from tests.e2e.running import CALM_DAYS, Servers, decisions, flipside, market, plan, replay, running
from tests.parts.certificates import make_certificates
from tests.parts.kafka import Kafka, guarded_listener
from tests.parts.ports import free_port
from tests.parts.redis_server import RedisServer
from tests.parts.shared_kafka import SharedKafka

pytestmark = pytest.mark.broker

#: needs percent-encoding in an address
PASSWORD = "s3cret/@:%"
USER = "worker"
#: what a worker does: its keys, scripts, the memory policy; nothing that ends or reconfigures the server
RIGHTS = f"user {USER} on >{PASSWORD} ~{{guarded:* &* +@all -@admin -@dangerous +info +config|get\nuser default off\n"


@pytest.mark.redis7
@pytest.mark.openssl
async def test_a_replay_over_tls_with_scram_and_acl_users_keeps_every_promise_and_tells_no_secret(
    tmp_path: Path,
) -> None:
    certificates, tls_port, redis_port = make_certificates(tmp_path), free_port(), free_port()
    (tmp_path / "users.acl").write_text(RIGHTS)
    tls = [
        *("--port", "0", "--tls-port", str(redis_port), "--tls-auth-clients", "no"),
        *("--tls-cert-file", str(certificates.certificate), "--tls-key-file", str(certificates.key)),
        *("--tls-ca-cert-file", str(certificates.authority), "--aclfile", str(tmp_path / "users.acl")),
    ]
    listener = guarded_listener(tls_port, certificates.key_and_certificate)
    with Kafka(overrides=listener, users={USER: "right"}), RedisServer(*tls):
        at = f"127.0.0.1:{redis_port}/0?ssl_ca_certs={certificates.authority}"
        servers = Servers(f"127.0.0.1:{tls_port}", f"rediss://{USER}:{quote(PASSWORD, safe='')}@{at}")
        secured = {
            "kafka_security_protocol": "SASL_SSL",
            "kafka_username": USER,
            "kafka_password": "right",
            "kafka_ca_file": str(certificates.authority),
            "connect_timeout_seconds": 5.0,
        }
        settings = servers.settings("guarded", **secured)
        history = market(days=3)
        result = await replay(settings, plan(history))
        assert result.broken_promises == ()
        assert result.events_counted == history.rows

        said = await flipside("config", "--json", **settings.environment())
        assert said.code == 0, said.err
        assert "right" not in said.out
        assert PASSWORD not in said.out
        assert quote(PASSWORD, safe="") not in said.out

        for wrong, told in (
            ({"kafka_password": "wrong"}, "FLIPSIDE_KAFKA_PASSWORD"),
            ({"kafka_ca_file": None}, "FLIPSIDE_KAFKA_CA_FILE"),
        ):
            with pytest.raises(CannotReach, match=told):
                await reach_kafka(servers.settings("guarded", **{**secured, **wrong}))
        stranger = RedisStore(f"rediss://{USER}:wrong@{at}", "guarded", 4)
        with pytest.raises(CannotReach, match="user or password are missing or wrong") as refused:
            await stranger.reach(5.0)
        assert "wrong@" not in str(refused.value)
        await stranger.close()


async def test_sentinels_name_the_replica_after_the_primary_is_killed_and_no_decision_or_sale_is_lost(
    kafka: SharedKafka, calm: Result, namespace: str
) -> None:
    history = market(days=CALM_DAYS)
    with RedisServer() as primary, Sandbox("flipside-sentinel-") as sandbox:
        source = ["--replicaof", "127.0.0.1", str(primary.port), "--repl-diskless-sync-delay", "0"]
        with RedisServer(*source):
            port = free_port()
            settings_file = sandbox.folder / "sentinel.conf"
            settings_file.write_text(
                f"port {port}\nbind 127.0.0.1\n"
                f"sentinel monitor prices 127.0.0.1 {primary.port} 1\n"
                "sentinel down-after-milliseconds prices 1000\nsentinel failover-timeout prices 5000\n"
            )
            sentinel = sandbox.start("sentinel", [redis_program(), str(settings_file), "--sentinel"])
            sentinel.wait_until(lambda: sentinel.said("+slave slave"), 60.0, "knowing the replica")

            async def kill_the_primary(_: Replayer, period: int) -> None:
                if period == 4:
                    await asyncio.to_thread(primary.kill)

            address = f"redis+sentinel://127.0.0.1:{port}/prices/0"
            settings = Servers(kafka.address, address).settings(namespace)
            shop = replace(plan(history), on_period=kill_the_primary)
            async with running(settings), replayer(settings, shop) as replaying:
                result = await replaying.run()
            assert sentinel.said("+switch-master prices")
    assert result.broken_promises == ()
    assert result.events_counted == result.events_in == history.rows
    assert decisions(result.log) == decisions(calm.log)
