"""The health of an experiment: each assumption that a number rests on, checked and published beside it."""
