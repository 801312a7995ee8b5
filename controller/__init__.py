"""The controller plans: pure functions over experiments, time and chance, all three handed in as arguments."""
