"""Sales histories: read, checked and laid out by day."""
