"""The child that makes one variant of a model, screens it, and asks it the held-out rows."""

import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx.external_data_helper import load_external_data_for_model

from fogline.bundle import GoldenCase, decode_cases
from fogline.errors import Corrupt, FoglineError, InvalidInput, Unsupported
from fogline.runtime import Session
from fogline_hub.convert import graph
from fogline_hub.convert.dataset import file_digest
from fogline_hub.convert.job import serve_job
from fogline_hub.convert.parity import Answers
from fogline_hub.optimize.asked import (
    CHUNK_ROWS,
    AskedModel,
    Reading,
    actual_of,
    bare_schema,
    read_answers,
    reading_of,
)
from fogline_hub.optimize.base_answers import read_kept_answers, write_answers
from fogline_hub.optimize.choice import screen
from fogline_hub.optimize.handover import (
    ANSWERS,
    BASE,
    MODEL,
    ROW,
    WEIGHTS,
    VariantJob,
    VariantReport,
)
from fogline_hub.optimize.measurement import Measurement
from fogline_hub.optimize.one_row import write_row
from fogline_hub.optimize.quality import Quality, rate
from fogline_hub.optimize.rows import Rows, Split, read_split
from fogline_hub.optimize.timing import alternate
from fogline_hub.optimize.variants import VariantKind, kind_of
from fogline_hub.optimize.variants.applicable import applicable
from fogline_hub.optimize.variants.blocks import block_weights
from fogline_hub.optimize.variants.folded import folded
from fogline_hub.optimize.variants.layout import external_data
from fogline_hub.optimize.variants.static import StaticSettings, int8_static
from fogline_hub.optimize.variants.trees import fewer_trees, narrow_trees
from fogline_hub.optimize.variants.weights import fp16_storage, int8_dynamic, lift_constants

FEW_ROWS = 8
"""Of the cheap screen, and of the case that is loaded for memory."""
QUICK_S = 0.2
HOPELESS = 2.0
"""Times slower than the largest slowness that is allowed; such are not asked all rows."""
TRIAL = "trial.onnx"

Made = tuple[onnx.ModelProto | None, str]


@dataclass(frozen=True, slots=True)
class _Base:
    """The model that variants are made from, and its answers."""

    path: Path
    reading: Reading
    split: Split
    asked: AskedModel


class Workshop:
    """What makers need: the model, rows to tune with, and what a trial loses on them."""

    def __init__(self, job: VariantJob, base: _Base, folder: Path) -> None:
        self.job, self.base, self.folder = job, base, folder
        self._began = time.monotonic()

    @cached_property
    def model(self) -> onnx.ModelProto:
        model = graph.load(self.base.path)
        load_external_data_for_model(model, str(self.base.path.parent))
        lift_constants(model)
        graph.finish(model, "model")
        return model

    @cached_property
    def _tuning_answers(self) -> Answers:
        return self._answers(self.base.asked)

    def loss(self, made: onnx.ModelProto) -> float:
        """What a model loses on the rows to tune with; 1 where it does not load or run."""
        path = self.folder / TRIAL
        path.write_bytes(made.SerializeToString())
        try:
            answers = self._answers(AskedModel(path))
        except FoglineError:
            return 1.0
        finally:
            path.unlink()
        return _lost(_quality(self.base.reading, self._tuning_answers, answers, self._rows))

    @property
    def _rows(self) -> Rows:
        return self.base.split.tuning

    def _answers(self, model: AskedModel) -> Answers:
        return read_answers(self.base.reading, model.outputs(self._rows.tensors), self._rows.count)

    def static(self) -> Made:
        profile = self.job.profile
        how = StaticSettings(
            reduce_range=profile.reduce_range,
            signed=profile.activations == "int8",
            max_loss=self.job.earning.max_loss,
            until=self._began + self.job.seconds,
        )
        return int8_static(self.base.path, self._rows.tensors, self.loss, how)


