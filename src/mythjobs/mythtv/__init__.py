"""Bridge to MythTV: its recordings and its queue become jobs."""
