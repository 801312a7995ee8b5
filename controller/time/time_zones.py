"""Time zones as a message may name them: only those that there are."""

from typing import Annotated
from zoneinfo import ZoneInfoNotFoundError

from pydantic import AfterValidator, StringConstraints

from controller.time.periods import zone


def _exists(name: str) -> str:
    try:
        zone(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: a folder of zones, such as America
        raise ValueError(f"{name} is no time zone of the IANA database; write one such as Europe/Berlin") from error
    return name


#: no path leads out of the database: it has no dots, and does not begin with a slash
TimeZone = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9+_-]*(/[A-Za-z0-9+_-]+)*$", max_length=64),
    AfterValidator(_exists),
]
