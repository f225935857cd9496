"""A pipeline as a variant of a bundle: its definition lies where a model's ONNX file would.

So a pipeline is fetched, verified, numbered, rolled out and rolled back like any version. Its
components are versions of their own, and lie in bundles of their own.
"""

from fogline.bundle.manifest import PIPELINE_NAME, Manifest, Variant, find_variant
from fogline.bundle.reader import Bundle
from fogline.bundle.writer import VariantDraft
from fogline.errors import Corrupt, InvalidInput
from fogline.pipeline import Pipeline, schema_of
from fogline.pipeline.reading import MAX_DEFINITION_BYTES
from fogline.records import canonical_json, decode_json, to_plain


def draft_pipeline(pipeline: Pipeline, *, name: str = "default") -> VariantDraft:
    """The variant of a draft whose `schema` is that of the pipeline.

    Raises:
        InvalidInput: a component has a path; in a bundle, the device's own models are meant.
    """
    for key, component in pipeline.components.items():
        if component.path:
            raise InvalidInput(
                f"component {key!r} has the path {component.path[:200]!r}: pack that model as a "
                "bundle of its own, and leave the path out"
            )
    return VariantDraft(
        name=name,
        precision="pipeline",
        model=canonical_json(to_plain(pipeline)),
        file_name=PIPELINE_NAME,
    )


def unpack_pipeline(bundle: Bundle, variant: str = "") -> Pipeline:
    """The pipeline that a variant of a bundle is, held against the manifest.

    Raises:
        NotFound: there is no such variant.
        Corrupt: it is no pipeline, has another schema than the manifest, or points at files.
        Untrusted: the file changed since the bundle was read.
    """
    chosen = find_variant(bundle.manifest, variant)
    data = bundle.read_file(chosen.file, MAX_DEFINITION_BYTES)
    pipeline = decode_json(data, Pipeline, chosen.file)
    _hold_against(bundle.manifest, chosen, pipeline)
    return pipeline


def _hold_against(manifest: Manifest, variant: Variant, pipeline: Pipeline) -> None:
    if pipeline.name != manifest.name:
        raise Corrupt(f"{variant.file} defines {pipeline.name}, the bundle is of {manifest.name}")
    if schema_of(pipeline) != manifest.schema:
        raise Corrupt(f"{variant.file}: its inputs and outputs are not those of the manifest")
    if any(component.path for component in pipeline.components.values()):
        raise Corrupt(f"{variant.file}: a component has a path, which a bundle cannot bring")
