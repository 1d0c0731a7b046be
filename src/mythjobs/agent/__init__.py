"""The program on a machine: takes grants from the master, has the reaper run them, reports."""
