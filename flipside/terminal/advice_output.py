"""How the advisor's answer looks: a table and sentences for people, one object for machines, a definition to replay."""

import json
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from analysis.planning.advice import Advice, DesignAdvice, Question
from analysis.planning.candidates import Candidate, experiment_of
from analysis.planning.rehearsal import History, covariates
from controller.definition.money import NO_CURRENCY
from controller.errors import FlipsideError

WIDTH = 120
#: of sales that name none
#: periods before the start whose sales balance is computed from
MOST_BEFORE = 56


def show(advice: Advice, history: History, question: Question) -> None:
    """The table, then what is not in it, then the recommendation."""
    console = Console(width=WIDTH, soft_wrap=False, highlight=False)
    constraints, truth = question.constraints, question.truth
    period = "day" if history.period_days == 1 else "week"
    late = ""
    if truth.carryover:
        late = f", {truth.carryover_share:.0%} of it up to {truth.carryover} {_plural(period, truth.carryover)} late"
    console.print(
        f"{len(history.units)} units over {len(history.periods)} {period}s; {history.metric} {truth.effect:+.1%}{late},"
        f" in {constraints.periods} {_plural(period, constraints.periods)}; {question.runs} schedules of each design."
        f" All effects are shares of control's mean.\n"
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("design", no_wrap=True)
    for name in (
        "bias", "± MC", "se", "A/A false", "covers", "finds it", "MDE fixed", "any time", "changes",
        f"{period}s", "any time",
    ):  # fmt: skip
        table.add_column(name, justify="right")
    for design in advice.designs:
        if design.se is not None:
            table.add_row(*_row(design, design.name == advice.recommended))
    console.print(table)
    console.print(
        f"\nse: standard error; covers, finds it: share of {1 - question.alpha:.0%} intervals that hold the effect, or"
        f" leave out zero; MDE: smallest effect found with power {question.power:.0%}, at one planned look or any time;"
        f" changes: of a unit's price; {period}s: until {truth.effect:+.1%} is found, either way. x: may not run\n",
        soft_wrap=True,
    )
    for design in advice.designs:
        for text in _remarks(design):
            console.print(f"- {design.name}: {text}", soft_wrap=True)
    console.print(f"\nRecommended: {advice.recommended or 'none'}", style="bold")
    for reason in advice.reasons:
        console.print(f"  {reason}", soft_wrap=True)


def _row(design: DesignAdvice, best: bool) -> tuple[str, ...]:
    mark = "> " if best else "x " if design.refused else "  "
    return (
        mark + design.name,
        _percent(design.bias, signed=True),
        _percent(design.bias_error),
        _percent(design.se),
        _percent(design.false_positives, 1),
        _percent(design.coverage, 1),
        _percent(design.found, 0),
        _percent(design.mde, 1),
        _percent(design.mde_anytime, 1),
        "-" if design.changes_per_unit is None else f"{design.changes_per_unit:.1f}",
        str(design.periods_to_decide or "-"),
        str(design.periods_to_decide_anytime or "-"),
    )


def _remarks(design: DesignAdvice) -> list[str]:
    found = []
    if design.refused is not None:
        found.append(f"may not run: {design.refused}")
    if design.missing_days:
        found.append(f"the history is too short, {design.missing_days} days are missing")
    if design.no_figures is not None:
        found.append(design.no_figures)
    return [*found, *(note for note in design.notes if not note.startswith("no figure for any time"))]


def _percent(value: float | None, digits: int = 2, *, signed: bool = False) -> str:
    if value is None:
        return "-"
    return f"{value:+.{digits}%}" if signed else f"{value:.{digits}%}"


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def as_object(advice: Advice, history: History, question: Question) -> dict[str, Any]:
    """For machines: shares of control's mean; periods are rows of the history, ``period_days`` long."""
    constraints = question.constraints
    return {
        "metric": history.metric,
        "units": len(history.units),
        "history_periods": len(history.periods),
        "period_days": history.period_days,
        "effect": question.truth.effect,
        "carryover_periods": question.truth.carryover,
        "carryover_share": question.truth.carryover_share,
        "periods": constraints.periods,
        "runs": question.runs,
        "alpha": question.alpha,
        "power": question.power,
        "seed": question.seed,
        "recommended": advice.recommended,
        "reasons": list(advice.reasons),
        "designs": [_design(design, history.period_days) for design in advice.designs],
    }


def _design(design: DesignAdvice, period_days: int) -> dict[str, Any]:
    found = asdict(design)
    for name in ("periods_to_decide", "periods_to_decide_anytime"):
        periods = found.pop(name)
        found[name.replace("periods", "days")] = None if periods is None else periods * period_days
    found["notes"] = list(design.notes)
    found["se_range"] = None if design.se_range is None else list(design.se_range)
    return found


def definition_text(advice: Advice, history: History, start: date) -> str:
    """The recommended design as a definition in YAML, complete; names, prices, start and seed are the owner's to set.

    ``start``: a first day that `design` and `submit` take.

    Raises:
        FlipsideError: nothing is recommended, or its balance asks for covariates (`advise` has them per start alone).
    """
    chosen = next((design for design in advice.designs if design.name == advice.recommended), None)
    if chosen is None:
        raise FlipsideError(f"--out: no design is recommended, {advice.reasons[0]}")
    return text_of(chosen, history, start)


def next_start(today: date) -> date:
    """The first Monday that is two weeks ahead: time to look at the definition and to submit it."""
    later = today + timedelta(days=14)
    return later + timedelta(days=-later.weekday() % 7)


def text_of(chosen: DesignAdvice, history: History, start: date) -> str:
    """Any rehearsed design as a definition: what `design` accepts, with the history's units and currency."""
    candidate = Candidate(chosen.name, chosen.kind, chosen.definition, chosen.periods)
    experiment = experiment_of(candidate, history.units, history.clusters, history.currency)
    experiment = experiment.model_copy(update={"name": "advised", "seed": "choose-your-own", "start": start})
    last = len(history.outcome)
    experiment = covariates(history, experiment, min(MOST_BEFORE, last), last)
    body = json.loads(experiment.model_dump_json(exclude_defaults=True))
    # The kind has a default, and a definition without it would be of another design.
    body["design"] = {"kind": chosen.kind, **body.get("design", {})}
    order = ("name", "currency", "arms", "design", "start", "days", "seed", "clusters")
    body["clusters"] = experiment.model_dump(mode="json")["clusters"]
    sorted_body = {key: body[key] for key in (*order, *sorted(set(body) - set(order) - {"units"}), "units")}
    lines = [f"# {chosen.name}: set name, arms, start and seed"]
    if history.period_days > 1:
        lines.append("# sales of weeks: a day of this definition was a week of them; set days to those that you want")
    if history.currency == NO_CURRENCY:
        lines.append("# the sales name no currency: write yours instead of XXX")
    return "\n".join(lines) + "\n" + yaml.safe_dump(sorted_body, sort_keys=False)
