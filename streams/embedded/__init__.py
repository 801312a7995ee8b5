"""The broker and the Redis of the demo, and child processes."""
