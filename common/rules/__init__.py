"""Robust aggregation rules: pure functions of a matrix of differences from the global model, in float64."""
