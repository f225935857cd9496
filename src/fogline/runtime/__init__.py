"""The sole owner of onnxruntime: sessions and how they are run, measured and proved."""

from fogline.runtime.interrupt import Cause, Interrupt, Watchdog
from fogline.runtime.plan import ModelPlan
from fogline.runtime.session import Session

__all__ = ["Cause", "Interrupt", "ModelPlan", "Session", "Watchdog"]
