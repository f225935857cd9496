"""The hub: everything that runs beside the operator."""
