"""What a terminal is given of other people's texts: what they say, and nothing that the terminal, or rich, obeys."""

import sys
from typing import TYPE_CHECKING

from controller.definition.error_messages import printable

if TYPE_CHECKING:
    from rich.text import Text

#: characters of a line: as many as a record can have
WHOLE = 16 * 1024 * 1024
#: what a spreadsheet takes for the beginning of a formula
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def safe(text: object) -> str:
    """A text with its lines as they are, and control characters, escapes and changes of direction spelled out."""
    return "\n".join(printable(line, WHOLE) for line in str(text).split("\n"))


def say(text: object, *, error: bool = False) -> None:
    """Print a text of anybody's."""
    print(safe(text), file=sys.stderr if error else sys.stdout)


def cell(text: object) -> "Text":
    """The same for a table of rich, which would take [/b] for markup."""
    from rich.text import Text

    return Text(safe(text))


def csv_cell(value: object) -> object:
    """A value for CSV: a text that a spreadsheet would calculate gets an apostrophe ahead; numbers stay numbers."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
