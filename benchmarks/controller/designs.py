"""Three designs on the same simulated panel: standard errors, and bias where part of the effect comes a day late.

    python -m benchmarks.controller.designs [--replications 400] [--json]

60 products, 7 days before and 42 after the start; product effects, product trends, AR(1) noise with coefficient .9, day
shocks; the production draws; two-way fixed effects on the days that are not washed out. The standard error is the
standard deviation over replications.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from controller.definition.experiment import Arm, Experiment, PriceRule
from controller.definition.parameters import Crossover, RandomDays, TimeBound
from controller.schedule.calendar import Calendar, calendar

Array = npt.NDArray[np.float64]
PRODUCTS, BEFORE, AFTER = 60, 7, 42
DESIGNS: dict[str, TimeBound | Crossover | RandomDays] = {
    "time_bound": TimeBound(kind="time_bound"),
    "crossover": Crossover(kind="crossover", washout_days=7),
    "random_days": RandomDays(),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One design over all replications; effects in units of the true effect."""

    design: str
    standard_error: float
    #: standard error against time-bound's
    ratio: float
    bias: float
    #: bias where 40 % of the effect arrives a day late, and its Monte-Carlo standard error
    bias_late: float
    bias_late_error: float


def laid_out(kind: str, seed: int) -> Calendar:
    return calendar(
        Experiment(
            name="panel",
            currency="USD",
            units=tuple(f"m/p{k:02d}" for k in range(PRODUCTS)),
            arms=(Arm(name="control"), Arm(name="cheaper", price=PriceRule(percent=Decimal(-10)))),
            design=DESIGNS[kind],
            start=date(2027, 3, 1),
            days=AFTER,
            seed=str(seed),
        )
    )


def untreated(rng: np.random.Generator) -> Array:
    """Outcomes without any effect, shape (products, days)."""
    days = BEFORE + AFTER
    shocks = rng.standard_normal((PRODUCTS, days)) * np.sqrt(1 - 0.9**2)
    noise = np.empty((PRODUCTS, days))
    noise[:, 0] = rng.standard_normal(PRODUCTS)
    for t in range(1, days):
        noise[:, t] = 0.9 * noise[:, t - 1] + shocks[:, t]
    level = 3.0 * rng.standard_normal((PRODUCTS, 1))
    trend = 0.01 * rng.standard_normal((PRODUCTS, 1)) * np.arange(days)
    panel: Array = level + trend + rng.standard_normal((1, days)) + noise
    return panel


def two_way(outcome: Array, treated: Array, weight: Array) -> float:
    """Least squares on product and day effects over the cells of weight 1 (products' effects profiled out)."""
    share = weight / weight.sum(axis=1, keepdims=True)

    def within(values: Array) -> Array:
        found: Array = weight * (values - (share * values).sum(axis=1, keepdims=True))
        return found

    days = np.eye(outcome.shape[1])
    gram = np.diag(weight.sum(axis=0)) - share.T @ weight
    right = within(treated).sum(axis=0)
    residual = weight * (treated - (share * treated).sum(axis=1, keepdims=True))
    effects = np.linalg.lstsq(gram, right, rcond=None)[0]
    residual -= within(np.broadcast_to(days @ effects, outcome.shape))
    return float((residual * outcome).sum() / (residual * treated).sum())


def estimates(kind: str, panels: Sequence[Array], late: float) -> Array:
    """The estimate of an effect of 1 on each panel; ``late`` is the share of it that arrives a day later."""
    found = []
    for seed, panel in enumerate(panels):
        plan = laid_out(kind, seed)
        treated = np.hstack([np.zeros((PRODUCTS, BEFORE)), plan.arms.astype(float)])
        yesterday = np.hstack([np.zeros((PRODUCTS, 1)), treated[:, :-1]])
        weight = np.hstack([np.ones((PRODUCTS, BEFORE)), 1.0 - plan.washout])
        found.append(two_way(panel + (1 - late) * treated + late * yesterday, treated, weight))
    return np.array(found)


def table(replications: int, seed: int = 20270301) -> list[Row]:
    """All designs on the same panels."""
    rng = np.random.default_rng(seed)
    panels = [untreated(rng) for _ in range(replications)]
    rows: list[Row] = []
    for kind in DESIGNS:
        prompt, late = estimates(kind, panels, 0.0), estimates(kind, panels, 0.4)
        error = float(prompt.std(ddof=1))
        rows.append(
            Row(
                design=kind,
                standard_error=error,
                ratio=error / rows[0].standard_error if rows else 1.0,
                bias=float(prompt.mean() - 1),
                bias_late=float(late.mean() - 1),
                bias_late_error=float(late.std(ddof=1) / np.sqrt(replications)),
            )
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=400, help="simulated panels (400)")
    parser.add_argument("--json", action="store_true", help="one JSON array")
    given = parser.parse_args()
    rows = table(given.replications)
    if given.json:
        print(json.dumps([asdict(row) for row in rows]))
        return
    print(f"{given.replications} panels of {PRODUCTS} products, {BEFORE} + {AFTER} days; effect 1")
    print(f"{'design':<14}{'SE':>8}{'against time-bound':>20}{'bias':>9}{'bias, 40 % a day late':>24}")
    for r in rows:
        late = f"{r.bias_late:+.3f} ± {r.bias_late_error:.3f}"
        print(f"{r.design:<14}{r.standard_error:>8.4f}{r.ratio - 1:>+19.0%} {r.bias:>+9.3f}{late:>24}")


if __name__ == "__main__":
    main()
