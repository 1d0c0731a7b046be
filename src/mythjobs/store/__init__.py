"""Persistent store in SQLite or PostgreSQL. Only the master uses it and makes all decisions."""
