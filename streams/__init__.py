"""The streams act: Kafka, Redis, clocks and metrics around the controller's decisions."""
