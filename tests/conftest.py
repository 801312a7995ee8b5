"""What every room's tests share: what a machine must have for them, the real servers, the real data."""

#: in this order: the second imports the first
pytest_plugins = ["tests.parts.machine", "tests.parts.shared_kafka", "tests.parts.fixtures", "tests.parts.durations"]
