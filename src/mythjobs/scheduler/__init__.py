"""Where and when a job may run: decided by pure functions, which also explain."""
