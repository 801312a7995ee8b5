"""Definitions as files: YAML or JSON in, a checked experiment out."""

import json
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from controller.definition.error_messages import LISTED_AT_MOST, explain, shown
from controller.definition.experiment import Experiment, design_hash
from controller.definition.field_types import Message
from controller.errors import FlipsideError, InvalidExperiment, InvalidLines, Problem, UnreadableMessage
from controller.messages.codec import decode, read
from controller.messages.events import Registered
from controller.messages.inputs import Blackout
from controller.validation.blackout_rules import parse_blackout
from controller.validation.registration import MOST_BYTES, parse
from flipside.places import placed

M = TypeVar("M", bound=Message)

YAML_SUFFIXES = (".yaml", ".yml")


class _Plain(yaml.SafeLoader):
    """YAML without surprises: no key twice, no aliases (a few hundred bytes of them can stand for gigabytes).

    Dates stay texts, as they are in JSON: whether a day exists is the definition's business, said with its field.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not taken; write the value out", None)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands here twice; remove one", key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


_Plain.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse_document(text: str, suffix: str) -> Experiment:
    """An experiment from the text of a .yaml, .yml or .json file; raises InvalidExperiment with every broken rule."""
    if len(text) > MOST_BYTES:
        raise InvalidExperiment(
            (Problem("(document)", f"{len(text)} characters", f"at most {MOST_BYTES}", "use `select`"),)
        )
    try:
        body = yaml.load(text, _Plain) if suffix in YAML_SUFFIXES else json.loads(text, object_pairs_hook=_once)
        document = json.dumps(body)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        rule = f"a definition is one {'YAML' if suffix in YAML_SUFFIXES else 'JSON'} document"
        raise InvalidExperiment((Problem("(document)", _line(error), rule, "mend it there"),)) from error
    return parse(document)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for k, (key, _) in enumerate(pairs) if key in dict(pairs[:k]))
        raise ValueError(f"the key {twice!r} stands there twice; remove one")
    return found


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def read_experiment(file: Path) -> Experiment:
    """Read a definition; raises InvalidExperiment with every broken field, FlipsideError for no document at all."""
    if not file.is_file():
        raise FlipsideError(f"{file} is no file; examples/designs has a definition of each design")
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FlipsideError(f"{file} is no text in UTF-8: {error}; save it as such") from error
    try:
        return parse_document(text, file.suffix.lower())
    except InvalidExperiment as error:
        raise InvalidExperiment(placed(error.problems, file)) from error


def read_lines(file: Path, model: type[M]) -> list[M]:
    """Messages of one kind from a file with one JSON object a line; raises InvalidLines that names line and field."""
    return [message for _, message in read_numbered(file, model)]


def read_numbered(file: Path, model: type[M]) -> list[tuple[int, M]]:
    """The same with the number of each line, from 1; raises InvalidLines with every broken line, ten at most."""
    found: list[tuple[int, M]] = []
    broken: list[Problem] = []
    for number, line in _lines(file):
        try:
            found.append((number, read(model, line.encode())))
        except UnreadableMessage as error:
            where = f"{file.name}, line {number}"
            broken += [replace(problem, where=where) for problem in _broken(model, line, error)]
            if len(broken) >= LISTED_AT_MOST:
                break
    if broken:
        raise InvalidLines(tuple(broken))
    return found


def read_blackouts(file: Path) -> list[tuple[int, Blackout]]:
    """Blackout windows with the numbers of their lines; raises InvalidLines with every rule that a window breaks."""
    found, broken = read_numbered(file, Blackout), []
    for number, window in found:
        try:
            parse_blackout(window.model_dump_json())
        except InvalidExperiment as error:
            broken += [replace(problem, where=f"{file.name}, line {number}") for problem in error.problems]
    if broken:
        raise InvalidLines(tuple(broken))
    return found


def _broken(model: type[M], line: str, error: UnreadableMessage) -> tuple[Problem, ...]:
    """The rules that a line breaks, said field by field where its fields can be read."""
    try:
        model.model_validate_json(line)
    except ValidationError as invalid:
        return explain(invalid, model)
    return (Problem("(line)", shown(line), str(error), "write one JSON object a line"),)


def read_log(file: Path) -> list[Message]:
    """Records of the log from a file: lines of ``kcat -J``, or objects with ``type`` and ``value``."""
    found = []
    for number, line in _lines(file):
        try:
            body = json.loads(line)
            if "payload" in body:
                flat = body.get("headers") or []
                headers = [(str(k), str(v).encode()) for k, v in zip(flat[::2], flat[1::2], strict=True)]
                found.append(decode(headers, str(body["payload"]).encode()))
            else:
                found.append(decode([("ce_type", str(body["type"]).encode())], json.dumps(body["value"]).encode()))
        except (UnreadableMessage, ValueError, KeyError, TypeError) as error:
            said = error if isinstance(error, UnreadableMessage) else f"no record with `type` and `value`: {error!r}"
            raise FlipsideError(f"{file}, line {number}: {said}") from error
    return found


def read_registered(file: Path, log: Sequence[Message]) -> Registered:
    """What was published of an experiment: its record from a file, or the log's record of a definition.

    A definition alone does not tell what was published, so its hash is looked up in the log; where the log has no
    registration of it, the definition's own hash stands for it.
    """
    if file.is_file() and file.suffix.lower() == ".json":
        body = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(body, dict) and "design_hash" in body:
            try:
                return read(Registered, json.dumps(body).encode())
            except UnreadableMessage as error:
                raise FlipsideError(f"{file}: {error}") from error
    experiment = read_experiment(file)
    published = [
        record
        for record in log
        if isinstance(record, Registered)
        and (record.experiment.name, record.experiment.version) == (experiment.name, experiment.version)
    ]
    if not published:
        raise FlipsideError(
            f"the log has no registration of {experiment.name} version {experiment.version}; give its `registered` "
            "record as a .json file instead of the definition"
        )
    registered = published[-1]
    mine = experiment.model_copy(
        update={
            "units": registered.experiment.units,
            "select": registered.experiment.select,
            "markets": registered.experiment.markets,
            "balance": registered.experiment.balance if experiment.balance.strata == "category" else experiment.balance,
        }
    )
    if (experiment.units and set(experiment.units) != set(mine.units)) or design_hash(mine) != registered.design_hash:
        raise FlipsideError(
            f"{file} is not what was published as {experiment.name} version {experiment.version}: its hash is "
            f"{design_hash(mine)}, published was {registered.design_hash}"
        )
    return registered


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    if not file.is_file():
        raise FlipsideError(f"{file} is no file")
    # With or without the mark that some editors put ahead of UTF-8.
    with file.open(encoding="utf-8-sig") as lines:
        try:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line
        except UnicodeDecodeError as error:
            rule = "a file of one JSON object a line is text in UTF-8"
            raise InvalidLines((Problem("(file)", str(error), rule, "save it as such", file.name),)) from error
