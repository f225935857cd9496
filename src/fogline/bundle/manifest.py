"""The manifest: what a bundle holds, and the boundary at which a stranger's bytes become records.

Its canonical JSON is the version: the SHA-256 of those bytes identifies it, and TUF signs that.
`docs/bundle.md` describes the format. Every bound is checked while decoding, so a `Manifest` that
exists is one that a reader can act on without looking again: its paths stay inside the bundle, its
sizes add up to a bounded number, and every name in it refers to something.
"""

from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from msgspec import Meta

from fogline.desired import Digest, Name
from fogline.errors import Corrupt, NotFound
from fogline.records import Record, canonical_json, decode_json
from fogline.schema import Schema

Format = Literal["fogline-bundle/1"]
FORMAT: Format = "fogline-bundle/1"
MANIFEST_NAME = "manifest.json"
PIPELINE_NAME = "pipeline.json"
"""Last part of the path of a variant that is no ONNX file but the definition of a pipeline."""

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_FILES = 256
MAX_VARIANTS = 16
MAX_FILE_BYTES = 2**31 - 1
"""Protobuf's own limit, and so that of an ONNX file; external data is held to it as well."""
MAX_BUNDLE_BYTES = 8 * 1024**3
MAX_PATH_CHARS = 200

# At most 8 levels of names that start with a letter, a digit or `_`: no `..`, no hidden file, no
# absolute path, nothing that a shell, a URL or another system reads differently.
_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_PATH = rf"{_PART}(/{_PART}){{0,7}}"
BundlePath = Annotated[str, Meta(pattern=rf"^{_PATH}\Z", max_length=MAX_PATH_CHARS)]
OptionalPath = Annotated[str, Meta(pattern=rf"^({_PATH})?\Z", max_length=MAX_PATH_CHARS)]
"""A path, or empty for none."""
Text = Annotated[str, Meta(max_length=256)]
_Count = Annotated[int, Meta(ge=0, le=2**53)]
_Amount = Annotated[float, Meta(ge=0)]


class FileEntry(Record, frozen=True, kw_only=True):
    """One file of the bundle."""

    path: BundlePath
    """Relative, `/` between its parts."""
    sha256: Digest
    size_bytes: Annotated[int, Meta(ge=0, le=MAX_FILE_BYTES)]


class Measured(Record, frozen=True, kw_only=True):
    """What was measured of one variant, and on what; a device measures again for itself."""

    size_bytes: _Count
    """Of the model file and its external data."""
    latency_us_p50: _Amount
    """Of one row, microseconds."""
    latency_us_p90: _Amount
    peak_memory_bytes: _Count
    """Highest resident memory of the child that loaded and ran it, with its Python and runtime."""
    platform: Text = ""
    """Machine, processor features and runtime version that measured it."""
    rows: _Count = 0
    """Held-out rows that the next four were computed on."""
    quality: Annotated[float, Meta(ge=-1e300, le=1e300)] | None = None
    quality_metric: Text = ""
    """What `quality` is, such as `accuracy`; more is better."""
    differing_rows: _Count = 0
    """Rows whose outputs are further from the original model's than the golden cases allow."""
    label_flips: _Count = 0
    """Rows whose label is not the original model's."""


class Variant(Record, frozen=True, kw_only=True):
    """One optimised form of the version."""

    name: Name
    file: BundlePath
    """The ONNX file, or the definition of a pipeline."""
    external_data: Annotated[tuple[BundlePath, ...], Meta(max_length=64)] = ()
    """Files beside or below it that hold its large constants; it may refer to no other."""
    precision: Annotated[str, Meta(min_length=1, max_length=64)]
    measured: Measured | None = None

    @property
    def is_pipeline(self) -> bool:
        return PurePosixPath(self.file).name == PIPELINE_NAME


