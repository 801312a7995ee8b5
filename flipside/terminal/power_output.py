"""``flipside power --history``: the answer from one's own sales, for people and for machines."""

from typing import Any

from rich.console import Console
from rich.table import Table

from analysis.planning.advice import Advice, DesignAdvice
from analysis.planning.power_parts import Parts
from analysis.planning.rehearsal import History
from controller.definition.money import minor_digits

WIDTH = 120


def as_object(advice: Advice, parts: Parts, history: History, weeks: int) -> dict[str, Any]:
    """Shares of control's mean, and the same in the metric's unit per observation (money in minor units)."""
    return {
        "metric": history.metric,
        "weeks": weeks,
        "observation": observation(history),
        "clusters": parts.clusters,
        "observations": parts.observations,
        "cv": parts.cv,
        "macro_share": parts.macro_share,
        "sd": parts.sd,
        "mean": parts.mean,
        "designs": [_design(design, parts) for design in advice.designs if design.se is not None],
        "left_out": {d.name: why for d in advice.designs if d.se is None and (why := _why(d)) is not None},
    }


def _design(design: DesignAdvice, parts: Parts) -> dict[str, Any]:
    def units(share: float | None) -> float | None:
        return None if share is None else share * parts.mean

    return {
        "name": design.name,
        "kind": design.kind,
        "refused": design.refused,
        "se": design.se,
        "mde": design.mde,
        "mde_anytime": design.mde_anytime,
        "se_units": units(design.se),
        "mde_units": units(design.mde),
        "mde_anytime_units": units(design.mde_anytime),
        "periods_to_decide": design.periods_to_decide,
        "notes": list(design.notes),
    }


def observation(history: History) -> str:
    """What one observation is."""
    return f"{history.metric} of one product in one store on one {'day' if history.period_days == 1 else 'week'}"


def show(advice: Advice, parts: Parts, history: History, weeks: int, power: float) -> None:
    """What was estimated, then a row a design."""
    console = Console(width=WIDTH, highlight=False)
    scale = 10 ** minor_digits(history.currency) if history.metric != "units" else 1
    unit = "units" if history.metric == "units" else history.currency
    word = "day" if history.period_days == 1 else "week"
    console.print(
        f"An observation is {observation(history)}: mean {parts.mean / scale:.2f} {unit}, standard deviation"
        f" {parts.sd / scale:.2f} once product and {word} are taken out.\n"
        f"{parts.clusters} clusters; {parts.observations:.1f} observations in a cluster and {word} (cv {parts.cv:.2f});"
        f" {parts.macro_share:.0%} of the variance lies between clusters and {word}s (macro share).\n"
        f"{weeks} weeks; as the analysis will publish it:\n",
        soft_wrap=True,
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("design", no_wrap=True)
    for name in ("se", f"smallest effect, power {power:.0%}", f"in {unit}", "looking any time", f"in {unit}"):
        table.add_column(name, justify="right")
    for design in advice.designs:
        if design.se is not None:
            table.add_row(
                ("x " if design.refused else "  ") + design.name,
                f"{design.se:.2%}",
                *(_both(design.mde, parts.mean / scale)),
                *(_both(design.mde_anytime, parts.mean / scale)),
            )
    console.print(table)
    for design in advice.designs:
        reasons = [design.refused, *(() if design.se is not None else (_why(design),)), *design.notes]
        for reason in dict.fromkeys(reasons):
            if reason is not None:
                console.print(f"- {design.name}: {reason}", soft_wrap=True)


def _both(share: float | None, mean: float) -> tuple[str, str]:
    return ("-", "-") if share is None else (f"{share:.1%}", f"{share * mean:.2f}")


def _why(design: DesignAdvice) -> str | None:
    if design.missing_days:
        return f"the history is too short, {design.missing_days} days are missing"
    return design.no_figures or design.refused
