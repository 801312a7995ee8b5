"""The client against a real broker: what the rules promise survives the wire, restarts and absence."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from client.tests.builders import UNIT, at, published
from controller.messages.inputs import Applied
from controller.messages.topics import APPLIED, ASSIGNMENT
from flipside_client import Assignments, Change, KafkaUnreachable, NotStarted, TopicMissing
from flipside_client.record import instant_ms
from flipside_client.sync import SyncAssignments
from tests.client.installation import Announced, installation
from tests.parts.kafka import Kafka
from tests.parts.shared_kafka import SharedKafka

pytestmark = pytest.mark.broker

NOBODY = "127.0.0.1:9"


async def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait for a condition that another task or process brings about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.01)


async def test_what_was_published_before_and_what_comes_later_is_known(kafka: SharedKafka, namespace: str) -> None:
    async with installation(kafka.address, namespace) as publish:
        await publish(published(1, "low"), published(1, "high", unit="paris/sku-1"), published(2, "control"))
        async with Assignments(kafka.address, namespace) as client:
            assert client.ready
            assert client.units() == (UNIT, "paris/sku-1")
            assert client.arm(UNIT, at(1, 23, 30)) == "low"
            assert client.arm(UNIT, at(2)) == "control"
            await publish(published(3, "high"))
            await until(lambda: client.arm(UNIT, at(3)) == "high", "the third day")
            assert client.arm(UNIT, at(2, 12)) == "control"
            assert client.status().records["applied"] == 4


async def test_a_market_of_which_nothing_was_ever_read_is_named_until_its_first_record(
    kafka: SharedKafka, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with installation(kafka.address, namespace) as publish:
        await publish(published(1, "low"))
        asked = {UNIT.partition("/")[0], "berlim", "paris"}
        client = Assignments(kafka.address, namespace, markets=asked)
        none: tuple[str, ...] = ()
        assert client.markets_never_seen == none, "nothing is known before the first complete read"
        async with client:
            assert client.markets_never_seen == ("berlim", "paris")
            assert "no record of the markets berlim, paris" in caplog.text
            await publish(published(1, "high", unit="paris/sku-1"))
            await until(lambda: client.markets_never_seen == ("berlim",), "the first record of paris")


async def test_bad_records_among_good_ones_are_counted_and_stop_nothing(kafka: SharedKafka, namespace: str) -> None:
    async with installation(kafka.address, namespace) as publish:
        newer = published(1).model_dump_json().replace('"version":1', '"version":2').encode()
        await publish(
            (UNIT.encode(), b"{"), (b"\xff", b"\xff"), published(1, "low"), (UNIT.encode(), newer), published(1, "low"),
            (b"berlin/gone", None), (UNIT.encode(), b'"' + b"x" * 500_000 + b'"'),
        )  # fmt: skip
        async with Assignments(kafka.address, namespace) as client:
            assert client.arm(UNIT, at(1)) == "low"
            records = client.status().records
            counted = {name: records[name] for name in ("applied", "repeated", "unreadable", "tombstone")}
            assert counted == {"applied": 1, "repeated": 1, "unreadable": 4, "tombstone": 1}


async def test_what_the_brokers_had_only_after_it_began_is_shown_by_nobody(kafka: SharedKafka, namespace: str) -> None:
    """However early a reader hears of it: another one hears of it later, and both would be right for a moment."""
    soon, past = datetime(2999, 1, 1, tzinfo=UTC), datetime(2001, 1, 1, tzinfo=UTC)
    async with installation(kafka.address, namespace) as publish:
        await publish(Announced(published(1, "low"), soon), Announced(published(2, "high"), past))
        async with Assignments(kafka.address, namespace) as client:
            assert [client.arm(UNIT, at(1)), client.price(UNIT, at(2)).why] == ["low", "lapsed"]
            await publish(Announced(published(3, "high"), past), published(4, "low"))
            await until(lambda: client.arm(UNIT, at(4)) == "low", "the fourth day")
            assert client.price(UNIT, at(3)).why == "lapsed"
            assert client.status().records["late"] == 2


async def test_only_the_markets_asked_for_are_held(kafka: SharedKafka, namespace: str) -> None:
    async with installation(kafka.address, namespace) as publish:
        await publish(published(1), published(1, unit="paris/sku-1"), published(1, unit="paris-2/sku-1"))
        async with Assignments(kafka.address, namespace, markets={"paris"}) as client:
            assert client.units() == ("paris/sku-1",)
            assert client.status().filtered == 2


async def test_the_callback_hears_of_announcement_and_flip_and_its_errors_stop_nothing(
    kafka: SharedKafka, namespace: str
) -> None:
    now_ms = instant_ms(at(1, 12))
    heard: list[tuple[str, str | None, str | None]] = []

    def on_change(change: Change) -> None:
        heard.append((change.kind, change.old.arm, change.new.arm))
        raise RuntimeError("a callback with a mistake")

    async with installation(kafka.address, namespace) as publish:
        await publish(published(1, "low"))
        async with Assignments(kafka.address, namespace, on_change=on_change, clock=lambda: now_ms) as client:
            assert heard == []
            await publish(published(2, "high"))
            await until(lambda: heard == [("announced", "low", "high")], "the announcement")
            now_ms = instant_ms(at(2))
            await until(lambda: heard[1:] == [("effective", "low", "high")], "the flip")
            assert client.status().callback_errors == 2


async def test_an_acknowledgement_names_the_assignment_and_can_be_read_by_the_analysis(
    kafka: SharedKafka, namespace: str
) -> None:
    async with installation(kafka.address, namespace) as publish:
        await publish(published(1, "low"))
        async with Assignments(kafka.address, namespace, system="shop") as client:
            first = await client.applied(UNIT, at(1, 0, 1))
            assert await client.applied(UNIT, at(1, 0, 1)) == first
            await client.applied(UNIT, at(2), price_minor=1000)
            assert client.status().acknowledged == 3
        with pytest.raises(NotStarted, match="async with"):
            await client.applied(UNIT, at(1))
    consumer = AIOKafkaConsumer(f"{namespace}.{APPLIED}", bootstrap_servers=kafka.address, auto_offset_reset="earliest")
    await consumer.start()
    try:
        said = [Applied.model_validate_json((await consumer.getone()).value or b"") for _ in range(3)]
    finally:
        await consumer.stop()
    assert [(event.arm, event.price_minor, event.assignment) for event in said] == [
        ("low", 900, f"spring.1/1/{UNIT}"),
        ("low", 900, f"spring.1/1/{UNIT}"),
        ("control", 1000, None),  # the lease had lapsed
    ]
    assert said[0].id == said[1].id == first != said[2].id


async def test_partitions_that_are_added_are_read_too(kafka: SharedKafka, namespace: str) -> None:
    units = [f"berlin/sku-{number}" for number in range(40)]
    async with installation(kafka.address, namespace) as publish:
        await publish(published(1, "low"))
        async with Assignments(kafka.address, namespace) as client:
            admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
            await admin.start()
            await admin.create_partitions({f"{namespace}.{ASSIGNMENT}": NewPartitions(9)})
            await admin.close()
            # A producer that starts now knows all nine, and spreads the units over them.
            async with installation(kafka.address, namespace) as publish_anew:
                await publish_anew(*(published(2, "high", unit=unit) for unit in units))
            await until(lambda: len(client.units()) == 40, "units in all nine partitions")
            assert client.arm(UNIT, at(1)) == "low"
            assert client.arm(UNIT, at(2)) == "high"


def test_a_threaded_service_looks_up_and_acknowledges(kafka: SharedKafka, namespace: str) -> None:
    async def fill() -> None:
        async with installation(kafka.address, namespace) as publish:
            await publish(published(1, "low"))

    asyncio.run(fill())
    with SyncAssignments(kafka.address, namespace) as client:
        assert client.ready
        assert client.arm(UNIT, at(1)) == "low"
        assert client.price(UNIT, at(1)).price_minor == 900
        assert client.applied(UNIT, at(1)).startswith("applied-")
        assert client.status().acknowledged == 1
    assert client.arm(UNIT, at(1)) == "low"
    with pytest.raises(NotStarted, match="inside `with`"):
        client.applied(UNIT, at(1))


async def test_a_topic_that_is_missing_is_named_with_the_command_and_not_created(
    kafka: SharedKafka, namespace: str
) -> None:
    with pytest.raises(TopicMissing, match=f"topic {namespace}.*flipside topics create"):
        await Assignments(kafka.address, namespace, ready_timeout_seconds=2).start()
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    try:
        assert f"{namespace}.{ASSIGNMENT}" not in await admin.list_topics()
    finally:
        await admin.close()


async def test_an_address_where_nobody_answers_is_named() -> None:
    with pytest.raises(KafkaUnreachable, match=f"Kafka at {NOBODY}.*Check the address"):
        await Assignments(NOBODY, ready_timeout_seconds=0.5).start()
    with pytest.raises(KafkaUnreachable, match=NOBODY), SyncAssignments(NOBODY, ready_timeout_seconds=0.5):
        pass


async def test_who_does_not_wait_is_on_control_until_ready() -> None:
    client = Assignments(NOBODY)
    await client.start(wait=False)
    try:
        await until(lambda: client.status().last_error is not None, "the complaint")
        assert not client.ready
        assert client.price(UNIT, at(1)).why == "loading"
        assert client.arm(UNIT, at(1)) is None
        assert client.status().staleness_seconds is None
        with pytest.raises(KafkaUnreachable, match=f"{NOBODY} takes no acknowledgement"):
            await client.applied(UNIT, at(1))
    finally:
        await client.close()


async def test_a_broker_killed_and_back_is_read_on_and_meanwhile_what_is_held_holds(namespace: str) -> None:
    kafka = Kafka()
    await asyncio.to_thread(kafka.__enter__)
    try:
        async with installation(kafka.address, namespace) as publish:
            await publish(published(1, "low"))
            async with Assignments(kafka.address, namespace) as client:
                await asyncio.to_thread(kafka.kill)
                await until(lambda: (client.status().staleness_seconds or 0) > 2, "staleness that grows")
                assert client.arm(UNIT, at(1, 12)) == "low"
                assert client.price(UNIT, at(2)).lease_lapsed
                await asyncio.to_thread(kafka.restart)
                await publish(published(2, "high"))
                await until(lambda: client.arm(UNIT, at(2)) == "high", "the next day's assignment")
                await until(lambda: (client.status().staleness_seconds or 0) < 2, "freshness")
    finally:
        await asyncio.to_thread(kafka.__exit__)
