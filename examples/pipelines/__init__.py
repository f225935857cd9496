"""Pipelines to look at and to run: a cascade on a table, and text read from images."""
