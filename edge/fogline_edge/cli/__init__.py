"""The edge's commands, one module a room."""
