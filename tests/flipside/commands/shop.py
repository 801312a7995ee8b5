"""A small shop as files: a definition, a catalog and blackouts, each of which a test may spoil."""

import json
from pathlib import Path
from typing import Any

MARKETS, PRODUCTS = ("berlin", "hamburg", "munich"), ("coffee", "espresso", "tea", "mate")
CATEGORY = {"coffee": "coffee", "espresso": "coffee", "tea": "tea", "mate": "tea"}
PRICE = {"coffee": 349, "espresso": 899, "tea": 279, "mate": 1249}
#: before the first day of the definition in every market
EARLY = "2029-12-01T00:00:00Z"


def definition(**changes: Any) -> dict[str, Any]:
    """Random days over twelve units, each its own cluster, 5 % dearer; it keeps every rule and earns no warning."""
    body: dict[str, Any] = {
        "name": "dearer",
        "currency": "EUR",
        "select": {"categories": ["coffee", "tea"]},
        "clusters": "unit",
        "arms": [{"name": "control"}, {"name": "dearer", "price": {"percent": 5}}],
        "design": {"kind": "random_days"},
        "start": "2030-03-04",
        "days": 28,
        "seed": "a-seed",
    }
    return body | changes


def entry(unit: str, /, **changes: Any) -> dict[str, Any]:
    product = unit.partition("/")[2]
    body: dict[str, Any] = {
        "unit": unit,
        "time_zone": "Europe/Berlin",
        "category": CATEGORY[product],
        "currency": "EUR",
        "list_price_minor": PRICE[product],
        "cost_minor": PRICE[product] // 2,
    }
    return body | changes


def catalog(**changed: dict[str, Any]) -> list[dict[str, Any]]:
    """All units; ``changed``: fields of some, by ``market__product``."""
    names = [f"{market}/{product}" for market in MARKETS for product in PRODUCTS]
    return [entry(name, **changed.get(name.replace("/", "__"), {})) for name in names]


def window(**changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": "stock",
        "scope": {"kind": "market", "name": "hamburg"},
        "starts_at": "2030-03-08T00:00:00+01:00",
        "ends_at": "2030-03-11T00:00:00+01:00",
        "reason": "stock-taking",
    }
    return body | changes


def lines(objects: list[Any]) -> str:
    """One JSON object a line; a text stands for itself."""
    return "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in objects)


def written(folder: Path, body: Any, entries: list[Any], windows: list[Any]) -> list[str]:
    """The arguments of `flipside design` over the three files."""
    text = body if isinstance(body, str) else json.dumps(body, indent=1)
    (folder / "definition.yaml").write_text(text)
    (folder / "catalog.jsonl").write_text(lines(entries))
    (folder / "blackouts.jsonl").write_text(lines(windows))
    return [
        "design", str(folder / "definition.yaml"), "--catalog", str(folder / "catalog.jsonl"),
        "--blackouts", str(folder / "blackouts.jsonl"), "--at", EARLY,
    ]  # fmt: skip
