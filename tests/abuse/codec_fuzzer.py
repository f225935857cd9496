"""`python -m tests.abuse.codec_fuzzer`: libFuzzer looks for messages that the codec is wrong about.

The invariant: for any bytes, the fast path and protobuf's give the same request or the same refusal
that blames the caller, before and after the layout of the bytes is known; and an id and parameters
in front of them change nothing of that. Anything else is a crash.

The first byte chooses the schema. Runs until its arguments, which are libFuzzer's own, end it.
"""

import sys
from typing import Any

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["fogline_edge.serving.codec", "fogline.tensors"]):
    from fogline.errors import InvalidInput
    from fogline_edge.serving.codec import CodecLimits, ModelCodec, target_of
    from tests.codec_messages import SCHEMAS

CODECS = [
    (ModelCodec("m", 1, s), ModelCodec("m", 1, s, limits=CodecLimits(max_layouts=0)))
    for s in SCHEMAS.values()
]
LEADS = (b"", b"\n\x01m", b"\n\x01m\x12\x011", b"\n\x01m\x1a\x03abc")


def outcome(codec: ModelCodec, message: bytes) -> Any:
    try:
        target_of(message)
        request = codec.read(message, 1)
    except InvalidInput as e:
        return type(e), str(e)
    arrays = {
        name: (a.dtype, a.shape, a.tolist() if a.dtype.hasobject else a.tobytes())
        for name, a in request.inputs.items()
    }
    return (
        request.id, request.rows, request.outputs, request.event_us, request.timeout_s,
        request.priority, request.wanted, request.is_marked_final, arrays,
    )  # fmt: skip


def run(data: bytes) -> None:
    if not data:
        return
    fast, slow = CODECS[data[0] % len(CODECS)]
    for lead in LEADS:
        message = lead + data[1:]
        expected = outcome(slow, message)
        for _ in range(2):
            if outcome(fast, message) != expected:
                raise AssertionError(f"{message!r}: {outcome(fast, message)} != {expected}")


def main() -> None:
    atheris.Setup(sys.argv, run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
