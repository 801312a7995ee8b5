"""Numbers that may be read at every interim analysis: confidence sequences."""
