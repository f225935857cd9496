"""Proves a pushed bundle: each variant is loaded and run in a limited child of its own.

What holds here is that no file of the bundle crashes, hangs or eats the memory of what loads it,
that it has the tensors that the schema names, and that it answers every golden case in their form.
Whether the answers are near enough is for the device to say, on its own processor.

Run as `python -m fogline_hub.registry.proof FOLDER VARIANT`, this module is that child.
"""

import sys
from pathlib import Path

from fogline import console
from fogline.bundle import Bundle, Manifest, decode_cases, find_variant, read_bundle
from fogline.bundle.golden import MAX_GOLDEN_BYTES
from fogline.errors import FoglineError, InvalidInput
from fogline.runtime import ModelPlan, Session
from fogline.sandbox import Limits, run_child
from fogline.schema import Field
from fogline.tensors import datatype_of

LIMITS = Limits(memory_bytes=4 * 2**30, timeout_s=120.0, cpu_s=240, file_bytes=2**20, network=False)
"""What loading and running one variant may take."""
RUN_DEADLINE_S = 30.0
"""Longest run of one golden case, seconds."""


def prove_bundle(folder: Path, manifest: Manifest) -> None:
    """Proves every variant of the bundle in `folder`.

    Raises:
        InvalidInput: one does not hold; the text names it and says why.
    """
    for variant in manifest.variants:
        argv = [sys.executable, "-m", "fogline_hub.registry.proof", str(folder), variant.name]
        outcome = run_child(argv, limits=LIMITS)
        if not outcome.is_success:
            raise InvalidInput(
                f"variant {variant.name} cannot be served: its trial {outcome.describe()}: "
                f"{outcome.last_words() or 'it said nothing'}"
            )


def try_variant(bundle: Bundle, name: str) -> None:
    """Loads one variant and runs the golden cases; for the child alone.

    Raises:
        FoglineError: it does not load, run, or answer in the schema's form.
    """
    manifest = bundle.manifest
    variant = find_variant(manifest, name)
    session = Session.open(bundle.path(variant.file), ModelPlan(), label=variant.file)
    _check_fields("input", manifest.schema.inputs, session.inputs)
    _check_fields("output", manifest.schema.outputs, session.outputs)
    if not manifest.golden:
        return
    data = bundle.read_file(manifest.golden, MAX_GOLDEN_BYTES)
    for case in decode_cases(data, manifest.golden):
        answers = session.run(case.inputs, deadline_s=RUN_DEADLINE_S)
        for output, expected in case.outputs.items():
            found = answers.get(output)
            if found is None:
                raise InvalidInput(f"{manifest.golden}: the model has no output {output!r}")
            if found.shape != expected.shape or datatype_of(found) != datatype_of(expected):
                raise InvalidInput(
                    f"{manifest.golden}: output {output!r} is {datatype_of(found)} "
                    f"{list(found.shape)}, expected {datatype_of(expected)} {list(expected.shape)}"
                )


def _check_fields(kind: str, named: tuple[Field, ...], found: tuple[Field, ...]) -> None:
    types = {field.name: field.datatype for field in found}
    for field in named:
        if types.get(field.name) != field.datatype:
            raise InvalidInput(
                f"the schema names {kind} {field.name!r} of type {field.datatype}; "
                f"the model has {types or 'none'}"
            )


def main(argv: list[str]) -> int:
    """The child: exit code 0 where the variant holds; else 1 and the reason on stderr."""
    try:
        try_variant(read_bundle(Path(argv[0])), argv[1])
    except FoglineError as e:
        console.say(str(e))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
