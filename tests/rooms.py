"""Which isolation this machine has, for tests of what it holds."""

import sys
import tempfile
from pathlib import Path

import pytest

from fogline.sandbox import ISOLATED, Limits, Mechanism, Room, run_child


def words(without: frozenset[Mechanism] = frozenset()) -> frozenset[str]:
    """What holds of a child in a room that is made without some mechanisms."""
    with tempfile.TemporaryDirectory() as folder:
        room = Room(scratch=str(Path(folder).resolve()), without=without)
        command = [sys.executable, "-c", "pass"]
        return run_child(command, limits=Limits(timeout_s=20), room=room).isolation


needs_isolation = pytest.mark.skipif(
    not words() >= ISOLATED, reason=f"this machine isolates {sorted(words())} alone"
)

_NO_BUBBLEWRAP = frozenset({Mechanism.BUBBLEWRAP})
ROOMS = [
    pytest.param(
        frozenset(),
        id="bubblewrap",
        marks=pytest.mark.skipif("bubblewrap" not in words(), reason="no bubblewrap that works"),
    ),
    pytest.param(
        _NO_BUBBLEWRAP,
        id="landlock",
        marks=pytest.mark.skipif(not words(_NO_BUBBLEWRAP) >= ISOLATED, reason="no Landlock"),
    ),
    pytest.param(
        _NO_BUBBLEWRAP | {Mechanism.NAMESPACE},
        id="landlock without namespaces",
        marks=pytest.mark.skipif(not words(_NO_BUBBLEWRAP) >= ISOLATED, reason="no Landlock"),
    ),
]
"""Mechanisms to leave out, so that each way of isolation is tried where the machine has it."""
