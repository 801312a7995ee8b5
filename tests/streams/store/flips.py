"""Flips of one experiment."""

from streams.store import Granted, Store

A = "de/a"


async def granted(store: Store) -> list[Granted]:
    return [row for entry in await store.outbox(0, 1000) for row in entry.granted]


async def last(store: Store) -> Granted:
    return (await granted(store))[-1]
