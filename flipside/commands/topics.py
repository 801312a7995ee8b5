"""`flipside topics`: make and show the topics of the contract."""

from collections.abc import Callable

from flipside.commands.options import AsJson, Kafka, Namespace, settings_of_service


def create(kafka: Kafka = None, namespace: Namespace = None, as_json: AsJson = False) -> None:
    """Create the topics that are missing; safe to repeat. What differs from the contract is shown, never changed."""
    import asyncio
    import dataclasses
    import json

    from streams.kafka.topics import create_topics

    report = asyncio.run(create_topics(settings_of_service(kafka=kafka, namespace=namespace)))
    if as_json:
        print(json.dumps(dataclasses.asdict(report)))
        return
    print(f"{len(report.created)} created, {len(report.existing)} there already")
    for difference in report.differing:
        print(f"differs: {difference}")


def show(as_json: AsJson = False) -> None:
    """List the topics of the contract: key, retention, who writes and who reads."""
    import dataclasses
    import json

    from rich.console import Console
    from rich.table import Table

    from controller.messages.topics import TOPICS

    if as_json:
        print(json.dumps([dataclasses.asdict(topic) for topic in TOPICS.values()]))
        return
    table = Table("topic", "key", "cleanup", "written by", "read by")
    for topic in TOPICS.values():
        table.add_row(topic.name, topic.key, topic.config["cleanup.policy"], topic.writers, topic.readers)
    Console().print(table)


VERBS: dict[str, Callable[..., None]] = {"create": create, "show": show}
