"""The front door: one command line over the three rooms, and the shop that the demo and the replay simulate."""
