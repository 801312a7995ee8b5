"""What is told of an error that nobody foresaw: where in our code it was raised, and what it says."""

from dataclasses import dataclass
from types import TracebackType

from controller.definition.error_messages import printable

#: packages whose frames are a place
OURS = frozenset({"controller", "streams", "analysis", "flipside"})
LONGEST = 300
#: how the reason of a number begins that is absent because of an error that nobody foresaw
SET_ASIDE = "set aside: "


@dataclass(frozen=True, slots=True)
class Fault:
    """An error, for people."""

    #: module and function, as in ``streams.inputs.sales:judge``
    place: str
    #: its type and message, shortened
    error: str

    def __str__(self) -> str:
        return f"{self.error} in {self.place}"


def fault_of(error: BaseException) -> Fault:
    """The innermost frame of ours that an error passed through, and the error."""
    place, step = "?", error.__traceback__
    while step is not None:
        place, step = _named(step) or place, step.tb_next
    return Fault(place, printable(f"{type(error).__name__}: {error}", LONGEST))


def _named(step: TracebackType) -> str | None:
    module = str(step.tb_frame.f_globals.get("__name__", ""))
    if module.partition(".")[0] not in OURS:
        return None
    return f"{module}:{step.tb_frame.f_code.co_qualname.replace('.<locals>', '')}"
