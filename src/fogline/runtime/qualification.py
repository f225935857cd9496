"""What is asked of the child that proves a model, and what it answers."""

from typing import Annotated, Literal

from msgspec import Meta

from fogline.bundle import FileEntry
from fogline.records import Record
from fogline.runtime.graph import GraphBounds
from fogline.runtime.measure import Effort, Latency
from fogline.runtime.plan import ModelPlan
from fogline.runtime.stacking import StackReport
from fogline.schema import Field, Schema

Text = Annotated[str, Meta(max_length=4096)]
Seconds = Annotated[float, Meta(gt=0)]
_Count = Annotated[int, Meta(ge=0)]

Stage = Literal["starting", "checking", "loading", "answering", "measuring", "choosing"]
"""Where the child was when it ended: it says each as it begins. While it is choosing a better plan,
nothing counts against the model any more."""

Reason = Literal[
    "",
    "malformed",
    "unsupported_operator",
    "too_large",
    "unbounded",
    "digest",
    "schema_mismatch",
    "golden_mismatch",
    "too_slow",
    "too_much_memory",
    "crashed",
    "hung",
]
"""Why a model may not serve; empty if it may.

`malformed`: no ONNX file, or one that onnxruntime refuses. `too_large`: beyond `GraphBounds`.
`unbounded`: values of an input decide what a run takes, and the schema declares no bounds of them.
`digest`: a file is not the one that was named. `too_slow`, `too_much_memory`: beyond `Budgets`.
`crashed`: the child ended by a signal or with an error that is none of Fogline's. `hung`: it had
not ended in time.
"""


class Budgets(Record, frozen=True, kw_only=True):
    """What loading and running a model may take."""

    memory_bytes: Annotated[int, Meta(ge=1)] = 2 * 2**30
    """Of the child as a whole; Python and onnxruntime alone are some 70 MB of it."""
    timeout_s: Seconds = 60.0
    """For everything, from the child's start."""
    run_s: Seconds = 30.0
    """For one run of a golden case."""
    latency_us_p50: Seconds | None = None
    """Of one row, microseconds; None bounds nothing."""
    graph: GraphBounds = GraphBounds()
    effort: Effort = Effort()


class ProofRequest(Record, frozen=True, kw_only=True):
    """One model to prove. Paths are absolute."""

    model: Text
    external_data: Annotated[tuple[Text, ...], Meta(max_length=64)] = ()
    """Locations relative to the model's folder."""
    model_sha256: Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")] = ""
    """Digest to hold the model against, as its caller read it; empty to take it as it is."""
    files: Annotated[tuple[FileEntry, ...], Meta(max_length=256)] = ()
    """Digests to hold files in `folder` against; none to take them as they are."""
    folder: Text = ""
    schema: Schema | None = None
    golden: Text = ""
    plan: ModelPlan = ModelPlan()
    """How to load and run it; what is measured of it goes into `Qualification.plan`."""
    choose: bool = True
    """Tries other arenas and prepackings too, where that may pay; False keeps those of `plan`."""
    budgets: Budgets = Budgets()


class Qualification(Record, frozen=True, kw_only=True):
    """What came out. Of a rejected model, what was measured up to then."""

    reason: Reason = ""
    detail: Text = ""
    """One clause for people; no tensor value."""
    stage: Stage = "starting"
    size_bytes: _Count = 0
    """Of the model file and its external data."""
    nodes: _Count = 0
    inputs: Annotated[tuple[Field, ...], Meta(max_length=4096)] = ()
    """As the model declares them."""
    outputs: Annotated[tuple[Field, ...], Meta(max_length=4096)] = ()
    external_data: Annotated[tuple[Text, ...], Meta(max_length=256)] = ()
    """Those of the request's locations that the graph reads constants from."""
    load_s: Annotated[float, Meta(ge=0)] = 0.0
    golden_cases: _Count = 0
    golden_worst: Annotated[float, Meta(ge=0)] = 0.0
    """Largest error in units of what its tolerance allows; 0 to 1."""
    one_row: Latency | None = None
    """Of a golden case's, or of a made-up one without cases; None where the model takes no rows,
    or does not run on what was made up."""
    batch: Latency | None = None
    """Of the first golden case as a whole; None without cases."""
    plan: ModelPlan | None = None
    """The plan that was taken, with all that was measured; None of a model that did not get so far.
    """
    stack: StackReport | None = None
    """What was found out about running requests together."""
    peak_memory_bytes: _Count = 0
    """Highest resident memory of the child up to then; not of stacks and plans that were tried."""
    isolation: Annotated[tuple[Text, ...], Meta(max_length=8)] = ()
    """What kept the child apart: `network` where this machine could take that from it."""

    @property
    def is_accepted(self) -> bool:
        return not self.reason
