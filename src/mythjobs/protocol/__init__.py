"""Messages of the link (the WebSocket between master and agent) and types of the HTTP API."""
