"""The embedded parts, for tests that need no more."""

from collections.abc import Iterator

import pytest

from streams.embedded import embedded_broker


@pytest.fixture
def mock_broker() -> Iterator[str]:
    """Address of an embedded broker without topics."""
    with embedded_broker({}) as address:
        yield address
