"""Files of a shop that the product has no layout of: a till's receipts in three currencies, written for one test."""

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np

#: currency -> stores, zone, price of the first product, decimal places
LANDS = {
    "EUR": ("Europe/Vienna", [f"Wien {k}" for k in range(1, 9)], 3.49, 2),
    "CHF": ("Europe/Zurich", [f"Bern {k}" for k in range(1, 4)], 4.20, 2),
    "JPY": ("Asia/Tokyo", [f"Kyoto {k}" for k in range(1, 4)], 480.0, 0),
}
PRODUCTS = ("espresso", "melange", "tee", "kakao")
DAYS = 100
#: options that the page shows
OPTIONS = "--store Filiale --product Artikel --time Datum --quantity Menge --price Preis --currency EUR"


def write_strange_shop(folder: Path, today: date) -> None:
    """``bons.csv``, ``catalog.jsonl``, ``blackouts.jsonl``, ``definition.yaml`` into an empty folder."""
    folder.mkdir()
    rng = np.random.default_rng(11)
    lines, catalog = ["Bon;Datum;Filiale;Artikel;Menge;Preis;currency"], []
    for currency, (zone, stores, first, places) in LANDS.items():
        for store in stores:
            for number, product in enumerate(PRODUCTS):
                price = round(first * (1 + number / 4), places)
                entry = {
                    "unit": f"{store.replace(' ', '-')}/{product}", "time_zone": zone, "currency": currency,
                    "category": "drinks", "list_price_minor": round(price * 10**places),
                }  # fmt: skip
                catalog.append(json.dumps(entry, separators=(",", ":")))
    for day in range(DAYS):
        written = f"{today - timedelta(days=DAYS - day):%d.%m.%Y}"
        busy = rng.lognormal(0, 0.1)
        for currency, (_, stores, first, places) in LANDS.items():
            for store in stores:
                for number, product in enumerate(PRODUCTS):
                    asked = f"{first * (1 + number / 4):.{places}f}".replace(".", ",")
                    for quantity in 1 + rng.poisson(0.5, rng.poisson(12 * busy)):
                        clock = f"{rng.integers(8, 20):02d}:{rng.integers(0, 60):02d}"
                        lines.append(f"b{len(lines)};{written} {clock};{store};{product};{quantity};{asked};{currency}")
    start = today + timedelta(days=14 - today.weekday())
    window = {
        "id": "inventur", "scope": {"kind": "market", "name": "Wien-2"}, "reason": "Inventur",
        "starts_at": f"{start + timedelta(days=9)}T00:00:00+01:00",
        "ends_at": f"{start + timedelta(days=11)}T00:00:00+01:00",
    }  # fmt: skip
    definition = f"""
name: kaffee
currency: EUR
select: {{markets: [{", ".join(store.replace(" ", "-") for store in LANDS["EUR"][1])}]}}
clusters: market
arms: [{{name: control}}, {{name: teurer, price: {{percent: 5}}}}]
design: {{kind: random_days}}
start: {start}
days: 21
seed: unser-eigener
guardrails: [{{metric: units, tolerance: 2, expected_blocks: 10}}]
"""
    for name, text in {
        "bons.csv": "\n".join(lines) + "\n",
        "catalog.jsonl": "\n".join(catalog) + "\n",
        "blackouts.jsonl": json.dumps(window) + "\n",
        "definition.yaml": definition,
    }.items():
        (folder / name).write_text(text, encoding="utf-8")
