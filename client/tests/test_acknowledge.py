"""What a pricing system says back is what the analysis can read, and saying it twice is saying it once."""

import json

from client.tests.builders import UNIT, at
from controller.messages.inputs import Applied
from flipside_client.acknowledge import applied_event


def event(**change: object) -> dict[str, object]:
    said: dict[str, object] = {
        "system": "shop",
        "unit": UNIT,
        "arm": "low",
        "price_minor": 900,
        "applied_at": at(1),
        "assignment": "spring.1/1/berlin/sku-1",
    }
    return applied_event(**(said | change))  # type: ignore[arg-type]


def test_an_acknowledgement_is_an_event_of_the_contract() -> None:
    read = Applied.model_validate_json(json.dumps(event()))
    assert (read.unit, read.arm, read.price_minor, read.applied_at) == (UNIT, "low", 900, at(1))
    lapsed = Applied.model_validate_json(json.dumps(event(arm="control", price_minor=None, assignment=None)))
    assert lapsed.assignment is None


def test_the_same_thing_said_twice_has_one_id_and_another_thing_another() -> None:
    assert event() == event()
    others = [
        event(system="till"),
        event(arm="high"),
        event(price_minor=901),
        event(applied_at=at(1, 1)),
        event(assignment=None),
        event(unit="berlin/sku-2"),
    ]
    assert len({str(other["id"]) for other in [event(), *others]}) == 7
