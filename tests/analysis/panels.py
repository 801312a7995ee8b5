"""Panels for the tests of estimators: random ones, and the public ones of ../shared."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.panel_data.panel import BoolArray, FloatArray, Panel
from analysis.panel_data.panel_files import read_panel


@dataclass(frozen=True, slots=True)
class Drawn:
    """A block panel: controls first, pre-periods first."""

    outcome: FloatArray
    n_control: int
    n_pre: int

    @property
    def treated(self) -> BoolArray:
        mask = np.zeros(self.outcome.shape, dtype=np.bool_)
        mask[self.n_control :, self.n_pre :] = True
        return mask

    def panel(self) -> Panel:
        return panel_of(self.outcome, self.treated)


def panel_of(outcome: FloatArray, treated: BoolArray, **others: object) -> Panel:
    n_units, n_periods = outcome.shape
    return Panel(
        units=tuple(f"u{k}" for k in range(n_units)),
        periods=tuple(f"{k:03d}" for k in range(n_periods)),
        outcome=outcome,
        arm=treated.astype(np.int64),
        **others,  # type: ignore[arg-type]
    )


def factor_panel(
    rng: np.random.Generator, n_control: int = 20, n_treated: int = 4, n_pre: int = 12, n_post: int = 5, rank: int = 2
) -> Drawn:
    """Unit and period effects, a few factors, noise."""
    n_units, n_periods = n_control + n_treated, n_pre + n_post
    outcome = (
        rng.normal(size=(n_units, rank)) @ rng.normal(size=(rank, n_periods))
        + 3 * rng.normal(size=(n_units, 1))
        + rng.normal(size=n_periods)
        + 0.5 * rng.normal(size=(n_units, n_periods))
    )
    return Drawn(outcome, n_control, n_pre)


def any_panel(rng: np.random.Generator) -> Drawn:
    """Of any shape, scale and smoothness that an owner might bring: levels up to 100,000 times the noise."""
    n_control, n_treated = int(rng.integers(3, 60)), int(rng.integers(1, 4))
    n_pre, n_post, rank = int(rng.integers(3, 40)), int(rng.integers(1, 10)), int(rng.integers(0, 4))
    n_units, n_periods = n_control + n_treated, n_pre + n_post
    outcome = (
        10 ** rng.uniform(-1, 2) * (rng.normal(size=(n_units, rank)) @ rng.normal(size=(rank, n_periods)))
        + 10 ** rng.uniform(-1, 3) * rng.normal(size=(n_units, 1))
        + rng.uniform(0, 3) * np.cumsum(rng.normal(size=n_periods))
        + 10 ** rng.uniform(-2, 1) * rng.normal(size=(n_units, n_periods))
    )
    return Drawn(outcome, n_control, n_pre)


def prop99(shared_data: Path) -> Panel:
    """California's Proposition 99: 39 states, 1970 to 2000, treated from 1989."""
    return read_panel(
        shared_data / "panels" / "california_prop99.csv",
        unit="unit",
        time="time",
        outcome="packs_per_capita",
        treatment="treated",
    )
