"""Master: schedules jobs. One turn handles all queued requests and messages in one transaction."""
