"""What an experiment came to: read from the topics, written to a folder."""
