"""The hub's HTTP API: one module a noun, each with its `routes`."""
