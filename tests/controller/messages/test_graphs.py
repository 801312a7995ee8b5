"""The graph on its topic: versions side by side, used whole or not at all."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from controller.errors import NotPublished
from controller.messages.codec import encode
from controller.messages.graph_records import take_records
from controller.messages.graphs import Cut, GraphPart, GraphVersion, PublishedGraphs, records_of

AT = datetime(2026, 1, 1, tzinfo=UTC)
PAIRS = (("a", "b", 0.3), ("b", "c", 0.125), ("c", "d", -0.2))
CUT = Cut({"a": ("a", "b"), "c": ("c", "d")}, 0.3, 0.7, None, ("d has moved",))


@dataclass(frozen=True)
class Written:
    """A record as a consumer has it."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


def version(name: str = "g1", at: datetime = AT, pairs: Iterable[tuple[str, str, float]] = PAIRS) -> list[GraphPart]:
    return list(records_of(name, 4, list(pairs), {2: CUT}, at))


def held(records: Iterable[GraphPart]) -> PublishedGraphs:
    graphs = PublishedGraphs()
    for record in records:
        graphs.take(record.key, record)
    return graphs


def large(products: int = 10_000) -> list[tuple[str, str, float]]:
    return [(f"p{k}", f"p{(k + step) % products}", 0.1 + k / 7e4) for step in range(1, 6) for k in range(products)]


def test_a_graph_of_ten_thousand_products_comes_back_from_its_parts_in_any_order() -> None:
    pairs, cut = large(), Cut({f"p{k}": tuple(f"p{k + i}" for i in range(40)) for k in range(0, 10_000, 40)}, 0.1, 0.2)
    records = list(records_of("big", 10_000, pairs, {40: cut}, AT))
    assert isinstance(records[-1], GraphVersion), "the head is published last"
    assert len(records) > 3, "it takes several records"
    assert max(len(encode(one, "id", AT).value or b"") for one in records) < 2 * 1024 * 1024
    graphs = held(reversed(records))
    assert sorted(graphs.pairs("big")) == sorted(pairs)
    assert graphs.clusters("big", 40) == cut


def test_what_was_published_comes_back_with_its_reasons() -> None:
    graphs = held(version())
    assert graphs.pairs("g1") == PAIRS
    assert graphs.clusters("g1", 2) == CUT


def test_nothing_is_used_of_a_version_whose_head_has_not_come() -> None:
    graphs = held(version()[:-1])
    assert graphs.newest_first == ()
    with pytest.raises(NotPublished, match="graph g1 is not published; none is"):
        graphs.pairs("g1")


@pytest.mark.parametrize("missing", range(4))
def test_nothing_is_used_of_a_version_that_lacks_a_part(missing: int) -> None:
    records = list(records_of("big", 9, large(), {}, AT))
    graphs = held(record for k, record in enumerate(records) if k != missing or k == len(records) - 1)
    if missing < len(records) - 1:
        with pytest.raises(NotPublished, match="not whole on their topic: 2 of 3 parts"):
            graphs.pairs("big")
    else:
        assert len(graphs.pairs("big")) == 50_000


def test_parts_of_two_publications_do_not_mix() -> None:
    other = [r for r in version(pairs=[*PAIRS[:2], ("c", "d", -0.5)]) if not isinstance(r, GraphVersion)]
    graphs = held([*version(), *other])
    with pytest.raises(NotPublished, match="parts of another publication"):
        graphs.pairs("g1")
    assert graphs.clusters("g1", 2) == CUT, "what is whole is used"


def test_versions_stand_side_by_side_and_a_tombstone_removes_one() -> None:
    graphs = held([*version("g1"), *version("g2", AT + timedelta(days=1), PAIRS[:1])])
    both: tuple[str, ...] = ("g2", "g1")
    assert graphs.newest_first == both
    assert (len(graphs.pairs("g1")), len(graphs.pairs("g2"))) == (3, 1)
    graphs.take("g2", None)
    assert graphs.newest_first == both[1:]
    with pytest.raises(NotPublished, match="graph g2 is not published; there are g1; `flipside graph publish FILE`"):
        graphs.clusters("g2", 2)


def test_a_size_that_is_not_published_is_refused_with_the_command_that_adds_it() -> None:
    with pytest.raises(NotPublished) as refused:
        held(version()).clusters("g1", 40)
    assert str(refused.value) == (
        "graph g1 is published with clusters of at most 2 products, not 40; `flipside graph publish FILE --max-size 40`"
        " adds them"
    )


def test_a_record_of_another_key_or_no_json_makes_its_version_incomplete_and_is_counted() -> None:
    records = [encode(one, one.key, AT) for one in version()]
    graphs = PublishedGraphs()
    assert take_records(graphs, [Written(r.key, r.value, tuple(r.headers)) for r in records]) == 0
    assert take_records(graphs, [Written(b"g1/pairs/0", b"\xff not ours", tuple(records[0].headers))]) == 1
    with pytest.raises(NotPublished, match="0 of 1 parts"):
        graphs.pairs("g1")
    forged = Written(b"g1/pairs/0", records[-1].value, tuple(records[-1].headers))
    assert take_records(graphs, [forged]) == 1


def test_clusters_can_be_read_without_the_pairs() -> None:
    graphs, records = PublishedGraphs(), [encode(one, one.key, AT) for one in version()]
    take_records(graphs, [Written(r.key, r.value, tuple(r.headers)) for r in records], pairs=False)
    assert graphs.clusters("g1", 2) == CUT
    with pytest.raises(NotPublished):
        graphs.pairs("g1")
