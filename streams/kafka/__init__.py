"""Kafka: connections, topics, reading and publishing records, dead letters, the partition assignor."""
