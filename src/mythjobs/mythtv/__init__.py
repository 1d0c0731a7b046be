"""MythTV: bridge to its queue, access to its database, import, write-back to recordings."""
