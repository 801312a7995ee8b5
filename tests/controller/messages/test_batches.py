"""A batch says of each record what the record says alone, however its neighbours' texts are cut and put together."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from controller.messages.codec import MODELS, objects_of, read_all, read_many
from controller.messages.inputs import CompetitorPrice, CompetitorPriceRow, Sale, SaleRow
from tests.controller.messages.examples import EXAMPLES

#: kinds that are read a hundred at a time, and the model whose texts they read
TOGETHER: dict[Any, Any] = {model: model for model in MODELS.values() if objects_of(model) is not None}
TOGETHER |= {SaleRow: Sale, CompetitorPriceRow: CompetitorPrice}
#: what holds texts together, and what may be put into them
GLUE = st.sampled_from([b",", b",\n", b"},{", b"", b"{", b"}", b"[", b"]", b'"', b"\\", b'"}', b'{"', b" "])
#: places to cut at: those where an object begins or ends are where a batch might be misled
CUTS = st.lists(st.integers(0, 5000), max_size=8)


def alone(kind: Any, value: bytes) -> object:
    """What a value says, or that it says nothing."""
    try:
        return TypeAdapter(kind).validate_json(value)
    except (ValidationError, ValueError, RecursionError):
        return None


def cut(text: bytes, places: list[int], braces: bool) -> list[bytes]:
    """A text in pieces; at objects' ends and beginnings, or anywhere."""
    ends = [k for k in range(1, len(text)) if text[k : k + 1] in (b"{", b",") or text[k - 1 : k] == b"}"]
    at = sorted({ends[p % len(ends)] if braces and ends else p % (len(text) + 1) for p in places})
    return [text[a:b] for a, b in zip([0, *at], [*at, len(text)], strict=True)]


def test_most_kinds_are_read_together() -> None:
    assert {Sale, CompetitorPrice} <= TOGETHER.keys()
    assert len(TOGETHER) > 10


@pytest.mark.parametrize("kind", TOGETHER, ids=lambda kind: kind.__name__)
@settings(deadline=None)
@given(copies=st.integers(1, 4), glue=st.lists(GLUE, min_size=4, max_size=4), places=CUTS, braces=st.booleans())
def test_a_batch_of_pieces_is_what_each_piece_is(
    kind: Any, copies: int, glue: list[bytes], places: list[int], braces: bool
) -> None:
    text = EXAMPLES[TOGETHER[kind]][0].model_dump_json().encode()
    values = cut(b"".join(text + put for put in glue[: copies - 1]) + text, places, braces)
    found = read_all(kind, values)
    if found is not None:
        assert found == [alone(kind, value) for value in values]
    if kind in MODELS.values():
        one_by_one = [str(each) for value in values for each in read_many(kind, [value])]
        assert [str(each) for each in read_many(kind, values)] == one_by_one


@pytest.mark.parametrize("kind", TOGETHER, ids=lambda kind: kind.__name__)
def test_two_objects_in_one_value_do_not_hide_behind_a_neighbour_that_has_none(kind: Any) -> None:
    """`[A},{B]`: valid together, and neither alone."""
    text = EXAMPLES[TOGETHER[kind]][0].model_dump_json().encode()
    head, tail = text[: len(text) // 2], text[len(text) // 2 :]
    for values in ([text + b"," + text, b""], [text + b",{", text[1:]], [text + b"," + head, tail], [head, tail]):
        assert read_all(kind, values) is None
