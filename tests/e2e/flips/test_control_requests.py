"""What keeps prices safe while an experiment runs, on real servers: limits, kills, pauses, refusals."""

from itertools import pairwise

import pytest

from controller.definition.parameters import Limits
from controller.messages.control import CatalogActed, LifecycleChanged, LimitKept
from controller.messages.events import Assignment, BlackoutSet, Refused, Registered
from controller.messages.inputs import Blackout, Scope
from controller.messages.topics import BLACKOUT, CATALOG, DEFINITION
from flipside.simulated_shop.shop import plain
from tests.e2e.flips.house import UNITS, at, definition, entry, house
from tests.e2e.running import Servers

pytestmark = pytest.mark.broker


async def test_a_breach_of_a_limit_keeps_control_and_the_assignment_says_which(
    servers: Servers, namespace: str
) -> None:
    experiment = definition(limits=Limits(max_changes_a_week=2))
    async with house(servers.settings(namespace), experiment) as it:
        # After the registration: a floor above the cheap price, and a product that is no longer sold.
        await it.send(CATALOG, plain(entry("de/a", floor_minor=950)))
        await it.send(CATALOG, plain(entry("de/b", delisted=True)))
        days = [await it.decided(day) for day in range(6)]

        floored, delisted = ([day[unit] for day in days] for unit in ("de/a", "de/b"))
        for records, code, detail in (
            (floored, "limit", "no price is below the floor (950)"),
            (delisted, "dropped", "delisted: the unit leaves the experiment and goes back to control"),
        ):
            assert {r.arm for r in records} == {"control"}
            kept = [r for r in records if r.planned_arm == "cheap"]
            assert kept, "the draw asked for it at least once in six days"
            assert {(r.reason.code, r.reason.detail, r.price_minor) for r in kept} == {(code, detail, 1000)}

        by_rule = 0
        for unit in UNITS[2:]:
            shown = ["control", *(day[unit].arm for day in days)]
            assert sum(a != b for a, b in pairwise(shown)) <= 2, f"{unit}: {shown}"
            by_rule += sum("changes within seven days" in day[unit].reason.detail for day in days)
        assert by_rule > 0, "and that was the limit's doing"

        by_limit = {(r.unit, r.day) for day in days for r in day.values() if r.reason.code == "limit"}
        told = [m for m in it.log.messages if isinstance(m, LimitKept)]
        assert {(m.unit, m.day) for m in told} == by_limit, "each is on the log by itself"
        assert {(m.rule, m.bound_minor, m.price_minor) for m in told if m.unit == "de/a"} == {
            ("no price is below the floor", 950, 900)
        }
        (acted,) = [m for m in it.log.messages if isinstance(m, CatalogActed)]
        assert (acted.unit, acted.changes, acted.action) == ("de/b", ("delisted",), "drop"), "once, not once a day"


async def test_a_kill_reaches_the_pricing_system_at_once_and_says_who_and_why(servers: Servers, namespace: str) -> None:
    async with house(servers.settings(namespace), definition()) as it:
        today, tomorrow = await it.decided(0), await it.decided(1)
        now = at(0, 23.6)
        await it.tick(now)
        await it.shows({unit: record.arm for unit, record in today.items()}, now)
        await it.shows({unit: record.arm for unit, record in tomorrow.items()}, at(1, 1))
        assert "cheap" in {record.arm for record in today.values()}

        refused = await it.command("experiment", "resume", "juice", "--reason", "a try")
        assert refused.code == 1
        assert "juice is running: no resume from there; possible: pause, freeze" in refused.err
        assert "nothing has changed" in refused.err

        window = Blackout(id="w", scope=Scope(kind="global"), starts_at=at(0), ends_at=at(9), reason="stock-taking")
        await it.send(BLACKOUT, plain(window))
        await it.logged("the blackout", lambda m: isinstance(m, BlackoutSet))

        where = ("--starts", at(3).isoformat(), "--ends", at(4).isoformat(), "--reason", "fair")
        nowhere = await it.command("blackout", "add", "fair", "--market", "es", *where)
        assert nowhere.code == 1
        assert "scope.name = 'es': no market of the catalog has this name" in nowhere.err

        killed = await it.command("experiment", "kill", "juice", "--reason", "wrong prices", "--who", "ada")
        assert (killed.code, killed.err) == (0, "")
        assert "juice was running and is stopped" in killed.out
        for instant in (now, at(1, 1)):
            await it.shows(dict.fromkeys(UNITS), instant)
        assert {it.client.price(unit, now).why for unit in UNITS} == {"released"}

        await it.logged("the kill", lambda m: isinstance(m, LifecycleChanged) and m.action == "kill")
        last = it.changes()[-1]
        assert (last.action, last.from_state, last.to_state, last.who, last.role, last.why) == (
            "kill", "running", "stopped", "ada", "on_call", "wrong prices",
        )  # fmt: skip
        released = await it.released()
        assert {m.effective_at for m in released} == {now}
        assert {m.reason.detail for m in released} == {"kill of juice by ada: wrong prices"}
        assert len({m.id for m in released} | {m.id for m in today.values()}) == 2 * len(UNITS)

        assert [change.action for change in it.changes()] == ["begin", "kill"], "what was refused is no part of it"


