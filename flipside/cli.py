"""The command ``flipside``: names of subcommands only; each imports its libraries when it runs."""

import typer

from flipside.commands.bakeoff import bakeoff
from flipside.commands.estimate import estimate

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Price experiments on streams.")
app.command()(estimate)
app.command()(bakeoff)


def main() -> None:
    """Run the command line."""
    app()
