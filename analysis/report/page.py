"""The report: one HTML file with the pictures, the numbers and where they come from, that needs no network.

The charts are drawn by Vega in the reader's browser, so that a tooltip names what a mark stands for; Vega itself is in
the file. The words around them are HTML, which wraps on a phone and can be copied.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from html import escape
from importlib import resources
from string import Template
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from altair.utils.schemapi import debug_mode

from analysis.export.headline import Headline, Quote, interval_text, kind_text
from analysis.export.rows import latest_estimates
from analysis.export.schemas import Tables
from analysis.panel_data.study import METRICS
from analysis.report import arms, checks, effect, responses, spillover
from analysis.report.series import Series, series_of
from analysis.report.style import FONT, counted, html_table, number, percent
from analysis.report.vega import bundled
from controller.definition.money import major, money
from controller.errors import FlipsideError
from controller.messages.events import OBSERVATIONAL

#: id of an element -> what is drawn into it
Charts = dict[str, dict[str, Any]]


class NothingToReport(FlipsideError):
    """The caller's: there is no such experiment, or nothing was published of it; the message says which."""


@dataclass(frozen=True)
class Found:
    """All that is known of one experiment, in its latest version."""

    definition: dict[str, Any]
    tables: Tables

    @property
    def arms(self) -> dict[str, str]:
        """Arm -> its name and price, control first."""
        body = json.loads(self.definition["definition"])
        return {arm["name"]: f"{arm['name']}: {_price(arm['price'], self.definition)}" for arm in body["arms"]}

    @cached_property
    def series(self) -> tuple[Series, ...]:
        """Every metric and treated arm, in the order of the report."""
        of = self.definition
        return tuple(
            series_of(self.tables["sequences"], self.tables["estimates"], metric, arm, of["currency"], of["truth"])
            for arm in of["arms"][1:]
            for metric in METRICS
        )


def of_experiment(tables: Tables, experiment: str) -> Found:
    """One experiment's rows, of its latest version; raises NothingToReport with the names that there are."""
    rows = [r for r in tables["experiments"].to_pylist() if r["experiment"] == experiment]
    if not rows:
        names = sorted(set(tables["experiments"]["experiment"].to_pylist()))
        raise NothingToReport(f"no experiment {experiment!r} is registered; there is {', '.join(names) or 'none'}")
    definition = max(rows, key=lambda r: r["version"])

    def chosen(table: pa.Table) -> pa.Table:
        same = pc.equal(table["experiment"].cast(pa.string()), experiment)
        return table.filter(pc.and_(same, pc.equal(table["version"], definition["version"])))

    return Found(definition, {name: chosen(table) for name, table in tables.items()})


