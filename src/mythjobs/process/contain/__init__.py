"""Holding a whole process tree: where it is kept, what it may use, what it used, its end."""
