"""The child of a search: makes variants of one model, asks them all, and times them in turn."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import onnx

from fogline.bundle import GoldenCase, decode_cases
from fogline.errors import InvalidInput, Unsupported
from fogline.schema import Schema, column_names
from fogline_hub.convert import graph
from fogline_hub.convert.dataset import Dataset, read_dataset
from fogline_hub.convert.frame import Column, Frame, is_text, take, tensors_of
from fogline_hub.convert.job import serve_job
from fogline_hub.convert.parity import Answers
from fogline_hub.convert.served import ServedModel, label_codes
from fogline_hub.optimize.choice import Measurement, Timing, screen, verdict
from fogline_hub.optimize.handover import BASE, SearchJob, SearchReport
from fogline_hub.optimize.quality import Quality, rate
from fogline_hub.optimize.timing import alternate
from fogline_hub.optimize.weights import fp16_storage, int8_dynamic

Pass = Callable[[onnx.ModelProto], onnx.ModelProto | None]

PASSES: dict[str, Pass] = {"fp16-storage": fp16_storage, "int8-dynamic": int8_dynamic}
"""Each variant's name, which is its precision too, and what makes it."""

MAX_ROUNDS = 2000


@dataclass(frozen=True, slots=True)
class _Rows:
    """Held-out rows, and what is known of their outcome."""

    frame: Frame
    labels: Column | None
    values: Column | None


def search(job: SearchJob, folder: Path) -> SearchReport:
    """Measures the model and its variants, and leaves those that earn their place."""
    data = read_dataset(Path(job.data), job.limits)
    rows = _rows(data, job.schema, job.target)
    cases = decode_cases(Path(job.golden).read_bytes())
    base_bytes = Path(job.model).stat().st_size
    models = {BASE: ServedModel(Path(job.model), job.schema)}
    answers = models[BASE].answers(rows.frame)
    found = {
        BASE: Measurement(
            name=BASE,
            precision=BASE,
            size_bytes=base_bytes,
            quality=_quality(answers, answers, rows),
        )
    }
    original = graph.load(Path(job.model))
    for name, change in PASSES.items():
        made = change(original)
        found[name] = one = _written(name, made, folder, base_bytes, job)
        if one.reason:
            continue
        served = ServedModel(folder / f"{name}.onnx", job.schema)
        found[name] = one = _asked(one, served, answers, rows, cases)
        if not one.reason:
            models[name] = served
    return SearchReport(
        measurements=_decided(found, _timed(models, rows, job), job), data_sha256=data.sha256
    )


def _written(
    name: str, made: onnx.ModelProto | None, folder: Path, base_bytes: int, job: SearchJob
) -> Measurement:
    if made is None:
        return Measurement(
            name=name, precision=name, size_bytes=0, reason="has no weights that this shrinks"
        )
    data = graph.finish(made, "model")
    (folder / f"{name}.onnx").write_bytes(data)
    return Measurement(
        name=name,
        precision=name,
        size_bytes=len(data),
        reason=screen(len(data), base_bytes, job.earning),
    )


def _asked(
    one: Measurement,
    served: ServedModel,
    base: Answers,
    rows: _Rows,
    cases: tuple[GoldenCase, ...],
) -> Measurement:
    quality = _quality(base, served.answers(rows.frame), rows)
    try:
        golden = max(_golden_difference(served, case) for case in cases)
    except InvalidInput as e:
        return msgspec.structs.replace(one, quality=quality, reason=str(e))
    return msgspec.structs.replace(one, quality=quality, golden_difference=golden)


def _golden_difference(served: ServedModel, case: GoldenCase) -> float:
    """Largest difference of a number; raises `InvalidInput` when anything else changed."""
    largest = 0.0
    for name, answer in served.ask(case.inputs).items():
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


def _timed(models: dict[str, ServedModel], rows: _Rows, job: SearchJob) -> dict[str, Timing]:
    one_row = tensors_of(take(rows.frame, slice(0, 1)), job.schema)
    runs = {name: _runner(served, one_row) for name, served in models.items()}
    return alternate(runs, budget_s=job.timing_budget_s, max_rounds=MAX_ROUNDS)


def _runner(served: ServedModel, tensors: dict[str, Column]) -> Callable[[], object]:
    return lambda: served.ask(tensors)


def _decided(
    found: dict[str, Measurement], timed: dict[str, Timing], job: SearchJob
) -> tuple[Measurement, ...]:
    base = msgspec.structs.replace(found[BASE], timing=timed[BASE], is_kept=True)
    others = (one for name, one in found.items() if name != BASE)
    return (base, *(_judged(base, one, timed.get(one.name), job) for one in others))


def _judged(
    base: Measurement, one: Measurement, timing: Timing | None, job: SearchJob
) -> Measurement:
    if timing is None:
        return one
    timed = msgspec.structs.replace(one, timing=timing)
    is_kept, reason = verdict(base, timed, job.earning)
    return msgspec.structs.replace(timed, is_kept=is_kept, reason=reason)


def _quality(base: Answers, variant: Answers, rows: _Rows) -> Quality:
    return rate(base, variant, labels=rows.labels, values=rows.values)


def _rows(data: Dataset, schema: Schema, target: str | None) -> _Rows:
    frame = {n: data.column(n) for f in schema.inputs for n in column_names(f)}
    if not frame:
        raise Unsupported("the model's inputs are no columns, so a table cannot fill them")
    for field in schema.inputs:
        for name in column_names(field):
            if is_text(frame[name]) != (field.datatype == "BYTES"):
                raise InvalidInput(
                    f"{data.name}: column {name!r} has another type than the model's input "
                    f"{field.name!r} ({field.datatype})"
                )
    if target is None:
        return _Rows(frame, None, None)
    actual = data.column(target)
    label = next((f for f in schema.outputs if f.role == "label"), None)
    if label is not None:
        return _Rows(frame, label_codes(label.labels, actual), None)
    if is_text(actual):
        raise InvalidInput(f"{data.name}: the target {target!r} is text, the model gives numbers")
    return _Rows(frame, None, actual.astype(np.float64))


if __name__ == "__main__":
    sys.exit(serve_job(SearchJob, search))
