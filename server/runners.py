"""The ways to run a federation, by what a description decides in them."""

DESCRIBED = ("inprocess", "ray", "processes", "unknown")
"""Runners in which the description decides everything about the clients; elsewhere each hospital's own file does."""
