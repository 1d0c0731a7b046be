"""Messages of the link between master and agent; docs/protocol.md describes them."""
