"""How one model is loaded and run: the choices that depend on the machine, not on the model."""

from typing import Annotated

from msgspec import Meta

from fogline.records import Record


class ModelPlan(Record, frozen=True, kw_only=True):
    """Session options of onnxruntime, in Fogline's words; the defaults suit a small device.

    Two sessions with equal plans answer bit for bit alike on one machine.
    """

    threads: Annotated[int, Meta(ge=1, le=256)] = 1
    """Threads inside one run. With 1, requests run beside each other instead."""
    arena: bool = True
    """Keep freed memory for the next run: faster, and never given back."""
    prepack: bool = True
    """Lay weights out for the processor at load: faster in batches, a second copy in memory."""
    optimize: bool = True
    """Let onnxruntime rewrite the graph at load."""
