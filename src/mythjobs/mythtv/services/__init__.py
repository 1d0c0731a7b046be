"""MythTV's Services API over HTTP."""
