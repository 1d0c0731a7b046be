"""Persistent store in SQLite or PostgreSQL: schema, reads and writes of rows.

At most one process writes to a store at a time: normally the master, otherwise an offline command
such as `mythjobs restore`. Packages scheduler and master decide which jobs run when and where.
"""
