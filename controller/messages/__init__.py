"""The messages on the topics, their codec, and the topics themselves."""
