"""Children: starting, draining, limiting, ending and reaping them. Standard library only."""
