"""The reference part of docs/commands.md: commands, exit codes and settings, as the code has them.

``python -m flipside.reference`` writes it anew; a test compares what is there with what would be written.
"""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import typer

from flipside.cli import EXIT_CODES, app
from flipside.commands.verify import DIFFERS
from flipside.schemas import ROOT
from streams.runtime.settings import Settings

PAGE = ROOT / "docs" / "commands.md"
BEGINS, ENDS = "<!-- reference: written by make reference -->", "<!-- end of reference -->"
#: exit codes that no error of ours stands for
OTHER_CODES = (
    (0, "done; of `demo` and `replay`: every promise held; of `worker` and `analysis`: stopped when asked to"),
    (DIFFERS, "of `verify`: the log differs from what the published definition leads to; each difference is listed"),
    (2, "wrong usage; of `demo` and `replay`: a promise was broken; of `estimate` and `bakeoff`: no estimate"),
)
#: what an operator has to do about each error
MEANINGS = {
    "InvalidExperiment": "a definition or a blackout breaks a rule; every broken rule is named, nothing has changed",
    "InvalidSettings": "settings are invalid, or the brokers refuse them",
    "CannotReach": "Kafka or Redis does not answer, or Redis cannot write",
    "CannotStart": "a process or server that the command starts itself did not come up, or has ended",
    "FlipsideError": "anything else that went wrong; the message names it",
}


def commands() -> Iterator[tuple[str, Any]]:
    """Every command by its full name, groups first resolved to their verbs."""
    top: Any = typer.main.get_command(app)
    for name, command in top.commands.items():
        verbs = getattr(command, "commands", None)
        if verbs is None:
            yield f"flipside {name}", command
        else:
            yield from ((f"flipside {name} {verb}", found) for verb, found in verbs.items())


def reference() -> str:
    """The generated part of the page."""
    lines = ["", "## Commands", ""]
    for name, command in commands():
        lines += _command(name, command)
    lines += ["## Exit codes", "", "| code | meaning |", "| --- | --- |"]
    codes = [*OTHER_CODES, *((code, MEANINGS[kind.__name__]) for kind, code in EXIT_CODES)]
    lines += [f"| {code} | {meaning} |" for code, meaning in sorted(codes)]
    lines += ["", "## Settings", "", "Read from the environment; an option of a command goes before its variable.", ""]
    lines += ["| variable | default | meaning |", "| --- | --- | --- |"]
    comments = _comments()
    for name, field in Settings.model_fields.items():
        default = "none" if field.default is None else f"`{_plain(field.default)}`"
        lines.append(f"| `FLIPSIDE_{name.upper()}` | {default} | {comments[name]} |")
    return "\n".join([*lines, ""])


def _command(name: str, command: Any) -> list[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    usage = " ".join([name, *(p.metavar or p.name.upper() for p in arguments)])
    first, *more = inspect.cleandoc(command.help).split("\n\n")
    lines = [f"### `{usage}`", "", *(_prose(part) + "\n" for part in (first, *more))]
    if arguments or options:
        lines += ["| option | default | meaning |", "| --- | --- | --- |"]
        lines += [f"| `{p.metavar or p.name.upper()}` | required | {_cell(p.help)} |" for p in arguments]
        lines += [f"| `{'`, `'.join(p.opts)}` | {_default(p)} | {_cell(p.help)} |" for p in options]
        lines.append("")
    return lines


def _prose(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines())


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


def _default(option: Any) -> str:
    if option.required:
        return "required"
    if option.default in (None, False, "", ()):
        return "off" if option.is_flag else "none"
    return f"`{option.default}`"


def _plain(default: object) -> str:
    secret = getattr(default, "get_secret_value", None)
    return str(default if secret is None else secret()) or '""'


def _comments() -> dict[str, str]:
    """What stands above each setting after ``#:``."""
    found: dict[str, str] = {}
    waiting: list[str] = []
    for line in inspect.getsource(Settings).splitlines():
        if match := re.match(r"    #: (.*)", line):
            waiting.append(match[1])
        elif match := re.match(r"    (\w+): ", line):
            found[match[1]] = " ".join(waiting)
            waiting = []
    return found


def with_reference(document: str) -> str:
    """A page with its generated part written anew."""
    before, begins, rest = document.partition(BEGINS)
    _, ends, after = rest.partition(ENDS)
    if not (begins and ends):
        raise ValueError(f"{PAGE} has no {BEGINS} or no {ENDS}")
    return f"{before}{BEGINS}\n{reference()}\n{ENDS}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_reference(PAGE.read_text()))
