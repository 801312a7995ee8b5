"""The promises, checked from outside."""
