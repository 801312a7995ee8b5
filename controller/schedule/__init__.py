"""When what is due: calendars, blackout windows, propensities, draws repeated."""