MAKERS: dict[str, Callable[[Workshop], Made]] = {
    "folded": lambda w: (folded(w.base.path, w.folder / TRIAL), ""),
    "fp16-storage": lambda w: (fp16_storage(w.model), ""),
    "external-data": lambda w: (external_data(w.model, w.folder / WEIGHTS), ""),
    "external-unpacked": lambda w: (external_data(w.model, w.folder / WEIGHTS), ""),
    "narrow-trees": lambda w: (narrow_trees(w.model), ""),
    "int8-dynamic": lambda w: (
        int8_dynamic(w.model, reduce_range=w.job.profile.reduce_range),
        "",
    ),
    "int8-weights": lambda w: (block_weights(w.model, bits=8), ""),
    "int4-weights": lambda w: (block_weights(w.model, bits=4), ""),
    "fewer-trees": lambda w: fewer_trees(w.model, w.loss, w.job.earning.max_loss),
    "int8-static": lambda w: w.static(),
}


def make(job: VariantJob, folder: Path) -> VariantReport:
    """Makes and asks one variant, or asks the base; leaves `MODEL` and files beside it."""
    began = time.monotonic()
    base = _open_base(job)
    tried: tuple[str, ...] = ()
    if job.kind == BASE:
        measured = _base(base, folder)
        tried = applicable(Workshop(job, base, folder).model)
    else:
        measured = _variant(kind_of(job.kind), job, base, folder)
    measured = msgspec.structs.replace(measured, seconds=time.monotonic() - began)
    return VariantReport(measurement=measured, applicable=tried, data_sha256=base.split.sha256)


def _open_base(job: VariantJob) -> _Base:
    path = Path(job.model)
    asked = AskedModel(path)
    schema = job.schema or bare_schema(asked.session)
    split = read_split(job.rows, schema)
    few = split.held.take(slice(0, max(FEW_ROWS, 2)))
    outputs = asked.outputs(few.tensors)
    return _Base(path, reading_of(schema, outputs, split.held.actual), split, asked)


def _base(base: _Base, folder: Path) -> Measurement:
    held = base.split.held
    answers = _held_answers(base.asked, base)
    write_answers(folder / ANSWERS, answers)
    write_row(folder / ROW, base.asked.session, held.take(slice(0, 1)).tensors)
    data = [base.path, *_external_files(base.path)]
    return Measurement(
        name=BASE,
        precision="fp32",
        size_bytes=sum(p.stat().st_size for p in data),
        transfer_bytes=sum(_deflated(p) for p in data),
        sha256=file_digest(base.path),
        external=tuple(p.name for p in data[1:]),
        quality=_quality(base.reading, answers, answers, held),
    )


def _variant(kind: VariantKind, job: VariantJob, base: _Base, folder: Path) -> Measurement:
    one = Measurement(
        name=kind.name,
        precision=kind.precision,
        size_bytes=0,
        prepack=kind.prepack,
        is_stackable=kind.is_stackable,
    )
    try:
        made, note = MAKERS[kind.name](Workshop(job, base, folder))
    except Unsupported as e:
        return msgspec.structs.replace(one, reason=str(e))
    if made is None:
        reason = note or "has no weights that this shrinks"
        return msgspec.structs.replace(one, reason=reason)
    one = _written(one, made, note, folder)
    base_bytes = sum(p.stat().st_size for p in (base.path, *_external_files(base.path)))
    if reason := screen(one.size_bytes, base_bytes, job.earning):
        return msgspec.structs.replace(one, reason=reason)
    try:
        return _asked(one, kind, job, base, folder)
    except FoglineError as e:
        return msgspec.structs.replace(one, reason=f"does not answer: {e}")


def _written(one: Measurement, made: onnx.ModelProto, note: str, folder: Path) -> Measurement:
    path = folder / MODEL
    path.write_bytes(graph.finish(made, "model"))
    files = [path, *_external_files(path)]
    return msgspec.structs.replace(
        one,
        size_bytes=sum(p.stat().st_size for p in files),
        transfer_bytes=sum(_deflated(p) for p in files),
        sha256=file_digest(path),
        external=tuple(p.name for p in files[1:]),
        note=note,
    )


