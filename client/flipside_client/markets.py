"""Which markets a client is asked to hold: a collection of names, checked before anything is read."""

from collections.abc import Collection


def wanted_markets(markets: Collection[str] | None) -> tuple[str, ...] | None:
    """The markets to hold, sorted; raises TypeError for one string, which would be taken letter by letter, and for
    whatever else is no collection of names, ValueError for a unit in the place of a market."""
    if markets is None:
        return None
    if isinstance(markets, str | bytes):
        raise TypeError(f"markets = {markets!r}: a collection of names; for one market write markets={{{markets!r}}}")
    for name in markets:
        if not isinstance(name, str):
            raise TypeError(f"markets holds {name!r}: names of markets are texts, as in markets={{'berlin'}}")
        if not name or "/" in name:
            raise ValueError(f"markets holds {name!r}: a market is the part of a unit before the slash, as in 'berlin'")
    return tuple(sorted(set(markets)))
