"""The agent: everything that runs on a device."""
