"""Records that aiokafka alone cannot read."""

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import TopicPartition

from flipside_client.batches import AnyHeaders, Batches

NAMES = (b"plain", b"\xff\xfe!!!")


def batch(first_offset: int, compression: int = 0) -> bytes:
    """Three records; the second one has headers, whose names are as long as ``NAMES`` and are put in afterwards."""
    builder = DefaultRecordBatchBuilder(2, compression, 0, -1, -1, -1, 100_000)
    headers = [("a" * len(name), None if n else b"said") for n, name in enumerate(NAMES)]
    for number in range(3):
        builder.append(number, timestamp=1000 + number, key=b"k", value=b"%d" % number,
                       headers=headers if number == 1 else [])  # fmt: skip
    data = bytearray(builder.build())
    data[0:8] = first_offset.to_bytes(8)
    if compression == 0:
        for name in NAMES:
            data[:] = bytes(data).replace(b"a" * len(name), name, 1)
    return bytes(data)


def read(data: bytes, first: int = 0) -> list[tuple[int, bytes | None, list[tuple[str, bytes | None]]]]:
    place = TopicPartition("sales", 0)
    records = AnyHeaders(place, Batches(data), [], first, None, None, False, 0)
    return [(row.offset, row.value, list(row.headers)) for row in records]


def test_a_header_whose_name_is_no_utf_8_comes_with_its_bytes_and_its_neighbours_come_too() -> None:
    found = read(batch(10) + batch(13))
    assert [(offset, value) for offset, value, _ in found] == [(10 + n, b"%d" % (n % 3)) for n in range(6)]
    headers = found[1][2]
    assert [(name.encode(errors="surrogateescape"), said) for name, said in headers] == [
        (b"plain", b"said"),
        (b"\xff\xfe!!!", None),
    ]


@pytest.mark.parametrize("compression", [0, 1])
def test_what_aiokafka_reads_is_read_alike(compression: int) -> None:
    data = batch(0, compression).replace(b"\xff\xfe!!!", b"aaaaa")
    assert [value for _, value, _ in read(data)] == [b"0", b"1", b"2"]


@pytest.mark.parametrize("length", [0, 5, 12, 16, 40])
def test_the_beginning_of_a_batch_is_no_batch(length: int) -> None:
    batches = Batches(batch(0)[:length])
    assert not batches.has_next()
    assert batches.size_in_bytes() == length


def test_a_reader_that_goes_on_amid_such_a_batch_gets_each_record_once() -> None:
    for first in range(10, 17):
        assert [offset for offset, _, _ in read(batch(10) + batch(13), first)] == list(range(first, 16))
