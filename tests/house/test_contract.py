"""The page about the contract says what is so: partitions, headers, keys."""

import re
from datetime import UTC, datetime

import pytest
from aiokafka.partitioner import DefaultPartitioner, murmur2
from confluent_kafka import Message, Producer

from controller.messages.codec import encode
from controller.messages.inputs import Sale
from flipside.schemas import HEADERS, ROOT
from streams.embedded.servers import embedded_broker
from streams.worker.services import partition_of

PAGE = (ROOT / "docs" / "contract.md").read_text()
EXAMPLES = [
    (key, int(hashed), {4: int(four), 12: int(twelve)})
    for key, hashed, four, twelve in re.findall(r"^\| `([^`]+)` \| (\d+) \| (\d+) \| (\d+) \|$", PAGE, re.MULTILINE)
]
AT = datetime(2026, 3, 1, 23, tzinfo=UTC)


def test_the_page_works_three_examples() -> None:
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize(("key", "hashed", "partitions"), EXAMPLES)
def test_a_key_goes_to_the_partition_that_the_page_works_out(key: str, hashed: int, partitions: dict[int, int]) -> None:
    choose = DefaultPartitioner()
    assert murmur2(key.encode()) & 0x7FFFFFFF == hashed
    for count, partition in partitions.items():
        everywhere = list(range(count))
        assert hashed % count == partition
        assert choose(key.encode(), everywhere, everywhere) == partition
        assert partition_of(key.encode(), count) == partition


def test_a_client_on_librdkafka_agrees_with_the_setting_that_the_page_names() -> None:
    assert "partitioner=murmur2_random" in PAGE
    delivered: dict[str, int] = {}

    def note(error: object, message: Message) -> None:
        assert error is None
        key, partition = message.key(), message.partition()
        assert isinstance(key, bytes)
        assert partition is not None
        delivered[key.decode()] = partition

    with embedded_broker({"sales": 12}) as address:
        producer = Producer({"bootstrap.servers": address, "partitioner": "murmur2_random", "log_level": 0})
        for key, _, _ in EXAMPLES:
            producer.produce("sales", b"", key=key, on_delivery=note)
        assert producer.flush(30) == 0
    assert delivered == {key: partitions[12] for key, _, partitions in EXAMPLES}


def test_the_headers_are_those_of_the_page_and_of_the_asyncapi_document() -> None:
    sale = Sale(id="s1", unit="north/tea", occurred_at=AT, quantity=1, price_minor=349, currency="EUR")
    record = encode(sale, "s1", AT)
    names = [name for name, _ in record.headers]
    table = re.findall(r"^\| `(ce_[a-z]+|content-type)` \|", PAGE, re.MULTILINE)
    assert names == table == HEADERS["required"]
    assert record.key == b"north/tea"
    assert dict(record.headers)["ce_time"] == b"2026-03-01T23:00:00Z"
