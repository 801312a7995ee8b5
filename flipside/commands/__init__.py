"""The verbs of the command line, one file a noun. Heavy imports stand inside the verbs."""
