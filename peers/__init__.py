"""Federations without a server (see docs/roadmap.md; nothing here yet)."""
