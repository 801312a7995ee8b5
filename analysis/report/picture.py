"""A chart as a file, without a network."""

from pathlib import Path
from typing import Any

from controller.errors import FlipsideError

ENDINGS = (".svg", ".png", ".html")


def save(chart: Any, path: Path) -> None:
    """Write a chart; the ending of the name says as what.

    Raises:
        FlipsideError: another ending, or a place that cannot be written to.

    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise FlipsideError(f"{path}: a picture is written as {', '.join(ENDINGS)}; name the file so")
    try:
        if ending == ".html":
            chart.save(str(path), inline=True)
        else:
            chart.save(str(path), **({"ppi": 144} if ending == ".png" else {}))
    except OSError as error:
        raise FlipsideError(f"cannot write {path}: {error.strerror or error}; name another file") from error
