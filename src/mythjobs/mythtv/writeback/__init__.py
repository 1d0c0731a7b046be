"""Changes to MythTV's recordings, with undo: marks, flags, replacement of files."""
