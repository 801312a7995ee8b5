"""The command line: which verbs there are. What they do is imported when they are called, so that help is quick."""

import sys

import typer

from controller.errors import CannotReach, CannotStart, FlipsideError, InvalidExperiment, InvalidSettings
from flipside.commands import blackout, config, demo, design, experiment, replay, topics, verify, worker

#: exit codes, documented in docs/commands.md
EXIT_CODES: tuple[tuple[type[FlipsideError], int], ...] = (
    (InvalidExperiment, 3),
    (InvalidSettings, 4),
    (CannotReach, 5),
    (CannotStart, 6),
    (FlipsideError, 1),
)

app = typer.Typer(
    name="flipside",
    help="Price experiments on streams: switchbacks over time and over products.\n\n"
    "First steps: `flipside demo`, then `flipside replay examples/sales`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command("demo")(demo.demo)
app.command("replay")(replay.replay)
app.command("design")(design.design)
app.command("verify")(verify.verify)
app.command("worker")(worker.worker)
app.command("analysis")(worker.analysis)
app.command("config")(config.config)
for group, help_text, verbs in (
    ("topics", "The topics of the contract.", topics.VERBS),
    ("experiment", "Submit, stop and look at experiments.", experiment.VERBS),
    ("blackout", "Windows in which no price may change.", blackout.VERBS),
):
    sub = typer.Typer(no_args_is_help=True, help=help_text)
    for name, verb in verbs.items():
        sub.command(name)(verb)
    app.add_typer(sub, name=group)


def main() -> None:
    """Run a command; what goes wrong is said in one line, and told by the exit code."""
    try:
        app()
    except FlipsideError as error:
        print(f"flipside: {error}", file=sys.stderr)
        sys.exit(next(code for kind, code in EXIT_CODES if isinstance(error, kind)))
