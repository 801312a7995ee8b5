"""When is what computed and published? The one process of the analysis."""
