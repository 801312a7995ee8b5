"""`flipside demo`."""


def demo() -> None:
    """The whole system in one terminal."""
