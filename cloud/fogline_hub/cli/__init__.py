"""What an operator types; wiring only."""
