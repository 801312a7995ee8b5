"""The OpenFeature provider, asked through OpenFeature's own client."""

from collections.abc import Iterator

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason

from client.tests.builders import UNIT, assignment, at
from flipside_client.fold import Fold
from flipside_client.openfeature import ARM_FLAG, PRICE_FLAG, FlipsideProvider
from flipside_client.record import instant_ms

CONTEXT = EvaluationContext(targeting_key=UNIT)


@pytest.fixture
def now() -> list[int]:
    """A clock moved by hand: its one element is the present instant."""
    return [instant_ms(at(1, 12))]


@pytest.fixture
def client(now: list[int]) -> Iterator[OpenFeatureClient]:
    fold = Fold()
    fold.apply(assignment(1, "low"))
    api.set_provider(FlipsideProvider(fold, clock=lambda: now[0]), "shop")
    yield api.get_client("shop")
    api.clear_providers()


def test_the_arm_is_a_string_flag_and_the_price_an_integer_one(client: OpenFeatureClient) -> None:
    details = client.get_string_details(ARM_FLAG, "control", CONTEXT)
    assert (details.value, details.variant, details.reason) == ("low", "low", Reason.SPLIT)
    assert details.flag_metadata == {"why": "assigned", "assignment": f"spring.1/1/{UNIT}", "currency": "EUR"}
    assert client.get_integer_value(PRICE_FLAG, 1000, CONTEXT) == 900


def test_the_default_is_answered_once_the_lease_has_lapsed(client: OpenFeatureClient, now: list[int]) -> None:
    now[0] = instant_ms(at(2))
    details = client.get_string_details(ARM_FLAG, "control", CONTEXT)
    assert (details.value, details.reason, details.flag_metadata) == ("control", Reason.DEFAULT, {"why": "lapsed"})
    assert client.get_integer_value(PRICE_FLAG, 1000, CONTEXT) == 1000


async def test_the_asynchronous_look_up_answers_alike(client: OpenFeatureClient) -> None:
    assert await client.get_string_value_async(ARM_FLAG, "control", CONTEXT) == "low"


def test_a_wrong_question_gets_the_default_and_says_what_was_wrong(client: OpenFeatureClient) -> None:
    assert client.get_string_details(ARM_FLAG, "control").error_code == ErrorCode.TARGETING_KEY_MISSING
    assert client.get_string_details("banner", "off", CONTEXT).error_code == ErrorCode.FLAG_NOT_FOUND
    for details in (
        client.get_string_details(PRICE_FLAG, "?", CONTEXT),
        client.get_boolean_details(ARM_FLAG, False, CONTEXT),
        client.get_float_details(PRICE_FLAG, 1.5, CONTEXT),
        client.get_object_details(ARM_FLAG, {}, CONTEXT),
    ):
        assert details.error_code == ErrorCode.TYPE_MISMATCH
