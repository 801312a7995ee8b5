"""What an owner pre-registers: an experiment, frozen, with one canonical spelling and one hash."""

import re
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_serializer, model_validator

from controller.definition.field_types import (
    ClusterId,
    Currency,
    Message,
    Name,
    Text,
    UnitId,
    Version,
    canonical_json,
    market_of,
    product_of,
    sha256_hex,
)
from controller.definition.parameters import (
    Balance,
    CatalogPolicy,
    DesignParameters,
    Guardrail,
    Limits,
    RandomDays,
    Share,
    fraction,
)
from controller.time.time_zones import TimeZone

__all__ = [
    "Arm",
    "CatalogFilter",
    "ClustersFrom",
    "DesignParameters",
    "Experiment",
    "Market",
    "PriceRule",
    "RandomDays",
    "Target",
    "canonical_definition",
    "design_hash",
    "seed_commitment",
    "with_seed",
    "withheld",
]

Percent = Annotated[Decimal, Field(gt=-100, le=1000, max_digits=9, decimal_places=4)]
MinorUnits = Annotated[int, Field(ge=0, le=10**12)]
#: "total": the effect on the sum over all units; "average": the mean over clusters of the effect on the cluster's mean
Target = Literal["total", "average"]
Seed = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._~-]{1,128}$")]


#: a definition with more is a mistake; the largest shop in mind has a tenth of it
MOST_UNITS = 1_000_000

#: local days whose boundaries are well defined and far from the ends of the calendar
EARLIEST, LATEST = date(1970, 1, 2), date(2200, 1, 1)


class PriceRule(Message):
    """What an arm charges: the list price, so many percent above or below it, or one absolute price."""

    #: percent added to the list price: -10 sells at 90 % of it
    percent: Percent | None = None
    #: a price in minor units (cents) of the experiment's currency
    absolute_minor: MinorUnits | None = None

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if self.percent is not None and self.absolute_minor is not None:
            raise ValueError("a price rule has a percent or an absolute price, not both")
        return self

    @field_serializer("percent")
    def _plain(self, percent: Decimal | None) -> str | None:
        return None if percent is None else format(percent.normalize(), "f")

    def price_minor(self, list_price_minor: int) -> int:
        """The price in minor units for a list price, halves rounded up."""
        if self.absolute_minor is not None:
            return self.absolute_minor
        factor = Decimal(1) if self.percent is None else 1 + self.percent / 100
        return int((list_price_minor * factor).quantize(Decimal(1), rounding=ROUND_HALF_UP))


class Arm(Message):
    """One price level of an experiment. The first arm of an experiment is its control."""

    name: Name
    price: PriceRule = PriceRule()
    #: part of the clusters (or of the cluster-days) that get it; None for all arms: equal shares
    share: Share | None = None


class CatalogFilter(Message):
    """Which units of the catalog take part; an absent field admits all."""

    markets: tuple[Name, ...] | None = None
    products: tuple[Name, ...] | None = None
    categories: tuple[Name, ...] | None = None


class ClustersFrom(Message):
    """Clusters of a published graph of substitutes: registration writes them into ``clusters``."""

    #: version of the graph
    graph: Name
    #: products of a cluster, at most; the graph is published with clusters of this size
    max_size: Annotated[int, Field(ge=1, le=1_000_000)]
    #: "unit": a cluster lies within one market; "product": it has its products in all markets
    level: Literal["unit", "product"] = "unit"


class Market(Message):
    """Where everyone sees the same price at any instant, and whose clock says when a day begins."""

    name: Name
    time_zone: TimeZone


