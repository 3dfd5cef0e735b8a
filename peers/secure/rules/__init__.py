"""Robust aggregation rules whose inputs can be checked on shares: what is allowed, and what the sum means."""
