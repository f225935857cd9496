"""How one model is loaded and run: the choices that depend on the machine, not on the model.

Qualification measures a plan in a child (`fogline.runtime.qualify`); a session obeys it, and the
scheduler reads it. Importing this module costs neither numpy nor onnxruntime.
"""

from typing import Annotated, Literal

from msgspec import Meta

from fogline.records import Record

MAX_STACK = 1024
"""Most rows that a plan may let be run together."""

_Bytes = Annotated[int, Meta(ge=0)]
_Microseconds = Annotated[float, Meta(ge=0)]

Placement = Literal["auto", "loop", "pool"]


class MemoryNeed(Record, frozen=True, kw_only=True):
    """Memory of one loaded model beyond Python and onnxruntime themselves, in bytes.

    Measured in a child: before the model was opened, and after it had run at every stack size used.
    """

    anonymous_bytes: _Bytes = 0
    """Held while the model is loaded and warm; given back only by unloading it."""
    file_bytes: _Bytes = 0
    """Mapped from its files; the kernel takes these back under pressure and reads them again."""
    load_peak_bytes: _Bytes = 0
    """Most that it held at once while it was opened and run at the sizes used, both kinds together;
    at least their sum."""
    run_bytes: _Bytes = 0
    """What one run of the largest stack takes meanwhile and gives back, its answer included; with
    an arena it is kept, and so a part of `anonymous_bytes` already."""


class ModelPlan(Record, frozen=True, kw_only=True):
    """Session options of onnxruntime in Fogline's words, and how the scheduler runs the session.

    The defaults are right, if slow, for any model: nothing is stacked that was not proved. Two
    sessions with equal plans answer bit for bit alike on one machine.
    """

    threads: Annotated[int, Meta(ge=1, le=256)] = 1
    """Threads inside one run. With 1, requests run beside each other instead."""
    arena: bool = False
    """Keep freed memory for the next run: for some models faster, and never given back."""
    prepack: bool = True
    """Lay weights out for the processor at load: faster in batches, a second copy in memory."""
    optimize: bool = True
    """Let onnxruntime rewrite the graph at load."""
    takes_empty: bool = True
    """Tensors without elements may be given. onnxruntime ends the whole process when its recurrent
    operators are given none."""
    placement: Placement = "auto"
    """`loop`: a run is cheap and bounded, and may happen on the front's event loop. `pool`: on a
    thread of the pool. `auto`: not measured; to be treated as `pool`."""
    max_stack: Annotated[int, Meta(ge=1, le=MAX_STACK)] = 1
    """Most rows of different requests that may be run together; 1: never stacked."""
    max_delay_us: Annotated[int, Meta(ge=0, le=10_000_000)] = 0
    """How long a request may be held up for others to be stacked with, microseconds."""
    one_row_us: _Microseconds = 0.0
    """Time of a run of one row, microseconds; 0: not known."""
    row_us: _Microseconds = 0.0
    """Time of each further row of the same run, microseconds; 0 with `one_row_us` 0: not known."""
    memory: MemoryNeed | None = None
    """None: not measured."""
    measured_on: Annotated[str, Meta(max_length=256)] = ""
    """`fingerprint()` of where it was measured; empty: nowhere."""

    @property
    def is_measured(self) -> bool:
        return self.placement != "auto"

    def cost_us(self, rows: int) -> float:
        """Expected time of one run of `rows` rows, microseconds; 0 where it is not known."""
        return self.one_row_us + max(0, rows - 1) * self.row_us
