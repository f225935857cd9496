"""A bundle of a bare ONNX file: served as it is, and marked for ever as unverified.

Nobody said what the original model answers, so there are no golden cases and no parity report; the
lineage says so, and the hub marks the version. The file is opened in a limited child alone.

Run as `python -m fogline_hub.cli.bare_model FILE`, this module is that child: it prints the schema.
"""

import sys
from datetime import datetime
from hashlib import file_digest
from pathlib import Path

from fogline import console
from fogline.bundle import BundleDraft, Manifest, VariantDraft, write_bundle
from fogline.errors import Corrupt, FoglineError, InvalidInput
from fogline.records import canonical_json, decode_json
from fogline.runtime import ModelPlan, Session
from fogline.sandbox import Limits, run_child
from fogline.schema import Schema

LIMITS = Limits(memory_bytes=4 * 2**30, timeout_s=120.0, cpu_s=240, network=False)


def bundle_of_onnx(model: Path, out: Path, *, name: str, created_at: datetime) -> Manifest:
    """Packs an ONNX file without external data as the new folder `out`.

    Raises:
        InvalidInput: it cannot be read, or is no model that is served.
    """
    try:
        with model.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
    except OSError as e:
        raise InvalidInput(f"{model}: {e.strerror}") from e
    lineage = {
        "source": model.name,
        "source_sha256": digest,
        "framework": "onnx",
        "verified": False,
        "reason": "pushed as a bare model: nothing says what the original answers",
    }
    draft = BundleDraft(
        name=name,
        created_at=created_at,
        schema=_schema(model),
        variants=(VariantDraft(name="original", precision="as it came", model=model),),
        lineage=canonical_json(lineage),
    )
    return write_bundle(out, draft)


def _schema(model: Path) -> Schema:
    program = [sys.executable, "-m", "fogline_hub.cli.bare_model", str(model.resolve())]
    outcome = run_child(program, limits=LIMITS)
    if not outcome.is_success:
        reason = outcome.last_words() or outcome.describe()
        raise InvalidInput(f"{model} is not a model that can be served: {reason}")
    try:
        return decode_json(outcome.stdout, Schema, f"schema of {model}")
    except Corrupt as e:
        raise InvalidInput(f"{model} is not a model that can be served: {e}") from e


def main(argv: list[str]) -> int:
    """The child: prints the schema of one file as JSON."""
    try:
        session = Session.open(Path(argv[0]), ModelPlan())
    except FoglineError as e:
        console.say(str(e))
        return 1
    console.emit(Schema(inputs=session.inputs, outputs=session.outputs), "", as_json=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
