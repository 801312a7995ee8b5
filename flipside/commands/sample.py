"""`flipside sample`: the files of a small shop to begin with."""

from pathlib import Path
from typing import Annotated

import typer


def sample(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the four files; made where it is missing.")],
    force: Annotated[bool, typer.Option("--force", help="Write over files of the same names.")] = False,
) -> None:
    """Write sales, catalog, blackouts and a definition of a small made-up shop.

    12 stores, 8 products, half a year of days. Each file shows the layout that yours may have.

    Example: flipside sample shop
    """
    from controller.errors import FlipsideError
    from flipside.simulated_shop.sample import SHOP_FILES, write_shop
    from flipside.terminal.advice_output import next_start
    from streams.runtime.clock import WallClock

    there = [name for name in SHOP_FILES if (folder / name).exists()]
    if there and not force:
        raise FlipsideError(f"{folder / there[0]} exists: name another folder, or write over it with --force")
    try:
        written = write_shop(folder, next_start(WallClock().now().date()))
    except OSError as error:
        raise FlipsideError(f"cannot write to {folder}: {error.strerror or error}; name another folder") from error
    for path in written:
        typer.echo(path)
