"""Tests, error control, e-processes and intervals: pure functions of arrays and numbers.

One method a module; each cites its source and holds an example with an exact result.
"""
