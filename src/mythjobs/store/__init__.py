"""The store: SQLite (or, later, PostgreSQL), opened by the master alone. Decides nothing."""
