"""The tables that leave the house: their columns, types and units. They are a contract, as the topics are.

Money stands in minor units of its currency (cents), days are local days of the market, instants are UTC. What cannot be
given is null, and a reason stands beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from analysis.panel_data.sales_columns import Unseen

NAME = pa.dictionary(pa.int32(), pa.string())
TEXT, REAL, INTEGER, SMALL = pa.string(), pa.float64(), pa.int64(), pa.int32()
DAY, INSTANT = pa.date32(), pa.timestamp("us", tz="UTC")
COUNTS = pa.map_(pa.string(), pa.int64())
Tables = dict[str, pa.Table]
#: what a panel says of a unit-day that an estimate uses
COUNTED = "counted"
#: nothing is known of the unit-day, in the order of `analysis.panel_data.sales_columns.Unseen`
UNSEEN = tuple(one.name.lower() for one in Unseen if one is not Unseen.OBSERVED)


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the export."""

    schema: pa.Schema
    #: what a row is, for people
    row: str
    #: with experiment, version and day: what tells a row from the others; a row that comes again replaces itself
    key: tuple[str, ...]
    #: whether it has a folder a day; without, one an experiment
    by_day: bool = True


def _table(row: str, key: tuple[str, ...], columns: Mapping[str, Any], *, by_day: bool = True) -> Table:
    day = {"day": DAY} if by_day else {}
    schema = pa.schema(list({"experiment": NAME, "version": SMALL, **day, **columns}.items()))
    return Table(schema, row, key, by_day)


#: what every finding says of itself
_PROVENANCE = {
    "left_out": COUNTS,
    "watermark": INSTANT,
    "offsets": COUNTS,
    "design_hash": TEXT,
    "code_version": NAME,
}

