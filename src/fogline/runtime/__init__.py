"""The sole owner of onnxruntime: sessions and how they are run, measured and proved.

The names below are imported when they are first asked for, so that whoever only plans or proves
does without onnxruntime's 20 MB.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fogline.runtime.interrupt import Cause, Interrupt, Watchdog
    from fogline.runtime.memory import release_memory
    from fogline.runtime.plan import MemoryNeed, ModelPlan
    from fogline.runtime.session import Session

__all__ = [
    "Cause",
    "Interrupt",
    "MemoryNeed",
    "ModelPlan",
    "Session",
    "Watchdog",
    "release_memory",
]

_HOMES = {
    "Cause": "interrupt",
    "Interrupt": "interrupt",
    "MemoryNeed": "plan",
    "ModelPlan": "plan",
    "Session": "session",
    "Watchdog": "interrupt",
    "release_memory": "memory",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