class Experiment(Message):
    """A price experiment as its owner writes it, and, once registered, with its units and markets spelled out."""

    name: Name
    version: Version = 1
    owner: Text = ""
    description: Text = ""
    currency: Currency
    #: the units, or ``select`` to take them from the catalog at registration
    units: Annotated[tuple[UnitId, ...], Field(max_length=MOST_UNITS)] = ()
    select: CatalogFilter | None = None
    #: filled from the catalog at registration: markets and their time zones
    markets: tuple[Market, ...] = ()
    #: units assigned together: by market, by product, each unit alone, or by name
    clusters: Literal["market", "product", "unit"] | dict[ClusterId, tuple[UnitId, ...]] = "unit"
    #: control first
    arms: Annotated[tuple[Arm, ...], Field(min_length=2, max_length=16)]
    design: DesignParameters = RandomDays()
    #: first local day, in every market
    start: Annotated[date, Field(ge=EARLIEST, le=LATEST)]
    #: number of local days
    days: Annotated[int, Field(ge=1, le=3660)]
    seed: Seed
    #: "committed": only the SHA-256 of the seed is published until the experiment is over
    seed_disclosure: Literal["published", "committed"] = "published"
    #: m: days that an arm still acts after it ended
    carryover_order: Annotated[int, Field(ge=0, le=3659)] = 0
    balance: Balance = Balance()
    limits: Limits = Limits()
    guardrails: tuple[Guardrail, ...] = ()
    on_catalog_change: CatalogPolicy = CatalogPolicy()
    #: how long before the first instant of a day its assignments are published
    lead_minutes: Annotated[int, Field(ge=1, le=1439)] = 60
    # The three that follow came after the first registered definitions: spelled only where they say something else than
    # those did, so that hashes stay.
    #: the graph that clusters come from; they stand in ``clusters`` once the experiment is registered
    clusters_from: ClustersFrom | None = Field(default=None, exclude_if=lambda asked: asked is None)
    #: which effect is the primary one: on the sum over all units, or the mean over clusters of that on their mean unit
    target: Target = Field(default="total", exclude_if=lambda target: bool(target == "total"))
    #: a unit-day that was out of stock and sold nothing: a zero, so that the effect includes it, or left out
    when_sold_out: Literal["zero", "missing"] = Field(default="zero", exclude_if=lambda policy: bool(policy == "zero"))

    @property
    def end(self) -> date:
        """The first local day after the experiment."""
        return self.start + timedelta(days=self.days)

    @property
    def lead(self) -> timedelta:
        return timedelta(minutes=self.lead_minutes)

    @property
    def control(self) -> Arm:
        return self.arms[0]

    @property
    def plan_name(self) -> str:
        """``name.version``: how plans, decisions and ids name this version."""
        return f"{self.name}.{self.version}"

    def shares(self) -> tuple[Fraction, ...]:
        """The share of each arm, exact; equal where no arm names one."""
        if any(arm.share is None for arm in self.arms):
            return (Fraction(1, len(self.arms)),) * len(self.arms)
        return tuple(fraction(arm.share) for arm in self.arms if arm.share is not None)

    def cluster_by_unit(self) -> dict[str, str]:
        """Unit -> cluster, for every unit that has one. O(units): call it once, not once a unit."""
        if isinstance(self.clusters, dict):
            return {unit: cluster for cluster, units in self.clusters.items() for unit in units}
        if self.clusters == "unit":
            return {unit: unit for unit in self.units}
        part_of = market_of if self.clusters == "market" else product_of
        return {unit: part_of(unit) for unit in self.units}

    def cluster_names(self) -> tuple[str, ...]:
        """All clusters, sorted: the order in which nothing depends on how the definition was written."""
        return tuple(sorted(set(self.cluster_by_unit().values())))

    def time_zones(self) -> dict[str, str]:
        return {market.name: market.time_zone for market in self.markets}

    def units_by_market(self) -> dict[str, tuple[str, ...]]:
        """Units of each market, sorted."""
        grouped: dict[str, list[str]] = {}
        for unit in sorted(self.units):
            grouped.setdefault(market_of(unit), []).append(unit)
        return {market: tuple(units) for market, units in grouped.items()}


COMMITMENT = re.compile(r"^sha256\.([0-9a-f]{64})$")


def seed_commitment(seed: str) -> str:
    """SHA-256 of the seed: what may be published while the seed itself stays secret.

    A seed that was replaced by its commitment (:func:`withheld`) gives the same answer.
    """
    committed = COMMITMENT.match(seed)
    return committed[1] if committed else sha256_hex(seed.encode())


def withheld(experiment: Experiment) -> Experiment:
    """The experiment with ``sha256.HEX`` in place of its seed: same design hash, no arm can be drawn from it."""
    return experiment.model_copy(update={"seed": f"sha256.{seed_commitment(experiment.seed)}"})


def with_seed(experiment: Experiment, seed: str) -> Experiment:
    """A withheld experiment with its revealed seed; raises ValueError where the seed is not the committed one."""
    if seed_commitment(experiment.seed) != sha256_hex(seed.encode()):
        raise ValueError("the revealed seed is not the one that was committed to")
    return experiment.model_copy(update={"seed": seed})


def canonical_definition(experiment: Experiment) -> bytes:
    """The canonical JSON of parameters, units and seed commitment: what the design hash is taken of."""
    body = experiment.model_dump(mode="json", exclude={"seed"})
    body["units"] = sorted(body["units"])
    body["markets"] = sorted(body["markets"], key=lambda market: market["name"])
    if isinstance(body["clusters"], dict):
        body["clusters"] = {name: sorted(units) for name, units in body["clusters"].items()}
    body["seed_commitment"] = seed_commitment(experiment.seed)
    return canonical_json(body)


def design_hash(experiment: Experiment) -> str:
    """SHA-256 of :func:`canonical_definition`: published before the start, recomputable by anyone."""
    return sha256_hex(canonical_definition(experiment))
