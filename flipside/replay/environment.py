"""Everything a replay runs on: parts that are given or embedded, and child processes of its own."""

import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from controller.definition.experiment import Experiment
from controller.messages.graphs import GraphPart
from controller.messages.inputs import Blackout
from controller.messages.topics import TOPICS
from flipside.replay.answers import ReplayFailed
from flipside.replay.fitted_definition import Fitted, fit
from flipside.replay.plan import FIRST_DAY, Plan, default_experiment
from flipside.replay.processes import Child
from flipside.replay.progress import Progress, Result
from flipside.replay.replay import replayer
from flipside.sales_history.history import History
from streams.embedded.servers import embedded_broker, embedded_redis
from streams.kafka.topics import create_topics
from streams.runtime.settings import Settings

#: shards of a replay
PARTITIONS = 4


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """Where and how to replay."""

    effect: float
    seed: str
    kafka: str | None = None
    redis: str | None = None
    namespace: str | None = None
    attach: bool = False
    #: None: random days over all stores
    definition: Experiment | None = None
    #: weeks before the start; None: as many as the design asks for
    before: int | None = None
    #: the definition is played as it stands, `before` periods into a history of its own; else it is fitted
    as_it_stands: bool = False
    blackouts: tuple[Blackout, ...] = ()
    #: the published form of the graph that the definition's clusters come from
    graph: tuple[GraphPart, ...] = ()
    #: category -> its planted effect, where it is not `effect`
    effects_by_category: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Processes:
    """The children of a replay; empty when it is attached to others'."""

    children: dict[str, Child]

    def check(self) -> None:
        """Raises CannotStart if one has ended."""
        for child in self.children.values():
            child.check()


@contextmanager
def parts(options: ReplayOptions, partitions: int = PARTITIONS) -> Iterator[Settings]:
    """Settings of a namespace of its own, on given or embedded servers."""
    namespace = options.namespace or f"replay-{uuid.uuid4().hex[:10]}"
    with ExitStack() as stack:
        kafka = options.kafka or stack.enter_context(
            embedded_broker({f"{namespace}.{topic}": partitions for topic in TOPICS})
        )
        redis = options.redis or stack.enter_context(embedded_redis())
        yield Settings.model_validate(
            {"kafka": kafka, "redis": redis, "namespace": namespace, "partitions": partitions, "clock": "ticks"}
        )


@asynccontextmanager
async def processes(settings: Settings, names: Sequence[str] = ("worker", "analysis")) -> AsyncIterator[Processes]:
    """A worker and an analysis process with these settings, or one of them, stopped at the end."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="flipside-replay-")))
        children = {name: Child(name, [name], settings.environment(), folder) for name in names}
        for child in children.values():
            await child.start()
            stack.push_async_callback(child.stop)
        yield Processes(children)


async def run_replay(
    history: History, options: ReplayOptions, on_progress: Callable[[Progress], None] | None = None
) -> Result:
    """Replay a history from an empty namespace to the last estimate."""
    definition = options.definition or default_experiment(history, "replay", options.seed)
    if options.as_it_stands:
        fitted = Fitted(definition, options.before or 0)
    else:
        fitted = fit(definition, history, FIRST_DAY, options.seed, options.before)
    history = history.first(fitted.before + fitted.experiment.days)
    async with AsyncExitStack() as stack:
        settings = stack.enter_context(parts(options))
        if options.kafka is not None:
            await create_topics(settings)
        running = Processes({}) if options.attach else await stack.enter_async_context(processes(settings))
        plan = Plan(
            history=history,
            experiment=fitted.experiment,
            before=fitted.before,
            effect=options.effect,
            seed=options.seed,
            blackouts=options.blackouts,
            graph=options.graph,
            effects_by_category=options.effects_by_category,
            on_progress=on_progress,
            check_alive=running.check,
        )
        try:
            return await (await stack.enter_async_context(replayer(settings, plan))).run()
        except ReplayFailed as error:
            tails = "".join(f"\n--- {name}\n{child.tail()}" for name, child in running.children.items())
            raise ReplayFailed(f"{error}{tails}") from error
