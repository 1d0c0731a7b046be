"""Adapter of MythTV's MySQL or MariaDB database. One module for each subject; no decisions."""
