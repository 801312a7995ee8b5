"""Definitions, switches and windows under both adapters: who writes them owns nothing, and may have slept meanwhile."""

from dataclasses import replace

import pytest

from controller.messages.control import Kill, LifecycleChanged
from streams.store import Registration, Store, TopicPlace
from streams.store.memory.store import MOST_PLACES
from tests.streams.builders import at, experiment, window

SECOND, THIRD = TopicPlace(3, 2), TopicPlace(3, 3)
PULLED = Kill(id="all", scope="all", who="ada", why="fire", requested_at=at(1))
LIFTED = PULLED.model_copy(update={"lifted": True, "requested_at": at(1.5)})
EARLY, LATE = window("w", "global", "", 1, 2), window("w", "global", "", 1, 5)


async def windows(store: Store) -> list[dict[str, object]]:
    return [dict(await store.blackouts(shard)) for shard in range(2)]


async def test_a_window_that_was_changed_since_is_not_put_back_by_who_has_slept(store: Store) -> None:
    assert await store.put_blackout(LATE, THIRD)
    assert not await store.put_blackout(EARLY, SECOND)
    assert not await store.remove_blackout("w", SECOND)
    assert await windows(store) == [{"w": LATE}] * 2
    assert await store.put_blackout(LATE, THIRD), "heard twice"
    assert await windows(store) == [{"w": LATE}] * 2


async def test_a_window_that_was_removed_since_does_not_come_back(store: Store) -> None:
    assert await store.put_blackout(EARLY, SECOND)
    assert await store.remove_blackout("w", THIRD)
    assert not await store.put_blackout(EARLY, SECOND)
    assert await windows(store) == [{}, {}]
    assert await store.put_blackout(LATE, TopicPlace(3, 4))
    assert await windows(store) == [{"w": LATE}] * 2


async def test_of_two_partitions_nobody_knows_which_is_later_so_the_last_word_that_is_heard_holds(store: Store) -> None:
    assert await store.put_blackout(LATE, THIRD)
    assert await store.put_blackout(EARLY, TopicPlace(1, 0))
    assert await windows(store) == [{"w": EARLY}] * 2


async def test_a_switch_that_was_lifted_since_is_not_pulled_again_by_who_has_slept(store: Store) -> None:
    assert await store.put_kill(LIFTED, THIRD)
    version = await store.registrations_version(0)
    assert not await store.put_kill(PULLED, SECOND)
    assert (await store.kills(0), await store.registrations_version(0)) == ({"all": LIFTED}, version)
    again = PULLED.model_copy(update={"requested_at": at(0)})
    assert await store.put_kill(again, TopicPlace(3, 4)), "pulled later by somebody whose clock is slow"
    assert await store.kills(0) == {"all": again}


@pytest.mark.parametrize("fraction", ["", ".5", ".25"])
async def test_a_switch_is_written_back_only_if_it_was_requested_later(store: Store, fraction: str) -> None:
    held = Kill.model_validate_json(PULLED.model_dump_json().replace("00:00Z", f"00:00{fraction}Z"))
    assert held.requested_at.microsecond == int(float(f"0{fraction}") * 1e6)
    await store.put_kill(held)
    after = [PULLED.model_copy(update={"requested_at": held.requested_at, "who": "eve"})]
    after += [PULLED.model_copy(update={"requested_at": at(0.5)})]
    await store.restoring.restore_kills(0, after)
    assert await store.kills(0) == {"all": held}
    later = LIFTED.model_copy(update={"requested_at": at(1).replace(microsecond=600_000)})
    await store.restoring.restore_kills(0, [later])
    assert await store.kills(0) == {"all": later}


async def test_a_life_that_went_on_is_not_set_back_by_who_has_slept(store: Store) -> None:
    stopped = LifecycleChanged(
        id="stop", experiment="juice", experiment_version=1, action="stop", from_state="running", to_state="stopped",
        frozen=False, role="owner", who="ada", why="rain", changed_at=at(1),
    )  # fmt: skip
    before = Registration(experiment(), "hash of juice")
    after = replace(before, state="stopped", history=(stopped,))
    await store.put_registration(after)
    version = await store.registrations_version(0)
    await store.put_registration(before)
    assert (await store.registrations(0))[1]["juice"] == after
    await store.put_registration(Registration(experiment(version=2), "hash 2"))
    await store.put_registration(after)
    found, known = await store.registrations(0)
    assert (known["juice"].experiment.version, known["juice"].history, found) == (2, (), version + 1)


async def test_windows_that_are_removed_for_ever_under_new_ids_are_forgotten_but_for_some(store: Store) -> None:
    assert await store.put_blackout(LATE, THIRD)
    ids = [f"flood-{number}" for number in range(MOST_PLACES + 100)]
    for number, id in enumerate(ids):
        await store.remove_blackout(id, TopicPlace(3, 4 + number))
    assert not await store.put_blackout(EARLY, SECOND), "that of a window that is set is never forgotten"
    remembered = [id for id in ids if not await store.put_blackout(window(id, "global", "", 1, 2), SECOND)]
    assert len(remembered) <= MOST_PLACES
