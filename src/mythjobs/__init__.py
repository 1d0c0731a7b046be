"""A job queue that runs external commands on the machines that are there."""

__version__ = "0.1.0"
