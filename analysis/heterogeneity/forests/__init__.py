"""The causal forest: trees, centring of effects, weights of neighbours, calibration."""
