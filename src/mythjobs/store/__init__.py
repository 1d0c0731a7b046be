"""The store: SQLite or PostgreSQL, opened by the master alone. Decides nothing."""
