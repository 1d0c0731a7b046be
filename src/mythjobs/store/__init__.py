"""Persistent store in SQLite or PostgreSQL. Only the master opens it; it decides nothing."""
