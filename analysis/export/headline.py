"""The one number that is quoted of an effect, and the other one that stands beside it by name.

Before the planned day it is the always-valid estimate of the running sequence: its interval covers however often
somebody looks. From the planned day on it is the fixed-horizon estimate, which uses every unit-day and is narrower. The
two estimate the same effect, and differ in the last digits. Report, terminal and `flipside estimates` all ask here.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import pyarrow as pa

from analysis.export.formatting import percent
from analysis.export.rows import latest_estimates
from analysis.export.tables import findings_of
from controller.definition.field_types import Message
from controller.messages.events import OBSERVATIONAL, Estimate
from controller.messages.findings import RunningSequence

Kind = Literal["always-valid", "fixed-horizon"]
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Span:
    """A value and its interval; a side that cannot be bounded is None."""

    value: float
    low: float | None
    high: float | None

    @property
    def bounded(self) -> bool:
        return self.low is not None and self.high is not None

    def side(self) -> Literal[-1, 0, 1] | None:
        """-1 where the whole interval lies below zero, 1 above, 0 where it does not; None without an interval."""
        if self.low is None or self.high is None:
            return None
        return -1 if self.high < 0 else 1 if self.low > 0 else 0


@dataclass(frozen=True, slots=True)
class Quote:
    """One method's word: in the metric's own unit (pieces, minor units) per unit-day, and relative to control."""

    kind: Kind
    method: str
    day: date
    absolute: Span | None
    relative: Span | None

    def side(self) -> Literal[-1, 0, 1] | None:
        """As `Span.side`, of both; 0 where they disagree."""
        sides = {span.side() for span in (self.absolute, self.relative) if span is not None} - {None}
        return sides.pop() if len(sides) == 1 else 0 if sides else None


@dataclass(frozen=True, slots=True)
class Headline:
    """What to quote of one metric and arm, as of a closed day."""

    experiment: str
    version: int
    metric: str
    arm: str
    #: the last closed day
    day: date
    planned_day: date | None
    confidence: float
    quoted: Quote | None
    other: Quote | None
    #: kind -> why there is no such number
    reasons: Mapping[Kind, str]

    @property
    def planned(self) -> bool:
        """Whether the planned day has come."""
        return self.planned_day is not None and self.day >= self.planned_day

    @property
    def preview(self) -> bool:
        """Whether the quoted interval is not valid yet: fixed-horizon, before its day, because there is no other."""
        return self.quoted is not None and self.quoted.kind == "fixed-horizon" and not self.planned

    @property
    def level(self) -> str:
        return f"{100 * self.confidence:.0f} %"

    @property
    def reason_absent(self) -> str:
        """Why nothing can be quoted."""
        return "; ".join(dict.fromkeys(self.reasons.values())) or "no block has closed"


def headlines(estimates: pa.Table, sequences: pa.Table) -> tuple[Headline, ...]:
    """A headline for each experiment, metric and arm of these tables of the export, each in its newest version."""
    looks = latest_looks(sequences)
    fixed = [row for row in latest_estimates(estimates) if row["estimator"] != OBSERVATIONAL]
    by_series = {_series(row): row for row in sorted(fixed, key=lambda r: r["version"])}
    return tuple(headline(by_series.get(key), looks.get(key)) for key in dict.fromkeys([*by_series, *looks]))


def of_messages(messages: Iterable[Message]) -> tuple[Headline, ...]:
    """The same of what the topics say."""
    kept = [message for message in messages if isinstance(message, Estimate | RunningSequence)]
    tables = findings_of(kept)
    return headlines(tables["estimates"], tables["sequences"])


def latest_looks(sequences: pa.Table) -> dict[tuple[str, str, str], Row]:
    """(experiment, metric, arm) -> the last look of its newest version's newest revision."""
    flat = [field.name for field in sequences.schema if not pa.types.is_nested(field.type)]
    rows = sorted(sequences.select(flat).to_pylist(), key=lambda r: (r["version"], r["day"], r["revision"]))
    return {_series(row): row for row in rows}


