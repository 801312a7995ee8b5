"""What the catalog says of units when their experiment is registered: what its effect may be split by. Pure.

Taken then and kept in the log, because what a catalog says after the start may be an outcome, and its topic keeps the
last word only.
"""

import json
from collections.abc import Mapping, Sequence

from controller.messages.inputs import Attribute, CatalogEntry

#: bytes of JSON that all values may take: a record has 16 MiB, and the names of 100,000 units take half of it
ROOM = 4 * 1024 * 1024
#: the attribute that an entry's category is told as
CATEGORY = "category"

Column = tuple[Attribute | None, ...]


def attributes_of(
    units: Sequence[str], catalog: Mapping[str, CatalogEntry], room: int = ROOM
) -> tuple[dict[str, Column], tuple[str, ...]]:
    """By attribute, the value of each unit, in the order of ``units``; and the attributes that ``room`` was too small
    for. The category comes first, the others by name; a unit without a value has None.
    """
    rows = [_row(catalog[unit]) for unit in units]
    names = sorted({name for row in rows for name in row}, key=lambda name: (name != CATEGORY, name))
    kept: dict[str, Column] = {}
    left_out = []
    for name in names:
        column = tuple(row.get(name) for row in rows)
        size = len(json.dumps(column, ensure_ascii=False).encode())
        if size > room:
            left_out.append(name)
            continue
        room -= size
        kept[name] = column
    return kept, tuple(left_out)


def _row(entry: CatalogEntry) -> dict[str, Attribute]:
    return entry.attributes if entry.category is None else {**entry.attributes, CATEGORY: entry.category}
