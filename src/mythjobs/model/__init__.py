"""Domain model: job states, commands, limits, windows, outcomes. Pure; standard library only."""
