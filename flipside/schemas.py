"""The contract as files for others: a JSON Schema for every message, one AsyncAPI document for all topics.

``python -m flipside.schemas`` writes them under schemas/, and the table of topics into docs/contract.md. Owners check
what they send against a file instead of against our models; a test compares what is there with what would be written.
"""

import json
from pathlib import Path
from typing import Any

import yaml

from controller.definition.experiment import Experiment
from controller.definition.field_types import Message
from controller.messages.checkpoints import Checkpoint, KnownExperiment
from controller.messages.codec import ANNOUNCE_BY, TYPES
from controller.messages.control import (
    CatalogActed,
    Entered,
    GuardrailBreached,
    Kill,
    LifecycleChanged,
    LifecycleRequest,
    LimitKept,
    SeedRevealed,
    SetAside,
    TriggerFired,
    TriggerIgnored,
)
from controller.messages.events import (
    SOURCE,
    Assignment,
    BlackoutSet,
    Estimate,
    Ownership,
    PeriodClosed,
    Refused,
    Registered,
    SaleCorrection,
    StopExperiment,
    Stopped,
    Tick,
    Undelivered,
    UnitDay,
    UnsoldUnits,
    Withheld,
)
from controller.messages.findings import Health, RunningSequence
from controller.messages.graphs import GraphClusters, GraphPairs, GraphVersion
from controller.messages.inputs import Applied, Blackout, CatalogEntry, CompetitorPrice, Sale
from controller.messages.topics import (
    APPLIED,
    ASSIGNMENT,
    ASSIGNMENT_LOG,
    BLACKOUT,
    CATALOG,
    CHECKPOINT,
    COMPETITOR_PRICE,
    DAY_MS,
    DEAD_LETTER,
    DEFINITION,
    ESTIMATE,
    FOREVER,
    GRAPH,
    HEALTH,
    PANEL,
    SALE,
    SALE_CORRECTION,
    SEQUENCE,
    TICK,
    TOPICS,
    TRIGGER,
    Topic,
)

ROOT = Path(__file__).resolve().parent.parent
DIALECT = "https://json-schema.org/draft/2020-12/schema"
CONTRACT_VERSION = "1.0.0"
TABLE_BEGINS, TABLE_ENDS = "<!-- topics: written by make schemas -->", "<!-- end of topics -->"

#: topic -> the messages that may stand on it
MESSAGES: dict[str, tuple[type[Message], ...]] = {
    CATALOG: (CatalogEntry,),
    COMPETITOR_PRICE: (CompetitorPrice,),
    SALE: (Sale,),
    DEFINITION: (Experiment, StopExperiment, LifecycleRequest, Kill),
    BLACKOUT: (Blackout,),
    ASSIGNMENT: (Assignment,),
    ASSIGNMENT_LOG: (
        Assignment,
        Registered,
        Refused,
        BlackoutSet,
        Undelivered,
        Withheld,
        Stopped,
        LifecycleChanged,
        Kill,
        Entered,
        TriggerIgnored,
        LimitKept,
        CatalogActed,
        SeedRevealed,
        GuardrailBreached,
        SetAside,
    ),
    APPLIED: (Applied,),
    PANEL: (UnitDay, UnsoldUnits, PeriodClosed),
    CHECKPOINT: (Checkpoint, KnownExperiment),
    TICK: (Tick, Ownership),
    TRIGGER: (TriggerFired,),
    ESTIMATE: (Estimate,),
    SEQUENCE: (RunningSequence,),
    SALE_CORRECTION: (SaleCorrection,),
    HEALTH: (Health,),
    GRAPH: (GraphVersion, GraphPairs, GraphClusters),
    DEAD_LETTER: (),  # any bytes
}
#: what others write: their schemas say what is accepted; those of the rest say what is written
ACCEPTED = (
    CatalogEntry, CompetitorPrice, Sale, Experiment, StopExperiment, LifecycleRequest, Kill, Blackout, Applied,
)  # fmt: skip
#: requests share their topic with definitions: only ce_type tells them apart
TOLD_BY_TYPE = (StopExperiment, LifecycleRequest, Kill)
#: model -> CloudEvents type, of all that some topic promises
NAMES: dict[type[Message], str] = {
    model: name for model, name in TYPES.items() if any(model in models for models in MESSAGES.values())
}

HEADERS: dict[str, Any] = {
    "type": "object",
    "description": "CloudEvents 1.0, binary content mode: on everything that Flipside writes.",
    "properties": {
        "ce_specversion": {"const": "1.0"},
        "ce_id": {"type": "string", "description": "The same whenever the same fact is published again."},
        "ce_source": {"const": SOURCE},
        "ce_type": {"enum": sorted(NAMES.values())},
        "ce_time": {"type": "string", "format": "date-time"},
        ANNOUNCE_BY: {
            "type": "string",
            "format": "date-time",
            "description": "On assignments: void if the broker's LogAppendTime is this instant or later.",
        },
        "content-type": {"const": "application/json"},
    },
    "required": ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "content-type"],
}
OPTIONAL_HEADERS = {
    "type": "object",
    "description": "An owner's system may leave them out: id, instant and version stand in the value.",
    "properties": {**HEADERS["properties"], "ce_source": {"type": "string"}},
}


