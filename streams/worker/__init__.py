"""What the parts of a worker share: services, metrics, probes, heartbeat, back-off, clock checks."""
