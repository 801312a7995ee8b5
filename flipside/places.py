"""Where a rule's field stands in a definition's file: its line, for the message that names the field."""

import re
from dataclasses import replace
from pathlib import Path

import yaml

from controller.errors import Problem

PART = re.compile(r"\[(\d+)\]|\[([^\]]+)\]|([^.\[\]]+)")
#: fields of the catalog and of blackouts, which stand in files of their own
#: characters of a definition whose lines are looked up: one that names its units by the million has no need of them
LONGEST = 1_000_000
ELSEWHERE = re.compile(r"^((?:catalog|blackouts)\[[^\]]+\])")


def document(text: str) -> yaml.Node | None:
    """A definition (YAML, or JSON as a part of it) with its places; None where it cannot be read or is very long."""
    if len(text) > LONGEST:
        return None
    try:
        node: yaml.Node | None = yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    return node


def line_of(node: yaml.Node | None, field: str) -> int | None:
    """The line of a field, or of the innermost group around it that is there; None where not even that is there.

    Numbers count from 1. ``field``: a path as problems spell it, ``arms[1].price.percent``.
    """
    line: int | None = None
    for found in PART.finditer(field.split(" ")[0]):
        index, key = found[1], found[2] or found[3]
        if isinstance(node, yaml.SequenceNode) and index is not None and int(index) < len(node.value):
            node = node.value[int(index)]
        elif isinstance(node, yaml.MappingNode) and key is not None:
            pair = next((pair for pair in node.value if pair[0].value == key), None)
            if pair is None:
                break
            line, node = int(pair[0].start_mark.line) + 1, pair[1]
            continue
        else:
            break
        line = int(node.start_mark.line) + 1
    return line


def placed(problems: tuple[Problem, ...], file: Path, places: dict[str, str] | None = None) -> tuple[Problem, ...]:
    """The problems with file and line. ``places``: those of catalog entries and windows, by ``catalog[UNIT]``."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return problems
    node = document(text)
    return tuple(replace(one, where=one.where or _place(one.field, file, node, places or {})) for one in problems)


def _place(field: str, file: Path, node: yaml.Node | None, places: dict[str, str]) -> str | None:
    elsewhere = ELSEWHERE.match(field)
    if elsewhere:
        return places.get(elsewhere[1])
    if field.startswith("("):
        return None
    line = line_of(node, field)
    return file.name if line is None else f"{file.name}, line {line}"
