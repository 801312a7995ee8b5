"""The command line: which verbs there are. What they do is imported when they are called, so that help is quick."""

import sys
from collections.abc import Callable, Mapping

import typer

from controller.errors import CannotReach, CannotStart, FlipsideError, InvalidExperiment, InvalidSettings
from flipside.commands import (
    advise,
    bakeoff,
    blackout,
    clusters,
    config,
    dead_letters,
    demo,
    design,
    estimate,
    estimates,
    experiment,
    export,
    graph,
    graph_predict,
    groups,
    hpte,
    influence,
    lifecycle,
    power,
    rebuild,
    replay,
    report,
    sample,
    spillover,
    synthesize,
    topics,
    verify,
    worker,
)
from flipside.terminal.escape import say

#: exit codes, documented in docs/commands.md
EXIT_CODES: tuple[tuple[type[FlipsideError], int], ...] = (
    (InvalidExperiment, 3),
    (InvalidSettings, 4),
    (CannotReach, 5),
    (CannotStart, 6),
    (FlipsideError, 1),
)
#: Kafka's access rules do not admit it: as CannotReach
CODE_OF_REFUSAL = 5

app = typer.Typer(
    name="flipside",
    help="Price experiments on streams: switchbacks over time and over products.\n\n"
    "First steps: `flipside demo`, then `flipside replay examples/sales`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich takes half a second to import: help answers at once without it
)
app.command("demo")(demo.demo)
app.command("replay")(replay.replay)
app.command("sample")(sample.sample)
app.command("design")(design.design)
app.command("verify")(verify.verify)
app.command("rebuild")(rebuild.rebuild)
app.command("worker")(worker.worker)
app.command("analysis")(worker.analysis)
app.command("config")(config.config)
app.command("power")(power.power)
app.command("estimates")(estimates.estimates)
app.command("spillover")(spillover.spillover)
app.command("report")(report.report)
app.command("export")(export.export)
app.command("advise")(advise.advise)
app.command("clusters")(clusters.clusters)
app.command("estimate")(estimate.estimate)
app.command("synthesize")(synthesize.synthesize)
app.command("groups")(groups.groups)
app.command("influence")(influence.influence)
app.command("bakeoff")(bakeoff.bakeoff)
app.command("hpte")(hpte.hpte)
VERB_GROUPS: tuple[tuple[str, str, Mapping[str, Callable[..., None]]], ...] = (
    ("topics", "The topics of the contract.", topics.VERBS),
    (
        "experiment",
        "Experiments: submit, look, stop, pause, kill.",
        {**experiment.VERBS, **lifecycle.VERBS},
    ),
    ("graph", "The graph of substitutes, from your own sales.", {**graph.VERBS, **graph_predict.VERBS}),
    ("blackout", "Windows in which no price may change.", blackout.VERBS),
    ("dead-letters", "What was rejected: look at it, and send it again.", dead_letters.VERBS),
)
for group, help_text, verbs in VERB_GROUPS:
    sub = typer.Typer(no_args_is_help=True, help=help_text, rich_markup_mode=None)
    for name, verb in verbs.items():
        sub.command(name)(verb)
    app.add_typer(sub, name=group)


def main() -> None:
    """Run a command; what goes wrong is said in one line, and told by the exit code."""
    try:
        app()
    except FlipsideError as error:
        say(f"flipside: {error}", error=True)
        sys.exit(next(code for kind, code in EXIT_CODES if isinstance(error, kind)))
    except Exception as error:
        if not type(error).__module__.startswith("aiokafka."):
            raise
        from streams.kafka.connection import refusal

        refused = refusal(error)
        if refused is None:
            raise
        say(f"flipside: {refused}", error=True)
        sys.exit(CODE_OF_REFUSAL)
