"""A bundle of a pipeline's definition; its models are versions of their own, pushed apart."""

from datetime import datetime
from pathlib import Path

import msgspec

from fogline.bundle import BundleDraft, Manifest, draft_pipeline, write_bundle
from fogline.errors import InvalidInput
from fogline.pipeline import Pipeline, read_pipeline, schema_of


def bundle_of_pipeline(definition: Path, out: Path, *, name: str, created_at: datetime) -> Manifest:
    """Packs a `.toml` or `.json` definition as the new folder `out`, without its models' paths.

    Raises:
        InvalidInput: it is no definition, or that of another pipeline than `name`.
    """
    pipeline = read_pipeline(definition)
    if pipeline.name != name:
        raise InvalidInput(f"{definition} defines {pipeline.name!r}: push it under that name")
    draft = BundleDraft(
        name=name,
        created_at=created_at,
        schema=schema_of(pipeline),
        variants=(draft_pipeline(_without_paths(pipeline)),),
    )
    return write_bundle(out, draft)


def _without_paths(pipeline: Pipeline) -> Pipeline:
    """The same, of the device's own models by the names that the components have."""
    components = {
        key: msgspec.structs.replace(component, path="", visible=False)
        for key, component in pipeline.components.items()
    }
    return msgspec.structs.replace(pipeline, components=components)