def _asked(
    one: Measurement, kind: VariantKind, job: VariantJob, base: _Base, folder: Path
) -> Measurement:
    chunk = CHUNK_ROWS if kind.is_stackable else 1
    asked = AskedModel(folder / MODEL, prepack=kind.prepack, chunk=chunk)
    held = base.split.held
    few = held.take(slice(0, FEW_ROWS))
    before, after = base.asked.outputs(few.tensors), asked.outputs(few.tensors)
    for name, array in before.items():
        other = after.get(name)
        if other is None or other.shape != array.shape or other.dtype != array.dtype:
            return msgspec.structs.replace(one, reason=f"output {name!r} has another form")
    if reason := _hopeless(asked, base, few, job):
        return msgspec.structs.replace(one, reason=reason)
    answers = _held_answers(asked, base)
    said = read_kept_answers(Path(job.answers))
    one = msgspec.structs.replace(one, quality=_quality(base.reading, said, answers, held))
    if not job.golden:
        return one
    cases = decode_cases(Path(job.golden).read_bytes())
    try:
        golden = max(_golden_difference(asked.session, case) for case in cases)
    except InvalidInput as e:
        return msgspec.structs.replace(one, reason=str(e))
    return msgspec.structs.replace(one, golden_difference=golden)


def _hopeless(asked: AskedModel, base: _Base, few: Rows, job: VariantJob) -> str:
    """Why a few runs say that it will not earn its place; empty if they do not."""
    row = few.take(slice(0, 1)).tensors
    timed = alternate(
        {"base": lambda: base.asked.session.run(row), "one": lambda: asked.session.run(row)},
        budget_s=QUICK_S,
        max_rounds=50,
    )
    ratio = timed["one"].p50 / timed["base"].p50
    limit = job.earning.slower * HOPELESS
    return f"slower: {ratio:.1f} of the latency, in a quick look" if ratio > limit else ""


def _held_answers(asked: AskedModel, base: _Base) -> Answers:
    held = base.split.held
    return read_answers(base.reading, asked.outputs(held.tensors), held.count)


def _quality(reading: Reading, base: Answers, variant: Answers, rows: Rows) -> Quality:
    labels, values = actual_of(reading, rows)
    return rate(base, variant, labels=labels, values=values)


def _lost(quality: Quality) -> float:
    """The larger of what is lost and the share of labels that changed."""
    flips = quality.label_flips / quality.rows if quality.has_labels else 0.0
    return max(quality.loss or 0.0, flips)


def _golden_difference(session: Session, case: GoldenCase) -> float:
    """Largest difference of a number; raises `InvalidInput` when anything else changed."""
    largest = 0.0
    for name, answer in session.run(case.inputs).items():
        expected = case.outputs.get(name)
        if expected is None:
            continue
        if expected.dtype.kind != "f":
            if not np.array_equal(expected, answer):
                raise InvalidInput(f"changes the golden answer {name!r}")
            continue
        distance = float(np.abs(answer.astype(np.float64) - expected).max(initial=0.0))
        if not np.isfinite(distance):
            raise InvalidInput(f"gives no finite number for the golden answer {name!r}")
        largest = max(largest, distance)
    return largest


def _external_files(path: Path) -> tuple[Path, ...]:
    """Files that a model's constants are in, each once.

    Raises:
        Corrupt: one is not beside the model.
    """
    names = {
        entry.value
        for tensor in graph.load(path).graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    if any(Path(n).name != n for n in names):
        raise Corrupt(f"{path.name}: refers to data that is not beside it")
    return tuple(path.with_name(n) for n in sorted(names))


def _deflated(path: Path) -> int:
    packer = zlib.compressobj(6)
    size = 0
    with path.open("rb") as file:
        while part := file.read(2**20):
            size += len(packer.compress(part))
    return size + len(packer.flush())


if __name__ == "__main__":
    sys.exit(serve_job(VariantJob, make))
