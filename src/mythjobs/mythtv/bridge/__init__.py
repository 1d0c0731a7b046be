"""Bridge program: recordings and MythTV's queue become jobs."""