def headline(fixed: Row | None, look: Row | None) -> Headline:
    """Choose between the last estimate and the last look of one series; at least one is there."""
    if fixed is not None and look is not None and fixed["version"] != look["version"]:
        fixed, look = (fixed, None) if fixed["version"] > look["version"] else (None, look)
    said = [row for row in (fixed, look) if row is not None]
    day = max(row["day"] for row in said)
    planned_day = next((row["planned_day"] for row in said if row["planned_day"] is not None), None)
    quotes: dict[Kind, Quote] = {}
    reasons: dict[Kind, str] = {}
    makers: tuple[tuple[Kind, Row | None, Callable[[Row], Quote | None]], ...] = (
        ("fixed-horizon", fixed, _fixed),
        ("always-valid", look, _always_valid),
    )
    for kind, row, made in makers:
        quote = None if row is None else made(row)
        if quote is not None:
            quotes[kind] = quote
        elif row is not None and row["reason_absent"]:
            reasons[kind] = row["reason_absent"]
    if fixed is not None and "always-valid" not in quotes and fixed["anytime_reason_absent"]:
        reasons.setdefault("always-valid", fixed["anytime_reason_absent"])
    order: tuple[Kind, Kind] = ("always-valid", "fixed-horizon")
    if planned_day is not None and day >= planned_day:
        order = ("fixed-horizon", "always-valid")
    found = [quotes[kind] for kind in order if kind in quotes]
    first = said[0]
    return Headline(
        experiment=first["experiment"],
        version=first["version"],
        metric=first["metric"],
        arm=first["arm"],
        day=day,
        planned_day=planned_day,
        confidence=fixed["confidence"] if fixed is not None else 1 - said[0]["alpha"],
        quoted=found[0] if found else None,
        other=found[1] if len(found) > 1 else None,
        reasons=reasons,
    )


def _series(row: Row) -> tuple[str, str, str]:
    return row["experiment"], row["metric"], row["arm"]


def _fixed(row: Row) -> Quote | None:
    absolute, relative = _span(row, "absolute"), _span(row, "relative")
    if absolute is None and relative is None:
        return None
    return Quote("fixed-horizon", row["estimator"], row["day"], absolute, relative)


def _always_valid(row: Row) -> Quote | None:
    """A look whose interval is open on a side is no always-valid number."""
    if row["effect"] is None or row["anytime_low"] is None or row["anytime_high"] is None:
        return None
    absolute = Span(row["effect"], row["anytime_low"], row["anytime_high"])
    return Quote("always-valid", row["method"], row["day"], absolute, _span(row, "relative"))


def _span(row: Row, name: str) -> Span | None:
    return None if row[name] is None else Span(row[name], row[f"{name}_low"], row[f"{name}_high"])


# --- in words ---------------------------------------------------------------------------------------------------------


def interval_text(span: Span | None, digits: int = 1) -> str:
    """``−9.9 % [−11.9 %, −7.8 %]``; empty where there is none."""
    if span is None:
        return ""
    if span.low is None or span.high is None:
        return f"{percent(span.value, digits)} [cannot be bounded]"
    return f"{percent(span.value, digits)} [{percent(span.low, digits)}, {percent(span.high, digits)}]"


def kind_text(found: Headline, quote: Quote) -> str:
    """What an interval is, and when it counts."""
    if quote.kind == "always-valid":
        return f"always-valid {found.level}"
    if found.planned:
        return f"fixed-horizon {found.level}"
    day = f", for {found.planned_day} only" if found.planned_day else ", for the planned day only"
    return f"fixed-horizon {found.level}{day}"


def finding(found: Headline) -> str:
    """What the quoted interval says; it decides nothing before its day."""
    quote = found.quoted
    if quote is None:
        return f"no number: {found.reason_absent}"
    side = quote.side()
    said = f"{quote.kind} {found.level} interval"
    if side in (-1, 1) and not found.preview:
        return f"{'lower' if side < 0 else 'higher'} than control ({said} {'below' if side < 0 else 'above'} zero)"
    if found.planned and side == 0:
        return f"no difference found ({said} contains zero)"
    return "not decided"


def quoted_text(found: Headline) -> str:
    """``−9.9 % [−11.9 %, −7.8 %]``, or why there is none."""
    text = "" if found.quoted is None else interval_text(found.quoted.relative)
    return text or f"none: {found.reason_absent}"


def other_text(found: Headline) -> str:
    """The other number by name, or why there is none."""
    if found.other is not None:
        return f"{kind_text(found, found.other)}: {interval_text(found.other.relative) or 'no relative effect'}"
    kinds: Sequence[Kind] = [k for k in found.reasons if found.quoted is None or k != found.quoted.kind]
    return "; ".join(f"no {kind} interval: {found.reasons[kind]}" for kind in kinds)
