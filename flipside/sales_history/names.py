"""Names of stores and products as a definition takes them: letters A to Z, digits and ``. _ ~ -``."""

import re
import unicodedata
from collections.abc import Mapping

from controller.definition.field_types import NAME_PATTERN
from flipside.sales_history.faults import first_few

NAMED = re.compile(NAME_PATTERN)
#: letters that lose more than a mark
WRITTEN_OUT = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "æ": "ae", "Æ": "Ae", "ø": "o",
     "Ø": "O", "œ": "oe", "Œ": "Oe", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "þ": "th", "Þ": "Th", "ı": "i"}
)  # fmt: skip
#: what is no part of a name becomes one hyphen
OTHER = re.compile(r"[^A-Za-z0-9._~-]+")


def plain_name(name: str) -> str:
    """``Käse, jung (200 g)`` as ``Kaese-jung-200-g``; letters of other scripts are left, for the caller to refuse.

    Blanks and signs become hyphens, marks on letters are taken off.
    """
    if NAMED.match(name):
        return name
    composed = unicodedata.normalize("NFC", name.strip()).translate(WRITTEN_OUT)
    bare = "".join(one for one in unicodedata.normalize("NFKD", composed) if not unicodedata.combining(one))
    if any(one.isalnum() and not one.isascii() for one in bare):
        return bare
    return OTHER.sub("-", bare).strip("-._~")


def respelled(names: Mapping[str, str]) -> list[str]:
    """A sentence on names that are spelled otherwise, for the author of the catalog; none where all stay."""
    changed = [f"{name} is {plain}" for name, plain in sorted(names.items()) if name != plain]
    if not changed:
        return []
    return [f"names as catalog and definition spell them: {first_few(changed)}"]
