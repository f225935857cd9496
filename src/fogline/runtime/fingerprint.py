"""What a measured plan holds for: this build, its onnxruntime, and this kind of processor.

With another of them, kernels are others: times change, and rows that were alike in a stack may not
be any more.
"""

import re
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from msgspec.structs import replace

from fogline import __version__
from fogline.runtime.plan import ModelPlan

_VERSION = re.compile(r'^__version__ = "([^"]+)"', re.MULTILINE)
_CPUINFO = Path("/proc/cpuinfo")
_KINDS = frozenset(
    ("vendor_id", "cpu family", "model", "model name", "stepping", "flags", "CPU implementer",
     "CPU architecture", "CPU variant", "CPU part", "Features")
)  # fmt: skip


def fingerprint() -> str:
    """Equal where a plan that was measured before still holds."""
    return f"fogline {__version__}, onnxruntime {_onnxruntime()}, processor {_processor()}"


def still_holding(plan: ModelPlan, here: str) -> ModelPlan:
    """The plan where it was measured here, else what of it needs no measurement."""
    if plan.measured_on == here:
        return plan
    return replace(plan, placement="auto", max_stack=1, one_row_us=0.0, row_us=0.0)


def _onnxruntime() -> str:
    """As the package says it, without importing it, nor what reads packages' metadata (15 ms)."""
    found = find_spec("onnxruntime")
    if found is None or found.origin is None:
        return "unknown"
    try:
        said = _VERSION.search(Path(found.origin).read_text(errors="replace"))
    except OSError:
        return "unknown"
    return said[1] if said is not None else "unknown"


def _processor() -> str:
    """Of the first core."""
    try:
        first = _CPUINFO.read_text().partition("\n\n")[0]
    except OSError:
        return "unknown"
    kept = [line for line in first.splitlines() if line.partition("\t")[0].strip() in _KINDS]
    return sha256("\n".join(kept).encode()).hexdigest()[:16]
