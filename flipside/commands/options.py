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
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object as the last line of standard output.")]


def settings_from(**given: Any) -> "Settings":
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
