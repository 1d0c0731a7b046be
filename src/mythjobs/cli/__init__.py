"""Command line. Only the module of the called command is imported, for a fast start."""
