"""Fogline: what devices and hub agree on."""

__version__ = "0.1.0"
