"""The analysis learns: panels, estimators and inference, and one worker that publishes running estimates."""

from pathlib import Path
from typing import Any

__all__ = ["read_estimates", "read_panel"]


def read_estimates(folder: str | Path, experiment: str | None = None, *, history: bool = False) -> Any:
    """The published estimates of an export, as a pyarrow table; ``.to_pandas()`` makes a frame of it.

    A row is an estimate of one metric and arm on the unit-days up to its ``day``; the columns and their units are those
    of ``analysis.export.schemas``.

    Args:
        folder: what `flipside export --out`, `flipside replay --out` or `flipside demo` wrote.
        experiment: only this one.
        history: every revision. Else the highest one of each day, which is the one to quote.

    Raises:
        controller.errors.FlipsideError: the folder is no export, or has no such experiment; the message says which.
    """
    from analysis.export.folder import read
    from analysis.export.rows import standing

    found = read("estimates", Path(folder), experiment)
    return found if history else standing(found, "estimates")


def read_panel(folder: str | Path, experiment: str | None = None) -> Any:
    """The unit-days of an export, as a pyarrow table: what was sold, under which arm, and whether it counts.

    Raises as :func:`read_estimates` does.
    """
    from analysis.export.folder import read

    return read("panel", Path(folder), experiment)
