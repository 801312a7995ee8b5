"""A market that we make up: demand is known to the last coefficient, so that every estimate has a truth to meet.

Units sold of product j in store s on day t are Poisson around
``base_s * appeal_j * weekday_t * shock_t * own_st`` with a log-normal shock common to all stores, an AR(1) of each
store, and no response to the price of its own: the replay plants what the experiment changes.
"""

import csv
import gzip
import io
import math
from pathlib import Path

import numpy as np

from controller.messages.inputs import CatalogEntry
from flipside.sales_history.history import CURRENCY, TIME_ZONE, History, WeekOfSales

WEEKDAYS = (0.9, 0.85, 0.9, 1.0, 1.25, 1.35, 0.75)
AUTOCORRELATION = 0.6
STORE_NOISE = 0.10
DAY_NOISE = 0.15
OUNCES_PER_PACK = 64


def made_up_history(stores: int, products: int, days: int, generator: np.random.Generator) -> History:
    """A history of so many stores, products and days; the same for the same generator."""
    base = np.exp(generator.normal(3.6, 0.4, stores))
    appeal = np.exp(generator.normal(0.0, 0.5, products))
    price = generator.integers(149, 399, products)
    shock = np.exp(generator.normal(0.0, DAY_NOISE, days))
    own = np.empty((stores, days))
    own[:, 0] = generator.normal(0.0, STORE_NOISE, stores)
    innovation = STORE_NOISE * math.sqrt(1 - AUTOCORRELATION**2)
    for day in range(1, days):
        own[:, day] = AUTOCORRELATION * own[:, day - 1] + generator.normal(0.0, innovation, stores)
    weekday = np.array([WEEKDAYS[day % 7] for day in range(days)])
    mean = np.einsum("s,j,d->sjd", base, appeal, weekday * shock) * np.exp(own)[:, None, :]
    packs = generator.poisson(mean)
    units = [[f"store-{s + 1}/product-{j + 1}" for j in range(products)] for s in range(stores)]
    return History(
        catalog=tuple(
            CatalogEntry(
                unit=units[s][j],
                time_zone=TIME_ZONE,
                category="juice",
                currency=CURRENCY,
                list_price_minor=int(price[j]),
                cost_minor=int(price[j] * 0.7),
            )
            for s in range(stores)
            for j in range(products)
        ),
        periods=tuple(
            tuple(
                WeekOfSales(
                    unit=units[s][j],
                    packs=int(packs[s, j, day]),
                    price_minor=int(price[j]),
                    cost_minor=int(price[j] * 0.7),
                    rival="rival" if products > 1 else None,
                    rival_price_minor=int(price[j]) + int((day + s + j) % 7) - 3,
                )
                for s in range(stores)
                for j in range(products)
            )
            for day in range(days)
        ),
    )


def write_history(history: History, folder: Path) -> None:
    """Write a made-up history as a folder that `flipside replay` reads: same bytes for the same history."""
    folder.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    sales = csv.writer(text, lineterminator="\n")
    sales.writerow(["store", "brand", "week", "ounces", "price_per_ounce", "profit_percent"])
    brands = set()
    for week, rows in enumerate(history.periods, start=1):
        for row in rows:
            store, _, product = row.unit.partition("/")
            brand = product.removeprefix("product-")
            brands.add(brand)
            profit = 100 * (1 - (row.cost_minor or 0) / row.price_minor)
            per_ounce = row.price_minor / 100 / OUNCES_PER_PACK
            ounces = row.packs * OUNCES_PER_PACK
            sales.writerow([store.removeprefix("store-"), brand, week, ounces, f"{per_ounce:.6f}", f"{profit:.2f}"])
    # Without a time stamp in its header, the archive is the same whenever it is written.
    (folder / "sales.csv.gz").write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
    with (folder / "brands.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["brand", "name", "ounces_per_pack"])
        writer.writerows([brand, f"made-up juice {brand}", OUNCES_PER_PACK] for brand in sorted(brands, key=int))