#: name -> table; the name is the first folder of the export
TABLES: Mapping[str, Table] = MappingProxyType(
    {
        "experiments": _table(
            "a definition, as it was registered",
            (),
            {
                "design": NAME,
                "design_hash": TEXT,
                "arms": pa.list_(TEXT),
                "clusters": SMALL,
                "units": SMALL,
                "currency": TEXT,
                "start": DAY,
                "last_day": DAY,
                "registered_at": INSTANT,
                # as JSON; the design hash is taken of it
                "definition": TEXT,
                # planted effect on units sold, relative to control: known in a demo or a replay, null in life
                "truth": REAL,
            },
            by_day=False,
        ),
        "estimates": _table(
            "an estimate: of a metric and an arm, on the unit-days up to `day`",
            ("metric", "arm", "estimator", "revision"),
            {
                "revision": INTEGER,
                "metric": NAME,
                "arm": NAME,
                "estimator": NAME,
                # shares of control's mean: -.1 is 10 % less
                "relative": REAL,
                "relative_se": REAL,
                "relative_low": REAL,
                "relative_high": REAL,
                # pieces, or minor units, a unit-day
                "absolute": REAL,
                "absolute_se": REAL,
                "absolute_low": REAL,
                "absolute_high": REAL,
                # two-sided, for one look on the planned day, as the intervals above
                "p": REAL,
                "confidence": REAL,
                "planned_day": DAY,
                # null before the planned day, whatever the interval looks like
                "significant": pa.bool_(),
                "reason_absent": TEXT,
                # of the last closed block, valid at every look; in the unit of `absolute`
                "anytime": REAL,
                "anytime_low": REAL,
                "anytime_high": REAL,
                "anytime_p": REAL,
                "anytime_reason_absent": TEXT,
                "clusters": INTEGER,
                "blocks": INTEGER,
                "days": INTEGER,
                "units": INTEGER,
                "cells": INTEGER,
                # what `relative` and `absolute` are about, and the other target's numbers
                "target": NAME,
                "other_target": NAME,
                "other_relative": REAL,
                "other_relative_se": REAL,
                "other_relative_low": REAL,
                "other_relative_high": REAL,
                "other_absolute": REAL,
                "other_absolute_se": REAL,
                "other_absolute_low": REAL,
                "other_absolute_high": REAL,
                "largest_cluster_share": REAL,
                # unit-days under control and the arm on which nothing was sold
                "zeros": INTEGER,
                # what else decided the number, as JSON
                "settings": TEXT,
                **_PROVENANCE,
            },
        ),
        "sequences": _table(
            "a look of a running sequence: the block that ended on `day`, and the effect over all blocks up to it",
            ("metric", "arm", "block"),
            {
                "revision": INTEGER,
                "metric": NAME,
                "arm": NAME,
                "method": NAME,
                # null, with a reason, where the sequence has no look
                "block": INTEGER,
                "first_day": DAY,
                "difference": REAL,
                "difference_se": REAL,
                # all in pieces, or minor units, a unit-day
                "effect": REAL,
                "anytime_low": REAL,
                "anytime_high": REAL,
                "p": REAL,
                "fixed_low": REAL,
                "fixed_high": REAL,
                "control_mean": REAL,
                # as shares of control's mean; null where that is too close to zero, or an interval cannot be bounded
                "relative": REAL,
                "relative_low": REAL,
                "relative_high": REAL,
                "relative_fixed_low": REAL,
                "relative_fixed_high": REAL,
                "alpha": REAL,
                "planned_day": DAY,
                "reason_absent": TEXT,
                **_PROVENANCE,
            },
        ),
        "spillover": _table(
            "an effect with spillover, beside the naive one: of a metric and an arm, on the unit-days up to `day`",
            ("metric", "arm", "effect", "exposure_estimator", "revision"),
            {
                "revision": INTEGER,
                "metric": NAME,
                "arm": NAME,
                # naive, total, direct or spillover; null, with a reason, where there are none at all
                "effect": NAME,
                # hajek or linear
                "exposure_estimator": NAME,
                # fixed-horizon, for one look on the planned day; pieces, or minor units, a unit-day
                "value": REAL,
                "se": REAL,
                "low": REAL,
                "high": REAL,
                "reason_absent": TEXT,
                # units that the design can never put into one of the two exposures
                "dropped": INTEGER,
                # version of the graph of substitutes, and how the clusters cut its weight
                "graph": NAME,
                "cut": REAL,
                "heaviest": REAL,
                "probabilities": NAME,
                "caution": TEXT,
                **_PROVENANCE,
            },
        ),
        "responses": _table(
            "the effect of a part of the units, relative to control: of a metric and an arm, on the unit-days up to"
            " `day`; fixed-horizon",
            ("metric", "arm", "part", "name"),
            {
                "revision": INTEGER,
                "metric": NAME,
                "arm": NAME,
                # average, level, slope or group; null, with a reason, where there are none
                "part": NAME,
                "name": TEXT,
                # shares of control's mean, each unit in its own level; of a slope: more of it for one more of a column
                "effect": REAL,
                "low": REAL,
                "high": REAL,
                "units": INTEGER,
                "clusters": INTEGER,
                # of groups: adjusted for all that were tested, and whether it is below 5 %
                "q": REAL,
                "named": pa.bool_(),
                # conjunctions of levels that were looked at, on the half that an effect is not of
                "looked_at": INTEGER,
                "planned_day": DAY,
                "notes": pa.list_(TEXT),
                "reason_absent": TEXT,
                **_PROVENANCE,
            },
        ),
        "influence": _table(
            "one of the ten clusters that move an absolute effect most, on the unit-days up to `day`; fixed-horizon",
            ("metric", "arm", "rank"),
            {
                "revision": INTEGER,
                "metric": NAME,
                "arm": NAME,
                # null, with a reason, where influence cannot be computed
                "rank": INTEGER,
                "cluster": TEXT,
                # pieces, or minor units, a unit-day: the effect, less the effect without the cluster
                "move": REAL,
                "effect": REAL,
                "effect_without": REAL,
                # the fewest clusters found without which the sign turns; null where none were
                "turning": pa.list_(TEXT),
                # whether no smaller set does
                "turning_is_smallest": pa.bool_(),
                "planned_day": DAY,
                "reason_absent": TEXT,
                **_PROVENANCE,
            },
        ),
        "health": _table(
            "a check of an assumption, as it stood on `day`",
            ("check", "revision"),
            {
                "revision": INTEGER,
                "check": NAME,
                "value": REAL,
                "threshold": REAL,
                # pass, warn, fail or unknown
                "verdict": NAME,
                "what_to_do": TEXT,
                "evidence": TEXT,
                "cells": INTEGER,
                **_PROVENANCE,
            },
        ),
        "panel": _table(
            "a unit-day of the experiment that is closed",
            ("unit",),
            {
                "unit": NAME,
                "market": NAME,
                "cluster": NAME,
                # what was assigned, and what the draw had asked for; null where nothing was
                "arm": NAME,
                "planned_arm": NAME,
                # "counted", or why the estimate leaves it out; where it is because nothing is known of what was sold:
                # "feed_silent", "closed", "unlisted", or "unobserved" of days that were closed before zeros were told
                "status": NAME,
                # 0 where a listed unit sold nothing; null where nothing is known: missing is missing, never zero
                "quantity": INTEGER,
                "revenue_minor": INTEGER,
                # null where the cost of a sale is not known
                "cost_minor": INTEGER,
            },
        ),
    }
)
