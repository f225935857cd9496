"""The limited child in which a version is tried before it may serve.

`python -m fogline_edge.install.trial FOLDER VARIANT` holds the files against the manifest, loads
the model, holds its tensors against the schema, and runs the golden cases on this very processor.
It prints one `TrialResult` as JSON. Whatever the model does to its process ends the child alone.
"""

import statistics
import sys
import time
from pathlib import Path

import numpy as np

from fogline.bundle import (
    MANIFEST_NAME,
    GoldenCase,
    Manifest,
    Tolerance,
    check_file,
    decode_cases,
    device_files,
    find_variant,
    read_manifest,
)
from fogline.errors import Corrupt, FoglineError, InvalidInput
from fogline.records import canonical_json
from fogline.runtime import ModelPlan, Session, Watchdog
from fogline.schema import Field
from fogline.tensors import Array, datatype_of
from fogline_edge.install.qualify import TrialResult

RUN_DEADLINE_S = 30.0
"""Longest run of one golden case."""
TIMED_RUNS = 20
TIMED_S = 1.0
"""The first case is run again up to so often, or so long, to measure its latency."""


def run_trial(folder: Path, variant: str) -> TrialResult:
    """Tries one variant; never raises one of Fogline's errors, which are the result."""
    try:
        return _tried(folder, variant)
    except FoglineError as e:
        return TrialResult(reason=str(e))


def _tried(folder: Path, variant: str) -> TrialResult:
    manifest = read_manifest((folder / MANIFEST_NAME).read_bytes())
    for entry in device_files(manifest, variant):
        check_file(folder / entry.path, entry)
    chosen = find_variant(manifest, variant)
    with_deadline = Watchdog()
    try:
        session = Session.open(
            folder / chosen.file, ModelPlan(), label=chosen.file, watchdog=with_deadline
        )
        _check_schema(manifest, session)
        if not manifest.golden:
            return TrialResult()
        cases = decode_cases((folder / manifest.golden).read_bytes(), manifest.golden)
        for number, case in enumerate(cases):
            answers = session.run(case.inputs, deadline_s=RUN_DEADLINE_S)
            _check_answers(f"golden case {number}", case, answers)
        return TrialResult(cases=len(cases), latency_us_p50=_latency_us(session, cases[0]))
    finally:
        with_deadline.close()


def _check_schema(manifest: Manifest, session: Session) -> None:
    for kind, promised, there in (
        ("input", manifest.schema.inputs, session.inputs),
        ("output", manifest.schema.outputs, session.outputs),
    ):
        found = {field.name: field for field in there}
        if found.keys() != {field.name for field in promised}:
            raise Corrupt(f"the manifest's {kind}s are not those of the model: {sorted(found)}")
        for field in promised:
            if not _is_within(field, found[field.name]):
                raise Corrupt(
                    f"{kind} {field.name!r}: the manifest says {field.datatype} "
                    f"{list(field.shape)}, the model has {found[field.name].datatype} "
                    f"{list(found[field.name].shape)}"
                )


def _is_within(field: Field, graph: Field) -> bool:
    """A schema may fix a dimension that the model leaves free, and nothing else."""
    return (
        field.datatype == graph.datatype
        and len(field.shape) == len(graph.shape)
        and all(g in (-1, f) for f, g in zip(field.shape, graph.shape, strict=True))
    )


def _check_answers(what: str, case: GoldenCase, answers: dict[str, Array]) -> None:
    for name, expected in case.outputs.items():
        found = answers.get(name)
        if found is None:
            raise InvalidInput(f"{what}: the model has no output {name!r}")
        if found.shape != expected.shape or datatype_of(found) != datatype_of(expected):
            raise InvalidInput(
                f"{what}: output {name!r} is {datatype_of(found)} {list(found.shape)}, "
                f"expected {datatype_of(expected)} {list(expected.shape)}"
            )
        off = ~_agrees(found, expected, case.tolerances.get(name))
        if off.any():
            raise InvalidInput(
                f"{what}: output {name!r} is further off than allowed in {int(off.sum())} "
                f"of {off.size} elements on this device"
            )


def _agrees(found: Array, expected: Array, tolerance: Tolerance | None) -> np.ndarray:
    """Element by element; two NaN agree, and so do two infinities of one sign."""
    if expected.dtype.kind != "f":
        return np.asarray(found == expected)
    allowed = tolerance or Tolerance()
    return np.isclose(
        found.astype(np.float64),
        expected.astype(np.float64),
        rtol=allowed.relative,
        atol=allowed.absolute,
        equal_nan=True,
    )


def _latency_us(session: Session, case: GoldenCase) -> float:
    taken: list[float] = []
    began = time.perf_counter()
    while len(taken) < TIMED_RUNS and time.perf_counter() - began < TIMED_S:
        before = time.perf_counter()
        session.run(case.inputs, deadline_s=RUN_DEADLINE_S)
        taken.append((time.perf_counter() - before) * 1e6)
    return statistics.median(taken) if taken else 0.0


def main(argv: list[str]) -> int:
    """The child: prints the result and exits with 0, whatever it is."""
    result = run_trial(Path(argv[0]), argv[1])
    sys.stdout.buffer.write(b"\n" + canonical_json(result) + b"\n")
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