class Manifest(Record, frozen=True, kw_only=True):
    """One model version. Field names of files hold paths that `files` lists; empty means none."""

    format: Format
    name: Name
    created_at: Annotated[datetime, Meta(tz=True)]
    schema: Schema
    variants: Annotated[tuple[Variant, ...], Meta(min_length=1, max_length=MAX_VARIANTS)]
    """The first is preferred."""
    files: Annotated[tuple[FileEntry, ...], Meta(min_length=1, max_length=MAX_FILES)]
    golden: OptionalPath = ""
    reference: OptionalPath = ""
    reference_sample: OptionalPath = ""
    parity: OptionalPath = ""
    lineage: OptionalPath = ""

    def __post_init__(self) -> None:
        """Raises ValueError, which decoding turns into `Corrupt`."""
        _check_paths([f.path for f in self.files])
        total = sum(f.size_bytes for f in self.files)
        if total > MAX_BUNDLE_BYTES:
            raise ValueError(f"the files add up to {total} bytes, at most {MAX_BUNDLE_BYTES}")
        names = [v.name.lower() for v in self.variants]
        if len(set(names)) != len(names):
            raise ValueError("a variant's name stands twice")
        for variant in self.variants:
            _check_external_data(variant)
        listed = {f.path for f in self.files}
        for path in _referenced(self):
            if path not in listed:
                raise ValueError(f"{path} is referred to, but is not in `files`")


def read_manifest(data: bytes, what: str = MANIFEST_NAME) -> Manifest:
    """Reads a manifest from untrusted bytes.

    Raises:
        Corrupt: not JSON, not in canonical form, an unknown key, or anything out of bounds.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise Corrupt(f"{what}: {len(data)} bytes, at most {MAX_MANIFEST_BYTES} are read")
    manifest = decode_json(data, Manifest, what)
    # Of the plain values, not of the record: a later version's record may know more fields.
    if canonical_json(decode_json(data, Any, what)) != data:
        raise Corrupt(f"{what}: not in canonical form (sorted keys, no spaces, each key once)")
    return manifest


def find_variant(manifest: Manifest, name: str = "") -> Variant:
    """The variant of that name; the preferred one if `name` is empty.

    Raises:
        NotFound: the version has no such variant.
    """
    if not name:
        return manifest.variants[0]
    for variant in manifest.variants:
        if variant.name == name:
            return variant
    raise NotFound(
        f"{manifest.name} has no variant {name[:80]!r}; it has "
        f"{', '.join(v.name for v in manifest.variants)}"
    )


def device_files(manifest: Manifest, variant: str = "") -> tuple[FileEntry, ...]:
    """What a device needs of one variant: model, external data, golden cases, reference.

    Raises:
        NotFound: the version has no such variant.
    """
    chosen = find_variant(manifest, variant)
    wanted = {chosen.file, *chosen.external_data, manifest.golden, manifest.reference}
    return tuple(f for f in manifest.files if f.path in wanted)


def _check_paths(paths: list[str]) -> None:
    """No path twice, nor once as a file and once as a folder, also where case does not count."""
    seen = {MANIFEST_NAME}
    for path in paths:
        if path.lower() in seen:
            raise ValueError(f"{path} stands twice in `files`, or is the manifest itself")
        seen.add(path.lower())
    for path in paths:
        for parent in PurePosixPath(path.lower()).parents:
            if str(parent) in seen:
                raise ValueError(f"{path} lies in {parent}, which is a file")


def _check_external_data(variant: Variant) -> None:
    if variant.is_pipeline and variant.external_data:
        raise ValueError(f"variant {variant.name}: a pipeline's definition has no external data")
    if len(set(variant.external_data)) != len(variant.external_data):
        raise ValueError(f"variant {variant.name}: external data stands twice")
    folder = PurePosixPath(variant.file).parent
    for path in variant.external_data:
        if path == variant.file or not PurePosixPath(path).is_relative_to(folder):
            raise ValueError(f"variant {variant.name}: {path} is not beside or below {folder}/")


def _referenced(manifest: Manifest) -> list[str]:
    own = [
        manifest.golden,
        manifest.reference,
        manifest.reference_sample,
        manifest.parity,
        manifest.lineage,
    ]
    variants = [p for v in manifest.variants for p in (v.file, *v.external_data)]
    return [p for p in own if p] + variants
