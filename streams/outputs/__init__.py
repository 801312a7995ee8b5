"""From the outbox to the topics: the relay, and assignments that came out too late."""
