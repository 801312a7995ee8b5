"""What an owner registers: an experiment, its parameters, and the types of their fields."""
