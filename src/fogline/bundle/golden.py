"""Golden cases: inputs with the answers that the original model gave, and how far one may be off.

A device runs them before it lets a variant serve. The file is the message `GoldenCases` of
`protos/bundle.proto`, in the form of Open Inference requests and answers.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from fogline.errors import Corrupt, InvalidInput, Unsupported
from fogline.tensors import Array, decode_inputs, decode_outputs, encode_inputs, encode_outputs
from fogline.wire.bundle_pb2 import GoldenCase as CaseMessage
from fogline.wire.bundle_pb2 import GoldenCases

MAX_GOLDEN_BYTES = 8 * 1024 * 1024
MAX_CASES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """Passes where |answer - expected| <= absolute + relative * |expected|, element by element."""

    absolute: float = 0.0
    relative: float = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError for what is negative or not finite: it would let everything pass."""
        for value in (self.absolute, self.relative):
            if not math.isfinite(value) or value < 0:
                raise ValueError(f"a tolerance must be finite and at least 0, got {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenCase:
    """One request and its right answer; arrays as `fogline.tensors` decodes them."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    tolerances: Mapping[str, Tolerance] = field(default_factory=dict)
    """By output; one that is missing here, or is no floating-point tensor, has to be equal."""


def encode_cases(cases: Iterable[GoldenCase]) -> bytes:
    """The file of these cases; the same cases give the same bytes.

    Raises:
        InvalidInput: there are none, too many, or they are too large; or a tolerance names no
            output.
    """
    message = GoldenCases()
    for case in cases:
        unknown = case.tolerances.keys() - case.outputs.keys()
        if unknown:
            raise InvalidInput(f"golden case: a tolerance for {min(unknown)!r}, which is no output")
        one = message.cases.add()
        encode_inputs(one.request, case.inputs)
        encode_outputs(one.response, case.outputs)
        for name, tolerance in sorted(case.tolerances.items()):
            one.tolerances.add(
                output=name, absolute=tolerance.absolute, relative=tolerance.relative
            )
    data: bytes = message.SerializeToString(deterministic=True)
    if not 1 <= len(message.cases) <= MAX_CASES or len(data) > MAX_GOLDEN_BYTES:
        raise InvalidInput(
            f"{len(message.cases)} golden cases of {len(data)} bytes; 1 to {MAX_CASES} of at most "
            f"{MAX_GOLDEN_BYTES} are written: take fewer rows"
        )
    return data


def decode_cases(data: bytes, what: str = "golden cases") -> tuple[GoldenCase, ...]:
    """Reads golden cases from untrusted bytes.

    Raises:
        Corrupt: not the message, none or too many, a tensor that cannot be right, or a tolerance
            that names no output.
    """
    if len(data) > MAX_GOLDEN_BYTES:
        raise Corrupt(f"{what}: {len(data)} bytes, at most {MAX_GOLDEN_BYTES} are read")
    try:
        message = GoldenCases.FromString(data)
    except DecodeError as e:
        raise Corrupt(f"{what}: not a GoldenCases message") from e
    if not 1 <= len(message.cases) <= MAX_CASES:
        raise Corrupt(f"{what}: {len(message.cases)} cases, expected 1 to {MAX_CASES}")
    return tuple(_case(f"{what}, case {i}", one) for i, one in enumerate(message.cases))


def _case(what: str, message: CaseMessage) -> GoldenCase:
    try:
        case = GoldenCase(
            inputs=decode_inputs(message.request),
            outputs=decode_outputs(message.response),
            tolerances={
                t.output: Tolerance(absolute=t.absolute, relative=t.relative)
                for t in message.tolerances
            },
        )
    except (InvalidInput, Unsupported, Corrupt, ValueError) as e:
        raise Corrupt(f"{what}: {e}") from e
    if not case.outputs:
        raise Corrupt(f"{what}: no expected output")
    if case.tolerances.keys() - case.outputs.keys():
        raise Corrupt(f"{what}: a tolerance for what is no output")
    return case