async def test_what_is_archived_too_soon_still_lets_its_units_go_at_the_boundary(
    servers: Servers, namespace: str
) -> None:
    """A lease of this design lasts two weeks; nobody who is rid of the experiment would look at it again."""
    async with house(servers.settings(namespace), definition(design={"kind": "time_bound"})) as it:
        today = await it.decided(0)
        cheap = {unit for unit, record in today.items() if record.arm == "cheap"}
        assert cheap
        await it.tick(at(0, 12))
        for verb in ("stop", "archive"):
            done = await it.command("experiment", verb, "juice", "--reason", "not wanted any more")
            assert done.code == 0, done.err
        await it.shows({unit: record.arm for unit, record in today.items()}, at(0, 13))
        following = definition(design={"kind": "time_bound"}, version=2)
        later = following.model_copy(update={"start": at(5).date()})
        await it.send(DEFINITION, plain(later))
        await it.logged("the refusal", lambda m: isinstance(m, Refused) and "still holds units" in m.problems[0])
        tomorrow = await it.decided(1)
        assert {(tomorrow[unit].arm, tomorrow[unit].reason.code) for unit in cheap} == {("control", "released")}
        await it.shows(dict.fromkeys(UNITS), at(1, 1))


async def test_what_is_withdrawn_never_begins_and_its_next_version_does(servers: Servers, namespace: str) -> None:
    async with house(servers.settings(namespace), definition()) as it:
        done = await it.command("experiment", "withdraw", "juice", "--reason", "wrong arms")
        assert (done.code, done.err) == (0, "")
        assert "juice was scheduled and is draft: wrong arms" in done.out
        await it.send(DEFINITION, plain(definition(version=2)))
        await it.logged("the next version", lambda m: isinstance(m, Registered) and m.experiment.version == 2)
        assert {record.experiment_version for record in (await it.decided(0)).values()} == {2}
        assert {m.experiment_version for m in it.log.messages if isinstance(m, Assignment)} == {2}


@pytest.mark.slow
async def test_a_pause_waits_for_the_boundary_and_a_killed_market_does_not(servers: Servers, namespace: str) -> None:
    async with house(servers.settings(namespace), definition()) as it:
        today = await it.decided(0)
        await it.tick(at(0, 12))
        assert (await it.command("experiment", "pause", "juice", "--reason", "a strike")).code == 0
        await it.shows({unit: record.arm for unit, record in today.items()}, at(0, 13))
        paused = await it.decided(1)
        assert {(record.arm, record.reason.code) for record in paused.values()} == {("control", "released")}
        await it.tick(at(2, -0.5))
        await it.tick(at(2, 12))
        assert (await it.command("experiment", "resume", "juice", "--reason", "it is over")).code == 0
        today = await it.decided(3)
        assert "cheap" in {record.arm for record in today.values()}
        assert not [m for m in it.log.messages if isinstance(m, Assignment) and m.day == at(2).date()]

        now = at(3, 12)
        await it.tick(now)
        killed = await it.command("experiment", "kill", "--market", "de", "--reason", "wrong prices")
        assert killed.code == 0, killed.err
        french = {unit: today[unit].arm for unit in UNITS if unit.startswith("fr/")}
        german = dict.fromkeys(unit for unit in UNITS if unit.startswith("de/"))
        await it.shows({**french, **german}, now)
        # While it is killed the other market is drawn; once it is lifted both are.
        drawn = await it.decided(4, tuple(french))
        await it.shows({**{unit: drawn[unit].arm for unit in french}, **german}, at(4, 12))
        assert (await it.command("experiment", "kill", "--market", "de", "--lift", "--reason", "mended")).code == 0
        both = await it.decided(5)
        await it.shows({unit: record.arm for unit, record in both.items()}, at(5, 12))
        assert "cheap" in {both[unit].arm for unit in german}
