"""A graph published, named in a definition, resolved by the worker, and used by the analysis: on real servers."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from analysis.panel_data.ledger import Ledger
from analysis.spillover.graph_table import write_graph
from analysis.worker.analyse import due
from controller.definition.experiment import Experiment
from controller.definition.field_types import Message
from controller.messages.events import Estimate, Registered, SpilloverEffects
from controller.messages.inputs import CatalogEntry
from controller.messages.topics import CATALOG, DEFINITION
from flipside.replay.environment import processes
from flipside.replay.plan import FIRST_DAY, Plan
from flipside.simulated_shop.shop import plain
from flipside.simulated_shop.substitution import BEFORE, substitution_market
from flipside.topics import requests
from streams.kafka.topics import create_topics
from streams.runtime.settings import Settings
from tests.analysis.spillover.small_graph import small_graph
from tests.e2e.running import Said, Servers, flipside, replay

pytestmark = pytest.mark.broker

PRODUCTS = tuple(f"p{k}" for k in range(8))
GRAPH = small_graph("g1", PRODUCTS, [(f"p{k}", f"p{k + 1}", 0.3 if k % 2 == 0 else 0.05) for k in range(7)])
CLUSTERS = {f"north/with-p{k}": [f"north/p{k}", f"north/p{k + 1}"] for k in range(0, 8, 2)}


async def test_an_experiment_on_clusters_of_the_graph_publishes_what_memory_says(
    servers: Servers, namespace: str
) -> None:
    market = substitution_market(3, FIRST_DAY, 4)
    planned = Plan(
        history=market.history, experiment=market.experiment, effect=market.relative_total, seed="3", before=BEFORE,
        graph=market.graph, sells=market.sells,
    )  # fmt: skip
    result = await replay(servers.settings(namespace), planned)
    assert result.violations == 0
    registered = next(m for m in result.messages if isinstance(m, Registered))
    assert registered.experiment.clusters_from == market.experiment.clusters_from
    assert len(registered.experiment.cluster_names()) >= 12
    published = {(e.metric, e.through): e.spillover for e in result.estimates if e.revision == 0}
    assert published == in_memory(result.messages, planned)
    last = result.estimates[-1].spillover
    assert last is not None
    effects = {(e.effect, e.estimator) for e in last.effects if e.value is not None}
    assert {("naive", "hajek"), ("total", "hajek"), ("direct", "linear"), ("spillover", "linear")} <= effects


def in_memory(messages: tuple[Message, ...], planned: Plan) -> dict[tuple[str, date | None], SpilloverEffects | None]:
    """The effects of every step by the ledger alone, from what was published."""
    ledger = Ledger()
    for record in planned.graph:
        ledger.graphs.published.take(record.key, record)
    for message in messages:
        ledger.fold(message)
    return {(e.metric, e.through): e.spillover for e in due(ledger, {}) if isinstance(e, Estimate)}


async def run(settings: Settings, *arguments: object) -> Said:
    return await flipside(
        *map(str, arguments),
        FLIPSIDE_KAFKA=settings.kafka,
        FLIPSIDE_NAMESPACE=settings.namespace,
        FLIPSIDE_PARTITIONS=str(settings.partitions),
    )


def last_json(said: Said) -> Any:
    assert said.code == 0, said.err
    return json.loads(said.out.splitlines()[-1])


def definition(name: str, graph: str = "g1", max_size: int = 2) -> dict[str, Any]:
    start = datetime.now(UTC).date() + timedelta(days=3)
    return {
        "name": name, "currency": "EUR", "units": [f"north/{product}" for product in PRODUCTS],
        "clusters_from": {"graph": graph, "max_size": max_size},
        "arms": [{"name": "control"}, {"name": "dear", "price": {"percent": "5"}}],
        "start": str(start), "days": 7, "seed": name,
    }  # fmt: skip


async def catalog(settings: Settings) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka)
    await producer.start()
    for product in PRODUCTS:
        record = plain(CatalogEntry(unit=f"north/{product}", time_zone="UTC", currency="EUR", list_price_minor=1000))
        await producer.send_and_wait(settings.prefixed(CATALOG), key=record.key, value=record.value)
    await producer.stop()


async def test_a_published_graph_is_named_resolved_listed_and_removed(
    servers: Servers, namespace: str, tmp_path: Path
) -> None:
    settings = servers.settings(namespace, clock="wall", lateness_seconds=60)
    file, asked, gone = tmp_path / "graph.parquet", tmp_path / "asked.json", tmp_path / "gone.json"
    write_graph(GRAPH, file)
    asked.write_text(json.dumps(definition("by-command")))
    gone.write_text(json.dumps(definition("gone", graph="g0")))
    await create_topics(settings)
    await catalog(settings)
    async with processes(settings, ("worker",)):
        assert last_json(await run(settings, "graph", "publish", file, "--max-size", 2, "--json"))["version"] == "g1"
        (listed,) = last_json(await run(settings, "graph", "list", "--json"))["versions"]
        assert (listed["version"], [one["max_size"] for one in listed["clusters"]]) == ("g1", [2])
        shown = last_json(await run(settings, "experiment", "submit", asked, "--json"))["preview"]
        assert (shown["graph"]["pairs"], shown["graph"]["graph"]) == (7, "g1")
        registered = json.loads((await run(settings, "experiment", "show", "by-command")).out)["experiment"]
        assert registered["clusters"] == CLUSTERS
        assert registered["clusters_from"] == {"graph": "g1", "max_size": 2, "level": "unit"}
        # A definition that is written to the topic itself is resolved, or refused, by the worker.
        later = {"units": registered["units"][:6], "start": str(datetime.now(UTC).date() + timedelta(days=30))}
        direct = Experiment.model_validate_json(json.dumps(definition("by-worker") | later))
        refused = Experiment.model_validate_json(gone.read_text())
        answer = await requests.ask(settings, DEFINITION, direct, requests.registration_of(direct), 60.0)
        assert set(answer.experiment.cluster_names()) == set(list(CLUSTERS)[:3])
        with pytest.raises(requests.WasRefused) as caught:
            await requests.ask(settings, DEFINITION, refused, requests.registration_of(refused), 60.0)
        words = "clusters_from = graph g0, max_size 2: graph g0 is not published; there are g1"
        assert words in str(caught.value)
        assert words in (await run(settings, "experiment", "submit", gone)).err
        assert words in (await run(settings, "design", gone, "--kafka", settings.kafka)).err
        assert (await run(settings, "graph", "remove", "g1")).code == 0
        assert last_json(await run(settings, "graph", "list", "--json"))["versions"] == []
        laid_out = await run(settings, "design", asked, "--kafka", settings.kafka)
        assert "graph g1 is not published; none is" in laid_out.err
