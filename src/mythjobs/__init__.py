"""Distributed job queue that runs external commands on the available machines."""

__version__ = "0.1.0"
