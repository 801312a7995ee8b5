"""Quotas of kill switches and blackout windows: ever new names cannot fill the store."""

from collections.abc import Collection, Mapping
from datetime import datetime

from controller.definition.error_messages import shown
from controller.errors import FlipsideError, InvalidBlackout, Problem
from controller.messages.control import Kill
from controller.messages.inputs import Blackout

#: switches under other ids than their own, or of names that nothing has: lifted ones too, since a lift is remembered
MOST_SWITCHES = 1000
#: windows, those that are over included
MOST_WINDOWS = 10_000


def switch_id(scope: str, name: str) -> str:
    """The id under which a switch is always taken: ``all``, ``market.de``, ``experiment.juice``."""
    return f"{scope}.{name}" if name else scope


def room_for_switch(
    kill: Kill, held: Mapping[str, Kill], markets: Collection[str], experiments: Collection[str]
) -> None:
    """Raises FlipsideError where a switch is one too many.

    A further word on a switch that is held always has room, and so has that of everything, of a known market or of a
    registered experiment under its own id: no flood keeps anybody from pulling these.
    """
    known: Mapping[str, Collection[str]] = {"all": ("",), "market": markets, "experiment": experiments}

    def own(one: Kill) -> bool:
        return one.name in known[one.scope] and one.id == switch_id(one.scope, one.name)

    if kill.id in held or own(kill):
        return
    others = sum(not own(one) for one in held.values())
    if others >= MOST_SWITCHES:
        raise FlipsideError(
            f"kill {shown(kill.id)}: {others} switches are kept whose names nothing has, or under other ids than "
            f"their own, and {MOST_SWITCHES} are the most; pull {shown(switch_id(kill.scope, kill.name))}, once a "
            "catalog entry or a definition has that name, or use one of the ids that are kept"
        )


def room_for_window(window: Blackout, held: Mapping[str, Blackout], now: datetime) -> None:
    """Raises InvalidBlackout where a window is one too many; a held one can always be changed."""
    if window.id in held or len(held) < MOST_WINDOWS:
        return
    over = sorted((one for one in held.values() if one.ends_at <= now), key=lambda one: (one.ends_at, one.id))
    first = f", as {over[0].id}, which is over since {over[0].ends_at}" if over else ""
    rule = f"{MOST_WINDOWS} windows are the most, and {len(held)} are kept, {len(over)} of them over"
    way_out = f"remove some by `flipside blackout remove ID`{first}, or change one that is kept"
    raise InvalidBlackout((Problem("id", shown(window.id), rule, way_out),))
