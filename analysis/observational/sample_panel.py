"""Generated sales of a shop that lowered some prices without a coin: something to try estimators on, truth included.

Weekly units sold of products in stores, in logarithms: product level, shared season, two tastes that drift (hot
weather, a fashion) and that products follow to different degrees, a promotion covariate, and noise. Prices were lowered
from one week on, preferably for products that were growing: comparing them with everyone else is unfair, as usual.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from analysis.panel_data.panel import FloatArray, Panel
from controller.errors import InvalidPanel

#: of the sample that docs/panel.md works through
SAMPLE_SEED = 2025


@dataclass(frozen=True, slots=True)
class SamplePanel:
    """A panel and the effect that was put into it."""

    panel: Panel
    #: mean over the treated cells, in log units sold
    true_effect: float


def sample_panel(
    rng: np.random.Generator,
    n_units: int = 60,
    n_treated: int = 8,
    n_weeks: int = 52,
    n_treated_weeks: int = 12,
    effect: float = 0.12,
    washout_weeks: int = 0,
) -> SamplePanel:
    """Draw a panel of log weekly sales.

    Args:
        rng: chance.
        n_units: products.
        n_treated: of them with a lowered price, at the end of the panel.
        n_weeks: periods.
        n_treated_weeks: last periods, in which prices are lower.
        effect: mean effect; it grows from half of it to one and a half while buyers notice.
        washout_weeks: first treated weeks that are left out.

    Raises:
        InvalidPanel: no control or no pre-period would be left.

    """
    if not (0 < n_treated < n_units and 0 <= washout_weeks < n_treated_weeks < n_weeks):
        raise InvalidPanel(
            f"{n_treated = } of {n_units = } and {n_treated_weeks = } of {n_weeks = } must leave controls and earlier "
            f"weeks, and {washout_weeks = } some treated weeks"
        )
    weeks = np.arange(n_weeks)
    season = 0.25 * np.sin(2 * np.pi * weeks / 52) + 0.15 * (weeks % 52 > 47)
    tastes = np.cumsum(rng.normal(scale=0.06, size=(2, n_weeks)), axis=1)
    follows = rng.normal(size=(n_units, 2))
    growth = rng.normal(scale=0.0015, size=n_units)
    promotion = (rng.random((n_units, n_weeks)) < 0.1).astype(np.float64)
    log_sales = (
        rng.normal(3.0, 0.6, size=(n_units, 1))
        + season
        + follows @ tastes
        + growth[:, None] * weeks
        + 0.2 * promotion
        + rng.normal(scale=0.08, size=(n_units, n_weeks))
    )
    wish = growth / growth.std() + follows[:, 0] + rng.gumbel(size=n_units)
    chosen = np.sort(np.argsort(-wish)[:n_treated])
    arm = np.zeros((n_units, n_weeks), dtype=np.int64)
    arm[chosen, n_weeks - n_treated_weeks :] = 1
    path = effect * np.linspace(0.5, 1.5, n_treated_weeks)
    log_sales[np.ix_(chosen, weeks[n_weeks - n_treated_weeks :])] += path
    washout = np.zeros(arm.shape, dtype=np.bool_)
    first = n_weeks - n_treated_weeks
    washout[:, first : first + washout_weeks] = True
    panel = Panel(
        units=tuple(f"store-{k // 10 + 1}/product-{k % 10:02d}" for k in range(n_units)),
        periods=tuple(str(day) for day in np.datetime64("2025-01-06") + 7 * weeks),
        outcome=log_sales,
        arm=arm,
        arms=("list price", "lower price"),
        left_out=(("washout", washout),) if washout_weeks else (),
        covariates=(("promotion", promotion),),
        clusters=tuple(f"store-{k // 10 + 1}" for k in range(n_units)),
    )
    return SamplePanel(panel, float(path[washout_weeks:].mean()))


def write_panel(panel: Panel, path: Path) -> None:
    """Write a long table (.csv or .parquet): unit, time, outcome, treatment, covariates, cluster, leave_out."""
    n_units, n_periods = panel.outcome.shape
    columns: dict[str, object] = {
        "unit": np.repeat(np.asarray(panel.units), n_periods),
        "time": np.tile(np.asarray(panel.periods, dtype="datetime64[D]"), n_units),
        "outcome": _flat(panel.outcome.round(4)),
        "treatment": (panel.arm > 0).astype(np.int64).ravel(),
        **{name: _flat(values) for name, values in panel.covariates},
    }
    if panel.clusters is not None:
        columns["cluster"] = np.repeat(np.asarray(panel.clusters), n_periods)
    if panel.left_out:
        reasons = np.full(panel.outcome.shape, "", dtype=object)
        for reason, mask in panel.left_out:
            reasons[mask] = reason
        columns["leave_out"] = reasons.ravel().tolist()
    table = pa.table(columns)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(table, path)
    else:
        pyarrow.csv.write_csv(table, path)


def _flat(values: FloatArray) -> pa.Array:
    """Row by row, NaN as missing."""
    return pa.array(values.ravel(), from_pandas=True)


def main(arguments: list[str]) -> None:
    """Write the sample of docs/panel.md to the file that is named."""
    if len(arguments) != 1:
        raise SystemExit("usage: python -m analysis.observational.sample_panel FILE.csv|FILE.parquet")
    drawn = sample_panel(np.random.default_rng(SAMPLE_SEED))
    write_panel(drawn.panel, Path(arguments[0]))
    panel = drawn.panel
    treated = panel.treated.any(axis=1)
    first = panel.periods[int(panel.treated.any(axis=0).argmax())]
    print(
        f"{len(panel.units)} products, {len(panel.periods)} weeks, "
        f"{int(treated.sum())} with a lower price from {first}: log units sold, true effect {drawn.true_effect:.2g}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
