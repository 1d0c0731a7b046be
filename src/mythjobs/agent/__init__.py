"""Agent: the daemon on each machine, which runs granted attempts through the reaper."""
