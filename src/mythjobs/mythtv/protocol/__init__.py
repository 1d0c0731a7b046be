"""MythTV's protocol: frames, versions, events, and the connection to a backend."""