def page(tables: Tables, experiment: str, vega: Callable[[], str] | None = None) -> str:
    """The report of an experiment as HTML; ``vega``: what `analysis.report.vega.bundled` gave somebody who asked
    earlier.

    Raises:
        NothingToReport: the experiment is not registered, or none of its days is closed yet.
    """
    if vega is None:
        with bundled() as vega:
            return page(tables, experiment, vega)
    found = of_experiment(tables, experiment)
    if not found.tables["panel"].num_rows:
        raise NothingToReport(f"{experiment}: no day is closed yet in all of its markets; ask again tomorrow")
    charts: Charts = {}
    with debug_mode(False):  # a chart against its schema is the tests' work, and half a second of the reader's
        body = "\n".join(
            [
                *_effects(found, charts),
                *spillover.section(found.tables["spillover"], found.definition["currency"], charts),
                *responses.section(found.tables, found.definition["currency"], charts),
                *_arms(found, charts),
                *_checks(found, charts),
                *_origin(found),
            ]
        )
    return Template(resources.files("analysis.report").joinpath("page.html").read_text()).substitute(
        title=escape(experiment),
        finding=escape(_finding(found)),
        lead=_lead(found),
        warning=_warning(found),
        body=body,
        font=FONT,
        specs=json.dumps(charts, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        bundle=vega().replace("</script", "<\\/script"),
    )


def _finding(found: Found) -> str:
    """The first metric that has a number, in a sentence."""
    for series in found.series:
        if series.headline is not None and series.headline.quoted is not None:
            return effect.title(series)
    return "No effect can be given yet"


def _warning(found: Found) -> str:
    """What must be read before the first number: a check that fails or warns."""
    standing = checks.standing_checks(found.tables["health"])
    if not any(check["verdict"] in ("fail", "warn") for check in standing):
        return ""
    return f'<p class="warning"><a href="#assumptions">{escape(checks.title(standing))}</a></p>'


def _lead(found: Found) -> str:
    d = found.definition
    days = (d["last_day"] - d["start"]).days + 1
    planted = f" Planted effect on units sold: {percent(d['truth'])}." if d["truth"] is not None else ""
    size = f"{counted(d['units'], 'unit')} in {counted(d['clusters'], 'cluster')}"
    return escape(
        f"Experiment {d['experiment']}, version {d['version']}: {d['design'].replace('_', ' ')} on {size},"
        f" {counted(days, 'day')} from {d['start']} to {d['last_day']}."
        f" Arms: {'; '.join(found.arms.values())}.{planted}"
    )


def _effects(found: Found, charts: Charts) -> list[str]:
    """The effect, a picture for each metric and arm, then the table of numbers."""
    parts = [
        "<h2>The effect, look by look</h2>",
        "<p>A look is a closed block. The pale band is the always-valid interval: it covers at every look, however"
        " often somebody looks. The darker one is the fixed-horizon interval: it covers on the planned day, and is a"
        " preview before it. Quoted is the always-valid number before the planned day, the fixed-horizon number from"
        " then on.</p>",
        '<div class="grid">',
    ]
    for series in found.series:
        name = f"effect-{series.arm}-{series.metric}"
        parts.append(
            f"<figure><h3>{escape(effect.title(series) if series.looks else effect.NAMES[series.metric])}</h3>"
        )
        if series.looks:
            charts[name] = effect.effect_chart(series, "container", titled=False).to_dict(validate=False)
            parts += [f"<p class=note>{escape(line)}</p>" for line in effect.subtitle(series)]
            parts.append(f'<div class="chart" id="{escape(name)}"></div>')
        else:
            parts.append(f"<p class=note>No number: {escape(series.reason_absent or 'no block has closed')}.</p>")
        parts.append("</figure>")
    return [*parts, "</div>", _numbers(found)]


def _numbers(found: Found) -> str:
    """What is published of the last closed day: what is quoted of each metric and arm, and the other number by name."""
    head = ("metric", "arm", "to quote", "relative to control", "per unit-day", "the other", "clusters", "unit-days")
    estimates = sorted(
        latest_estimates(found.tables["estimates"]), key=lambda r: (r["arm"], METRICS.index(r["metric"]))
    )
    said = {(series.metric, series.arm): series.headline for series in found.series}
    rows = [_row(found, r, said.get((r["metric"], r["arm"]))) for r in estimates]
    if not rows:
        return "<p>No estimate was published yet.</p>"
    return (
        "<h3>The numbers of the last closed day</h3>"
        "<p>Quote them with the name of their interval, the design hash and what was left out.</p>"
        + html_table(head, rows, "numbers")
        + f"<p class=note>{escape(_methods(found, estimates))}</p>"
    )


def _row(found: Found, r: dict[str, Any], quotable: Headline | None) -> list[str]:
    """One published estimate; an observational one is never what is quoted of a randomised experiment."""
    currency, counts = found.definition["currency"], [f"{r['clusters']:,}", f"{r['cells']:,}"]
    if r["estimator"] == OBSERVATIONAL:
        if r["absolute"] is None and r["relative"] is None:
            return [r["metric"], f"{r['arm']} (observational)", "", f"none: {r['reason_absent']}", "", "", *counts]
        shares, own = _interval(r, "relative", percent), _interval(r, "absolute", _spelled(r["metric"], currency))
        kind = f"fixed-horizon {100 * r['confidence']:.0f} %"
        relative = shares or f"none: {r['reason_absent']}"
        return [r["metric"], f"{r['arm']} (observational)", kind, relative, own, "", *counts]
    if quotable is None or quotable.quoted is None:
        reason = r["reason_absent"] if quotable is None else quotable.reason_absent
        return [r["metric"], r["arm"], "", f"none: {reason}", "", "", *counts]
    quote, other = quotable.quoted, quotable.other
    if other is None:
        beside = "; ".join(f"no {kind} interval: {why}" for kind, why in quotable.reasons.items() if kind != quote.kind)
    else:
        beside = f"{kind_text(quotable, other)}: {interval_text(other.relative)}; {_own(other, r['metric'], currency)}"
    shares = interval_text(quote.relative) or f"none: {r['reason_absent']}"
    kind = kind_text(quotable, quote)
    return [r["metric"], r["arm"], kind, shares, _own(quote, r["metric"], currency), beside, *counts]


def _own(quote: Quote, metric: str, currency: str) -> str:
    """A number with its interval in pieces, or in the currency's unit."""
    span, spelled = quote.absolute, _spelled(metric, currency)
    if span is None:
        return ""
    if span.low is None or span.high is None:
        return f"{spelled(span.value)} [cannot be bounded]"
    return f"{spelled(span.value)} [{spelled(span.low)}, {spelled(span.high)}]"


def _spelled(metric: str, currency: str) -> Callable[[float], str]:
    if metric == "units":
        return number
    return lambda minor: f"{number(major(minor, currency))} {currency}"


def _methods(found: Found, estimates: list[dict[str, Any]]) -> str:
    """Which method made which number: the two agree on what they estimate, not to the last digit."""
    fixed = ", ".join(sorted({r["estimator"].replace("_", " ") for r in estimates}))
    looks = found.tables["sequences"]
    methods = sorted({str(m).replace("_", " ") for m in looks["method"].unique().to_pylist()})
    said = f"Fixed-horizon: {fixed}, on every unit-day that counts."
    if methods:
        said += f" Always-valid, and the line in the pictures: {', '.join(methods)}, on closed blocks."
    return f"{said} Both are in docs/methods.md."


def _interval(row: dict[str, Any], name: str, spelled: Callable[[float], str]) -> str:
    """``effect [low, high]``; empty where there is none."""
    if row[name] is None:
        return ""
    if row[f"{name}_low"] is None or row[f"{name}_high"] is None:
        return f"{spelled(row[name])} [cannot be bounded]"
    return f"{spelled(row[name])} [{spelled(row[f'{name}_low'])}, {spelled(row[f'{name}_high'])}]"


def _arms(found: Found, charts: Charts) -> list[str]:
    seen = arms.cluster_days(found.tables["panel"], tuple(found.arms))
    charts["arms"] = arms.arms_chart(found.tables["panel"], found.arms, "container", titled=False).to_dict(
        validate=False
    )
    parts = [
        "<h2>Who had which arm, and what does not count</h2>",
        f"<figure><h3>{escape(arms.title(seen))}</h3>",
        *(f"<p class=note>{escape(line)}</p>" for line in arms.subtitle(seen)),
        '<div class="scroll"><div class="chart wide" id="arms"></div></div></figure>',
    ]
    left = [r for r in found.tables["panel"]["status"].value_counts().to_pylist() if r["values"] != "counted"]
    if left:
        rows = [[r["values"].replace("_", " "), f"{r['counts']:,}"] for r in sorted(left, key=lambda r: -r["counts"])]
        parts.append(html_table(("unit-days left out", "count"), rows))
    return parts


def _checks(found: Found, charts: Charts) -> list[str]:
    parts = ['<h2 id="assumptions">What the numbers rest on</h2>']
    standing = checks.standing_checks(found.tables["health"])
    if not standing:
        return [*parts, "<p>No check was published for this experiment: its assumptions were not looked at.</p>"]
    charts["checks"] = checks.checks_chart(found.tables["health"], "container", titled=False).to_dict(validate=False)
    rows = [
        [checks.asks(c["check"]), c["check"], c["verdict"], checks.said(c), c["evidence"], c["what_to_do"]]
        for c in standing
    ]
    head = ("assumption", "check", "verdict", "value", "evidence", "what to do")
    return [
        *parts,
        f"<figure><h3>{escape(checks.title(standing))}</h3>",
        *(f"<p class=note>{escape(line)}</p>" for line in checks.subtitle(standing)),
        '<div class="chart" id="checks"></div></figure>',
        html_table(head, rows),
    ]


def _origin(found: Found) -> list[str]:
    """Where the numbers come from: enough to get them again."""
    d = found.definition
    rows = [["design hash", d["design_hash"]], ["registered", f"{d['registered_at']:%Y-%m-%d %H:%M} UTC"]]
    latest = [r for r in latest_estimates(found.tables["estimates"]) if r["estimator"] != OBSERVATIONAL]
    if latest:
        last = latest[-1]
        rows += [
            ["numbers through", f"{last['day']}, revision {last['revision']}"],
            ["sales counted up to", f"{last['watermark']:%Y-%m-%d %H:%M} UTC" if last["watermark"] else "unknown"],
            ["offsets of the sales topic", ", ".join(f"{p}: {o}" for p, o in last["offsets"] or ()) or "none"],
            ["estimator", last["estimator"]],
            ["code", last["code_version"]],
        ]
    return ["<h2>Where this comes from</h2>", html_table(("", ""), rows)]


def _price(rule: dict[str, Any], definition: dict[str, Any]) -> str:
    if rule.get("absolute_minor") is not None:
        return money(rule["absolute_minor"], definition["currency"])
    share = float(rule.get("percent") or 0)
    return f"{share:+g} %".replace("-", "−") if share else "list price"
