"""State directory of this machine, with its locks, keys, tokens and run-time files."""