def short_name(model: type[Message]) -> str:
    """``sale.v1`` for the type ``flipside.sale.v1``: the name of its schema's file."""
    return NAMES[model].removeprefix("flipside.")


def json_schema(model: type[Message]) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a message."""
    schema = model.model_json_schema(mode="validation" if model in ACCEPTED else "serialization")
    return {"$schema": DIALECT, "$id": f"urn:flipside:{short_name(model)}", **schema}


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3.0 document of all topics."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Flipside",
            "version": CONTRACT_VERSION,
            "description": "Price experiments on streams: topics, keys and messages. Operations are Flipside's own: "
            "it receives what the owner's systems write, and sends the rest.",
        },
        "defaultContentType": "application/json",
        "channels": {_channel_name(topic): _channel(topic) for topic in TOPICS.values()},
        "operations": {_channel_name(topic): _operation(topic) for topic in TOPICS.values()},
        "components": {
            "messages": {short_name(model): _message(model) for model in NAMES},
            "schemas": {"cloudEventHeaders": HEADERS, "optionalHeaders": OPTIONAL_HEADERS},
        },
    }


def files() -> dict[str, str]:
    """Path under schemas/ -> content."""
    written = {
        f"{short_name(model)}.json": json.dumps(json_schema(model), indent=2, ensure_ascii=False) + "\n"
        for model in NAMES
    }
    return {**written, "asyncapi.yaml": yaml.safe_dump(asyncapi(), sort_keys=False, allow_unicode=True, width=120)}


def topic_table() -> str:
    """The topics as a Markdown table."""
    lines = ["| topic | key | kept | written by | read by | messages |", "| --- | --- | --- | --- | --- | --- |"]
    for topic in TOPICS.values():
        messages = ", ".join(f"[{short_name(m)}](../schemas/{short_name(m)}.json)" for m in MESSAGES[topic.name]) or "-"
        cells = (f"`{topic.name}`", topic.key, _kept(topic), topic.writers, topic.readers, messages)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def with_table(document: str) -> str:
    """A document whose part between the two marks is the table of topics."""
    before, _, rest = document.partition(TABLE_BEGINS)
    _, _, after = rest.partition(TABLE_ENDS)
    return f"{before}{TABLE_BEGINS}\n{topic_table()}\n{TABLE_ENDS}{after}"


def main(root: Path = ROOT) -> None:
    """Write everything anew; a file that nothing generates any more is removed."""
    folder = root / "schemas"
    folder.mkdir(exist_ok=True)
    wanted = files()
    for path in folder.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, content in wanted.items():
        (folder / name).write_text(content)
    document = root / "docs" / "contract.md"
    document.write_text(with_table(document.read_text()))


def _kept(topic: Topic) -> str:
    if topic.config["cleanup.policy"] == "compact":
        return "last per key"
    retention = topic.config["retention.ms"]
    return "for ever" if retention == FOREVER else f"{int(retention) // DAY_MS} days"


def _channel_name(topic: Topic) -> str:
    return topic.name.removeprefix("pricing.").removeprefix("experiment.").removesuffix(".v1")


def _channel(topic: Topic) -> dict[str, Any]:
    configuration: dict[str, Any] = {
        name: [value] if name == "cleanup.policy" else int(value) if value.lstrip("-").isdigit() else value
        for name, value in topic.config.items()
    }
    return {
        "address": topic.name,
        "description": f"Written by {topic.writers}, read by {topic.readers}. Key: {topic.key}. "
        "Prefixed with the installation's namespace and a dot where it has one.",
        "messages": {
            short_name(model): {"$ref": f"#/components/messages/{short_name(model)}"} for model in MESSAGES[topic.name]
        },
        "bindings": {"kafka": {"topicConfiguration": configuration, "bindingVersion": "0.5.0"}},
    }


def _operation(topic: Topic) -> dict[str, Any]:
    models = MESSAGES[topic.name]
    received = bool(models) and all(model in ACCEPTED for model in models)
    channel = f"#/channels/{_channel_name(topic)}"
    return {"action": "receive" if received else "send", "channel": {"$ref": channel}}


def _message(model: type[Message]) -> dict[str, Any]:
    headers = "optionalHeaders" if model in ACCEPTED and model not in TOLD_BY_TYPE else "cloudEventHeaders"
    return {
        "name": NAMES[model],
        "summary": " ".join((model.__doc__ or "").split()),
        "contentType": "application/json",
        "headers": {"$ref": f"#/components/schemas/{headers}"},
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": {"$ref": f"./{short_name(model)}.json"},
        },
    }


if __name__ == "__main__":
    main()
