"""Six designs with a known effect: ten columns, noise of one.

Athey and Wager 2019; Wager and Athey 2018; Nie and Wager 2021.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sample:
    """One draw: rows to learn from, and points with their true effect."""

    x: Floats
    treatment: Floats
    outcome: Floats
    points: Floats
    truth: Floats


@dataclass(frozen=True, slots=True)
class Design:
    """How columns, treatment and outcome come about."""

    #: uniform columns, else standard normal ones
    uniform: bool
    propensity: Callable[[Floats], Floats]
    main: Callable[[Floats], Floats]
    effect: Callable[[Floats], Floats]
    #: the effect acts on W less this: 1/2 in Nie and Wager's designs
    centre: float = 0.0


def _sigmoid(at: Floats) -> Floats:
    return 1 / (1 + np.exp(-at))


def _step(at: Floats) -> Floats:
    return 1 + _sigmoid(20 * (at - 1 / 3))


def _above(at: Floats) -> Floats:
    return np.maximum(at, 0)


def _half(x: Floats) -> Floats:
    return np.full(len(x), 0.5)


DESIGNS = {
    "two_steps": Design(True, _half, lambda x: 2 * x[:, 2] - 1 + x[:, 3], lambda x: _step(x[:, 0]) * _step(x[:, 1])),
    "wager_athey_1": Design(
        True,
        lambda x: (1 + 20 * x[:, 0] * (1 - x[:, 0]) ** 3) / 4,
        lambda x: 2 * x[:, 0] - 1,
        lambda x: np.zeros(len(x)),
    ),
    "nie_wager_a": Design(
        True,
        lambda x: np.clip(np.sin(np.pi * x[:, 0] * x[:, 1]), 0.1, 0.9),
        lambda x: np.sin(np.pi * x[:, 0] * x[:, 1]) + 2 * (x[:, 2] - 0.5) ** 2 + x[:, 3] + 0.5 * x[:, 4],
        lambda x: (x[:, 0] + x[:, 1]) / 2,
        0.5,
    ),
    "nie_wager_b": Design(
        False,
        _half,
        lambda x: _above(np.maximum(x[:, 0] + x[:, 1], x[:, 2])) + _above(x[:, 3] + x[:, 4]),
        lambda x: x[:, 0] + np.log1p(np.exp(x[:, 1])),
        0.5,
    ),
    "nie_wager_c": Design(
        False,
        lambda x: _sigmoid(-(x[:, 1] + x[:, 2])),
        lambda x: 2 * np.log1p(np.exp(x[:, 0] + x[:, 1] + x[:, 2])),
        lambda x: np.ones(len(x)),
        0.5,
    ),
    "nie_wager_d": Design(
        False,
        lambda x: 1 / (1 + np.exp(-x[:, 0]) + np.exp(-x[:, 1])),
        lambda x: 0.5 * (_above(x[:, 0] + x[:, 1] + x[:, 2]) + _above(x[:, 3] + x[:, 4])),
        lambda x: _above(x[:, 0] + x[:, 1] + x[:, 2]) - _above(x[:, 3] + x[:, 4]),
        0.5,
    ),
}


def draw(name: str, rows: int, seed: int, points: int = 2000) -> Sample:
    """Rows and test points of a design; the same seed gives the same draw."""
    design, rng = DESIGNS[name], np.random.default_rng(seed)
    make = rng.random if design.uniform else rng.standard_normal
    x = make((rows, 10))
    treatment = (rng.random(rows) < design.propensity(x)).astype(float)
    outcome = design.main(x) + (treatment - design.centre) * design.effect(x) + rng.standard_normal(rows)
    test = make((points, 10))
    return Sample(x, treatment, outcome, test, design.effect(test))
