"""What crosses the link between master and agent, as values; docs/protocol.md is its text."""
