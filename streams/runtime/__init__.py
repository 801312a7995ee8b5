"""What does not depend on what flows: settings, the clock, retries."""
