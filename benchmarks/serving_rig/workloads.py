"""Models, the requests that are sent to them, and the answers that are right.

Requests are made before any clock runs. Identical: one row, one message. Varied: each has an id of
its own, one to eight rows (two in three have one), and random values.
"""

import struct
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs

from benchmarks.serving_rig import cache
from fogline.bundle import BundleDraft, GoldenCase, VariantDraft, read_bundle, write_bundle
from fogline.bundle.golden import Tolerance
from fogline.records import canonical_json
from fogline.runtime import ModelPlan, Session
from fogline.runtime.prove import prove_variant
from fogline.schema import Field, Schema
from fogline.summaries import Reference, build_reference
from fogline.tensors import Array, encode_inputs
from fogline.wire.open_inference_pb2 import ModelInferRequest, ModelInferResponse

ID = "0123456789abcdef"
NO_ID = 0xFFFFFFFF
MAX_ROWS = 8
ONE_ROW_SHARE = 0.65
TOLERANCE = 1e-5
"""Of an answer against ONNX Runtime's, absolute and relative: runs of other batch sizes may add up
in another order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Requests in the order in which they are sent, over and over."""

    rows: tuple[Array, ...]
    file: Path
    """As `load.c` reads it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One model and its requests."""

    name: str
    model: Path
    input: Field
    outputs: tuple[Field, ...]
    bundle: Path
    """The same model as a hub would deliver it, with its reference."""
    pools: dict[str, Pool]
    """`identical` and `varied`."""
    expected: dict[str, list[dict[str, Array]]]
    """Of each pool, the answers in its order."""

    @property
    def mean_rows(self) -> float:
        return float(np.mean([len(r) for r in self.pools["varied"].rows]))

    def first_body(self) -> bytes:
        """The request of `identical` as it is sent: after the pool's head."""
        return self.pools["identical"].file.read_bytes()[12:]

    def first_message(self) -> bytes:
        """... without gRPC's prefix."""
        return self.first_body()[5:]

    def mistakes(self, samples: Path, pool: str) -> list[str]:
        """What is wrong with answers that the load generator kept."""
        found = []
        for index, sent_id, answer in _samples(samples.read_bytes()):
            expected_id = "" if pool == "identical" else sent_id
            wrong = self.mistake(answer, self.expected[pool][index], expected_id)
            if wrong:
                found.append(f"{self.name}, request {index}: {wrong}")
        return found

    def mistake(self, answer: bytes, expected: dict[str, Array], sent_id: str) -> str:
        """Why a message is not the right answer; empty if it is."""
        response = ModelInferResponse.FromString(answer)
        if sent_id and response.id != sent_id:
            return f"id {response.id!r} instead of {sent_id!r}"
        raw = response.raw_output_contents
        if not raw or len(raw) != len(response.outputs):
            return f"{len(response.outputs)} outputs with {len(raw)} raw contents"
        for tensor, data in zip(response.outputs, raw, strict=True):
            want = expected[tensor.name]
            got = np.frombuffer(data, want.dtype)
            # Peers give a column of labels another rank; what counts is its values.
            if got.size != want.size or not np.allclose(got, want.ravel(), TOLERANCE, TOLERANCE):
                return f"output {tensor.name!r} is not ONNX Runtime's"
        return ""


def small_mlp(folder: Path) -> Workload:
    """Thirty features, one hidden layer of 16, two classes: the breast cancer data's classifier."""
    from sklearn.neural_network import MLPClassifier

    return _tabular(folder, "mlp", MLPClassifier((16,), max_iter=400, random_state=0))


def forest(folder: Path) -> Workload:
    """A hundred trees on the same data."""
    from sklearn.ensemble import RandomForestClassifier

    return _tabular(folder, "forest", RandomForestClassifier(100, random_state=0))


def magika(folder: Path) -> Workload:
    """A file's type from 2,048 of its bytes: a convolutional net of 3 MB. Raises `Missing`."""
    generator = np.random.default_rng(0)
    table = generator.integers(0, 257, (256, 2048), dtype=np.int32)
    return _workload(folder, "magika", cache.magika_model(), table, 64)


def _tabular(folder: Path, name: str, estimator: Any) -> Workload:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.datasets import load_breast_cancer
    from sklearn.preprocessing import StandardScaler

    features, classes = load_breast_cancer(return_X_y=True)
    table = StandardScaler().fit_transform(features).astype(np.float32)
    estimator.fit(table, classes)
    model = convert_sklearn(
        estimator,
        initial_types=[("x", FloatTensorType([None, table.shape[1]]))],
        final_types=[("label", None), ("probabilities", None)],
        options={"zipmap": False},
        target_opset=21,
    )
    path = folder / f"{name}.onnx"
    path.write_bytes(model.SerializeToString())
    return _workload(folder, name, path, table, 4096)


