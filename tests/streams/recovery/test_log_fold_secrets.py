"""What a rebuild remembers of experiments whose seed is only committed to, and of triggers that were answered."""

from controller.definition.experiment import design_hash, withheld
from controller.definition.field_types import Message
from controller.messages.codec import encode
from controller.messages.control import Entered
from controller.messages.events import Registered
from streams.recovery.log_fold import Remembered
from tests.controller.builders import BEFORE, an_experiment
from tests.controller.decisions.triggered import NOON, a_trigger, answered, triggered
from tests.streams.recovery.played_logs import Kept, kept


def logged(message: Message) -> Kept:
    return kept(encode(message, "id", BEFORE))


def test_a_committed_seed_comes_from_the_definition_and_without_it_the_experiment_is_not_remembered() -> None:
    secret = an_experiment(seed="rosebud", seed_disclosure="committed")
    found = Remembered()
    found.take(
        logged(Registered(id="r", experiment=withheld(secret), design_hash=design_hash(secret), registered_at=BEFORE))
    )
    assert found.reveal({secret.name: "rosebud"}) == []
    assert found.registrations[secret.name].experiment == secret
    for seeds in ({}, {secret.name: "citizen"}):
        lost = Remembered()
        lost.take(
            logged(
                Registered(id="r", experiment=withheld(secret), design_hash=design_hash(secret), registered_at=BEFORE)
            )
        )
        assert lost.reveal(seeds) == [secret.name]
        assert lost.registrations == {}, "arms drawn from a hash would be other arms"


def test_answers_to_triggers_are_remembered_once_each() -> None:
    experiment = triggered()
    (entry,) = answered(experiment, [(a_trigger(0), 0)])[0].entries
    record = Entered(
        id="t/entry", experiment=experiment.name, experiment_version=1, design_hash="h", market="m0", cluster="m0/p0",
        ordinal=0, arm="cheap", trigger=entry.trigger, triggered_at=NOON, starts_at=entry.starts_at,
        first_day=entry.first_day, end_day=entry.end_day, decided_at=NOON,
    )  # fmt: skip
    found = Remembered()
    for _ in range(2):
        found.take(logged(record))
    assert list(found.answers.values()) == [record]
