"""What commands read from topics and ask by topics."""
