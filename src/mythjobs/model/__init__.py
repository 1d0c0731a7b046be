"""Pure facts and rules: a job's life, commands, limits, outcomes. Standard library only."""
