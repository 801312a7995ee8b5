"""``python -m flipside`` is ``flipside``."""

from flipside.cli import main

main()
