"""Hands on what this machine keeps for us: the state directory, locks, keys, run-time files."""
