"""A rival moves, on real servers: from its price to the arm that is shown, and from a seed's hash to the seed."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from controller.decisions.verify import verify
from controller.definition.experiment import Experiment, design_hash, seed_commitment
from controller.definition.parameters import Guardrail, Triggered, Undercut
from controller.messages.codec import encode
from controller.messages.control import Entered, GuardrailBreached, LifecycleChanged, SeedRevealed, TriggerIgnored
from controller.messages.events import Assignment, Registered
from controller.messages.inputs import CompetitorPrice
from controller.messages.topics import ASSIGNMENT_LOG, COMPETITOR_PRICE, DEAD_LETTER, SEQUENCE, TRIGGER
from controller.randomisation.hash_scores import coin
from flipside.simulated_shop.shop import plain
from tests.e2e.flips.house import UNITS, House, at, definition, house
from tests.e2e.running import Servers, eventually, records
from tests.streams.flips.sequences import sequence

pytestmark = pytest.mark.broker


def triggered(**changes: Any) -> Experiment:
    design = Triggered(kind="triggered", rule=Undercut(kind="undercut"), **{"treatment_days": 2, **changes})
    return definition(design=design, seed_disclosure="committed")


def price(unit: str, when: datetime, minor: int | None, identity: str = "", currency: str = "EUR") -> CompetitorPrice:
    return CompetitorPrice(
        id=identity or f"{unit}@{when.isoformat()}",
        unit=unit,
        competitor="rival",
        observed_at=when,
        price_minor=minor,
        currency=currency,
    )


async def undercut(it: House, when: datetime, *units: str) -> None:
    """A rival goes from our price to below it, and says so twice."""
    before = when - timedelta(minutes=1)
    for unit in units:
        low = price(unit, when, 900, str(when))
        for event in (price(unit, before, 1000), low, low):
            await it.send(COMPETITOR_PRICE, plain(event))


def answers(it: House) -> dict[str, str]:
    """Unit and day -> what became of the trigger."""
    return {
        m.trigger.removeprefix("juice.1/").replace(f"{m.cluster}/", f"{m.cluster}@"): m.arm
        if isinstance(m, Entered)
        else m.reason
        for m in it.log.messages
        if isinstance(m, Entered | TriggerIgnored)
    }


async def answered(it: House, number: int) -> dict[str, str]:
    async def all_there() -> bool:
        await it.log.poll(20)
        return len(answers(it)) >= number

    await eventually(f"{number} answers to triggers", all_there)
    return answers(it)


async def test_a_rivals_move_starts_a_unit_at_the_next_boundary_with_the_arm_of_its_coin(
    servers: Servers, namespace: str
) -> None:
    experiment = triggered(cool_down_days=1, max_concurrent=3)
    settings = servers.settings(namespace)
    arm = {unit: experiment.arms[coin(experiment.seed, "juice", unit, 0, experiment.shares())].name for unit in UNITS}
    async with house(settings, experiment) as it:
        registered = next(m for m in it.log.messages if isinstance(m, Registered))
        assert registered.experiment.seed == f"sha256.{seed_commitment('7')}", "nobody can draw tomorrow's arms"

        assert {record.arm for record in (await it.decided(0)).values()} == {"control"}, "nobody has entered"
        noon = at(0, 12)
        await it.tick(noon)
        await undercut(it, noon, *UNITS[:4])
        bad = [
            price("de/nobody", noon, 900, "stranger"),
            price("de/a", noon, 900, "dollars", currency="USD"),
        ]
        for event in bad:
            await it.send(COMPETITOR_PRICE, plain(event))
        first = await answered(it, 4)
        # Which of four at the same instant meets the cap of three is the order of their partitions.
        assert sorted(first.values()).count("cap") == 1
        began = {name.split("@")[0]: said for name, said in first.items() if said != "cap"}
        assert began == {unit: arm[unit] for unit in began}, "each arm as its coin had fixed it"

        for day in (1, 2):
            today = await it.decided(day)
            assert {unit: record.arm for unit, record in today.items()} == {
                unit: began.get(unit, "control") for unit in UNITS
            }
            await it.tick(at(day, 12))
        one = min(began)
        await undercut(it, at(2, 12), one)
        assert (await answered(it, 5))[f"{one}@{at(2, 12)}"] == "cool_down"
        over = await it.decided(3)
        assert {record.arm for record in over.values()} == {"control"}

        before = verify(registered, it.log.messages)
        assert [difference.kind for difference in before] == ["seed"], "it says that it cannot check the arms yet"
        for day in range(4, 15):
            await it.decided(day)
        await it.tick(at(14, 1))
        await it.logged("the seed", lambda m: isinstance(m, SeedRevealed))
        revealed = next(m for m in it.log.messages if isinstance(m, SeedRevealed))
        assert (revealed.seed, revealed.design_hash) == ("7", design_hash(experiment.model_copy(
            update={"markets": registered.experiment.markets})))  # fmt: skip
        assert verify(registered, it.log.messages) == ()
        changes = [(m.action, m.changed_at) for m in it.log.messages if isinstance(m, LifecycleChanged)]
        assert changes == [("begin", at(0)), ("finish", at(14)), ("washed_out", at(14))]

    letters = await records(settings, DEAD_LETTER)
    assert sorted(dict(letter.headers)["ce_reasoncode"] for letter in letters) == [b"currency", b"unknown-unit"]
    assert len({dict(r.headers)["ce_id"] for r in await records(settings, TRIGGER)}) == 5
    told = [dict(r.headers)["ce_id"] for r in await records(settings, ASSIGNMENT_LOG)]
    assert len(told) == len(set(told)), "without a crash nothing is said twice"


async def test_a_stated_delay_starts_within_the_day_and_control_prices_stop_it(
    servers: Servers, namespace: str
) -> None:
    experiment = triggered(delay_minutes=90)
    async with house(servers.settings(namespace), experiment) as it:
        await it.decided(0)
        noon, begins = at(0, 12), at(0, 13.5)
        await it.tick(noon)
        await undercut(it, noon, *UNITS)
        arms = {name.split("@")[0]: said for name, said in (await answered(it, len(UNITS))).items()}
        assert set(arms.values()) == {"control", "cheap"}
        # No tick comes in between: the answer begins it.
        await it.shows({unit: arms[unit] for unit in UNITS}, begins)
        await it.shows(dict.fromkeys(UNITS, "control"), at(0, 13.4))
        tomorrow = await it.decided(1)
        assert {unit: record.arm for unit, record in tomorrow.items()} == arms
        over = await it.decided(2)
        assert {record.arm for record in over.values()} == {"control"}
        urgent = [m for m in it.log.messages if isinstance(m, Assignment) and m.effective_at == begins]
        assert {m.unit: m.arm for m in urgent} == arms
        registered = next(m for m in it.log.messages if isinstance(m, Registered))
        with_seed = registered.model_copy(
            update={"experiment": registered.experiment.model_copy(update={"seed": experiment.seed})}
        )
        assert verify(with_seed, it.log.messages) == ()


async def test_harm_seen_by_the_analysis_puts_control_prices_at_once(servers: Servers, namespace: str) -> None:
    guardrail = Guardrail(metric="units", on_breach="revert", tolerance=1.0, expected_blocks=10)
    async with house(servers.settings(namespace), definition(guardrails=(guardrail,))) as it:
        registered = next(m for m in it.log.messages if isinstance(m, Registered))
        today = await it.decided(0)
        now = at(0, 12)
        await it.tick(now)
        await it.shows({unit: record.arm for unit, record in today.items()}, now)
        assert "cheap" in {record.arm for record in today.values()}
        seen = sequence(registered.experiment, [-4.0] * 6)
        await it.send(SEQUENCE, encode(seen, "a look", now))
        await it.shows(dict.fromkeys(UNITS), now)
        await it.logged("the move", lambda m: isinstance(m, LifecycleChanged) and m.action == "revert")
        (breach,) = [m for m in it.log.messages if isinstance(m, GuardrailBreached)]
        assert (breach.metric, breach.arm, breach.on_breach) == ("units", "cheap", "revert")
        change = next(m for m in it.changes() if m.action == "revert")
        assert (change.role, change.to_state, change.frozen) == ("guardrail", "stopping", True)
        released = [m for m in it.log.messages if isinstance(m, Assignment) and m.reason.code == "released"]
        assert {m.effective_at for m in released} == {now}
        assert verify(registered, it.log.messages) == ()
