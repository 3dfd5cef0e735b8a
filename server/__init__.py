"""Aggregation, checks of incoming updates, int8 compression, the evaluator, and the Flower ServerApp."""
