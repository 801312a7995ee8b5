"""Each adapter of the store is the port at run time too: every member of it, called as the port is called.

Types are compared by `make lint`: each adapter's module assigns its class to the port's type.
"""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from streams.store import Store
from streams.store.memory.restore import MemoryRestore
from streams.store.memory.store import MemoryStore
from streams.store.memory.triggers import MemoryTriggers
from streams.store.redis.restore import RedisRestore
from streams.store.redis.store import RedisStore
from streams.store.redis.triggers import RedisTriggers
from streams.store.restore_port import RestorableStore
from streams.store.trigger_port import TriggerStore

ADAPTERS: dict[type[Any], tuple[type[Any], ...]] = {
    Store: (MemoryStore, RedisStore),
    RestorableStore: (MemoryRestore, RedisRestore),
    TriggerStore: (MemoryTriggers, RedisTriggers),
}


def methods(port: type[Any]) -> dict[str, Any]:
    return {name: found for name, found in vars(port).items() if inspect.isfunction(found) and name[0] != "_"}


def differences(port: type[Any], adapter: type[Any]) -> Iterator[str]:
    """What a caller of the port would stumble over: names, order, kinds and defaults of parameters, and awaiting."""
    for name, asked in methods(port).items():
        given = getattr(adapter, name, None)
        if given is None:
            yield f"{adapter.__name__} has no {name}"
        elif parameters(asked) != parameters(given):
            yield f"{adapter.__name__}.{name}{parameters(given)}, the port's is {parameters(asked)}"
        elif awaited(asked, given):
            yield f"{adapter.__name__}.{name} is awaited otherwise than the port's"


def parameters(method: Any) -> list[tuple[str, Any, Any]]:
    return [(p.name, p.kind, p.default) for p in inspect.signature(method).parameters.values()]


def awaited(asked: Any, given: Any) -> bool:
    """Whether one is a coroutine and the other is not. A generator is called alike, whatever declares it."""
    return not inspect.isasyncgenfunction(given) and (
        inspect.iscoroutinefunction(asked) != inspect.iscoroutinefunction(given)
    )


@pytest.mark.parametrize(
    ("port", "adapter"),
    [(port, adapter) for port, adapters in ADAPTERS.items() for adapter in adapters],
    ids=lambda found: found.__name__,
)
def test_an_adapter_has_every_method_of_its_port_with_the_same_parameters(port: type[Any], adapter: type[Any]) -> None:
    assert methods(port)
    assert list(differences(port, adapter)) == []


def test_the_ports_that_a_store_hands_out_are_adapters_too(store: Store) -> None:
    memory = isinstance(store, MemoryStore)
    assert type(store.restoring) is (MemoryRestore if memory else RedisRestore)
    assert type(store.triggers) is (MemoryTriggers if memory else RedisTriggers)


def test_a_method_that_is_missing_renamed_or_not_awaited_is_found() -> None:
    class Short:
        async def fold(self, partition: int, begin: int, end: int, histories: Any) -> bool:
            return True

        def begun(self, shard: int, epoch: int, clusters: Any) -> None: ...

    found = "\n".join(differences(TriggerStore, Short))
    assert "Short has no enrol" in found
    assert "Short.fold" in found
    assert "Short.begun is awaited" in found
