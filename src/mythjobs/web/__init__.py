"""HTTP API of the master, and the master as a program."""
