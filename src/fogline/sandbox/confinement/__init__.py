"""What the kernel lets a process take from itself; each module needs the standard library alone.

Loaded by path by `launch.py`, which runs without site packages: no module here may import another
of Fogline's.
"""
