"""A bundle of a bare ONNX file: served as it is, and marked for ever as unverified.

Nobody said what the original model answers, so there are no golden cases and no parity report; the
lineage says so, and the hub marks the version. The file is opened in a limited child alone.
"""

from datetime import datetime
from hashlib import file_digest
from pathlib import Path

from fogline.bundle import BundleDraft, Manifest, VariantDraft, write_bundle
from fogline.errors import InvalidInput
from fogline.records import canonical_json
from fogline.runtime.prove import prove_file
from fogline.schema import Schema


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
    found = prove_file(model)
    if not found.is_accepted:
        reason = f"{found.reason}: {found.detail}"
        raise InvalidInput(f"{model} is not a model that can be served: {reason}")
    return Schema(inputs=found.inputs, outputs=found.outputs)
