"""Synchronous client of the HTTP API. Imports little, for a fast start of the command line."""
