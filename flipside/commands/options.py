"""Options that several commands share, spelled once."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from streams.runtime.settings import Settings

Kafka = Annotated[str | None, typer.Option("--kafka", help="Brokers, host:port[,host:port...] [FLIPSIDE_KAFKA].")]
Redis = Annotated[str | None, typer.Option("--redis", help="Redis URL, redis://host:port/db [FLIPSIDE_REDIS].")]
Namespace = Annotated[
    str | None, typer.Option("--namespace", help="Prefix of topics, groups and keys [FLIPSIDE_NAMESPACE].")
]
#: so long a person waits at most for a server that is not there, with the last attempt; a service waits as it is set
PERSON_WAITS_SECONDS = 9.0

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object as the last line of standard output.")]


def settings_from(**given: Any) -> "Settings":
    """The settings of a person's command, who does not wait for a server that is not there as a service does."""
    settings = settings_of_service(**given)
    patience = min(settings.connect_timeout_seconds, PERSON_WAITS_SECONDS)
    return settings.model_copy(update={"connect_timeout_seconds": patience})


def settings_of_service(**given: Any) -> "Settings":
    """The settings of the environment, with what was given on the command line on top."""
    from pydantic import ValidationError

    from controller.errors import InvalidSettings
    from streams.runtime.settings import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(p) for p in detail['loc']) or 'settings'}: {detail['msg']}"
            for detail in error.errors(include_url=False, include_input=False)
        ]
        raise InvalidSettings("; ".join(lines) + "; `flipside config` shows every setting") from error
