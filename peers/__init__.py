"""Federations without a server: BrainTorrent, and how peers reach each other."""