def _workload(folder: Path, name: str, model: Path, table: Array, requests: int) -> Workload:
    generator = np.random.default_rng(1)
    with closing(Session.open(model, ModelPlan())) as session:
        (given,), outputs = session.inputs, session.outputs
        rows = {"identical": (table[:1],), "varied": _varied(table, requests, generator)}
        expected = {
            kind: [session.run({given.name: x}) for x in each] for kind, each in rows.items()
        }
        answers = session.run({given.name: table})
    pools = {
        kind: Pool(rows=each, file=folder / f"{name}-{kind}.pool") for kind, each in rows.items()
    }
    for kind, pool in pools.items():
        _write_pool(pool.file, name, given, pool.rows, ID if kind == "varied" else "")
    bundle = folder / f"{name}-bundle"
    _write_bundle(bundle, name, model, given, outputs, table, answers)
    return Workload(
        name=name,
        model=model,
        bundle=bundle,
        input=given,
        outputs=outputs,
        pools=pools,
        expected=expected,
    )


def _write_bundle(
    folder: Path,
    name: str,
    model: Path,
    given: Field,
    outputs: tuple[Field, ...],
    table: Array,
    answers: dict[str, Array],
) -> None:
    """A version as a hub delivers it; its reference makes capture count every feature and label."""
    reference = Reference()
    if "label" in answers:
        columns = tuple(f"f{i}" for i in range(table.shape[1]))
        given = structs.replace(given, columns=columns)
        outputs = tuple(_with_role(o) for o in outputs)
        reference = build_reference(
            dict(zip(columns, table.T, strict=True)), {"label": answers["label"]}
        )
    case = GoldenCase(
        inputs={given.name: table[:4]},
        outputs={n: a[:4] for n, a in answers.items()},
        tolerances={n: Tolerance(absolute=TOLERANCE, relative=TOLERANCE) for n in answers},
    )
    draft = BundleDraft(
        name=name,
        created_at=datetime.now(UTC),
        schema=Schema(inputs=(given,), outputs=outputs),
        variants=(VariantDraft(name="fp32", precision="fp32", model=model),),
        golden=(case,),
        reference=canonical_json(reference),
    )
    write_bundle(folder, draft)
    found = prove_variant(read_bundle(folder), "fp32", plan=ModelPlan())
    if found.plan is None:
        raise RuntimeError(f"{name} does not qualify: {found.reason} {found.detail}")
    plan_of(folder).write_bytes(canonical_json(found.plan))


def plan_of(bundle: Path) -> Path:
    """Where the plan stands that qualification measured on this machine."""
    return bundle.with_suffix(".plan")


def _with_role(output: Field) -> Field:
    """Says which output holds labels and which their probabilities, as a bundle's schema does."""
    match output.name:
        case "label":
            return structs.replace(output, role="label", labels=("0", "1"))
        case "probabilities":
            return structs.replace(output, role="probabilities", labels=("0", "1"))
    return output


def _varied(table: Array, count: int, generator: np.random.Generator) -> tuple[Array, ...]:
    shares = [ONE_ROW_SHARE] + [(1 - ONE_ROW_SHARE) / (MAX_ROWS - 1)] * (MAX_ROWS - 1)
    sizes = generator.choice(np.arange(1, MAX_ROWS + 1), size=count, p=shares)
    rows = (table[generator.integers(0, len(table), n)] for n in sizes)
    if table.dtype != np.float32:
        return tuple(rows)
    return tuple((r + generator.normal(0, 0.1, r.shape)).astype(np.float32) for r in rows)


def _write_pool(file: Path, name: str, given: Field, rows: Sequence[Array], sent_id: str) -> None:
    parts = [struct.pack("<I", len(rows))]
    for x in rows:
        request = ModelInferRequest(model_name=name, id=sent_id)
        encode_inputs(request, {given.name: x})
        message = request.SerializeToString()
        body = b"\0" + struct.pack(">I", len(message)) + message
        at = body.index(sent_id.encode()) if sent_id else NO_ID
        parts.append(struct.pack("<II", len(body), at) + body)
    file.write_bytes(b"".join(parts))


def _samples(data: bytes) -> list[tuple[int, str, bytes]]:
    """(index in the pool, id, message) of each answer that was kept."""
    found, at = [], 0
    while at < len(data):
        index, sent_id, length = struct.unpack_from("<I16sI", data, at)
        at += 24
        found.append((index, sent_id.decode("ascii", "replace"), data[at + 5 : at + length]))
        at += length
    return found
