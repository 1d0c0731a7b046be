"""The synchronous client of the HTTP API. Imports little: the command line starts with it."""
