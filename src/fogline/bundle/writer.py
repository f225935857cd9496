"""Writes a bundle's folder: whole or not at all, and the same bytes for the same draft.

All is written to a hidden folder beside the target and flushed to the disk; one rename then makes
it a bundle. A crash before it leaves that hidden folder, which no reader takes for a bundle.
"""

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from fogline.bundle.golden import GoldenCase, encode_cases
from fogline.bundle.manifest import (
    FORMAT,
    MANIFEST_NAME,
    MAX_FILE_BYTES,
    BundlePath,
    FileEntry,
    Manifest,
    Measured,
    Variant,
    read_manifest,
)
from fogline.durable import flush_folder
from fogline.errors import Conflict, Corrupt, InvalidInput
from fogline.records import canonical_json, convert, to_plain
from fogline.schema import Schema

_CHUNK = 1024 * 1024

Source = bytes | Path
"""Content in memory, or a file that it is copied from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantDraft:
    """One variant to be packed."""

    name: str
    precision: str
    model: Source
    external_data: Mapping[str, Source] = field(default_factory=dict)
    """By location, as the ONNX file says it, relative to the file."""
    file_name: str = "model.onnx"
    """`PIPELINE_NAME` where `model` is the definition of a pipeline."""
    measured: Measured | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleDraft:
    """All that becomes a bundle; empty bytes or no cases leave a part out."""

    name: str
    created_at: datetime
    schema: Schema
    variants: tuple[VariantDraft, ...]
    """The preferred one first."""
    golden: tuple[GoldenCase, ...] = ()
    reference: Source = b""
    """Canonical JSON of `fogline.summaries.Reference`."""
    reference_sample: Source = b""
    """Parquet."""
    parity: Source = b""
    lineage: Source = b""


def write_bundle(folder: Path, draft: BundleDraft) -> Manifest:
    """Writes `draft` as the new folder `folder`.

    Raises:
        InvalidInput: the draft breaks a bound of the format; the text says which.
        Conflict: `folder` exists and is not empty.
        OSError: a source cannot be read, or the disk is full; nothing is left behind.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    temporary.mkdir(mode=0o755)
    try:
        manifest, data = _manifest(draft, _Files(temporary))
        _copy(data, temporary / MANIFEST_NAME)
        for path, _, _ in os.walk(temporary, topdown=False):
            flush_folder(Path(path))
        _rename(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    flush_folder(folder.parent)
    return manifest


class _Files:
    """The files written so far."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.entries: list[FileEntry] = []

    def add(self, path: str, source: Source) -> str:
        """Writes one file, and returns its path; nothing and "" for empty bytes."""
        if source == b"":
            return ""
        target = self._root / convert(path, BundlePath, "path in the bundle")
        if target.exists():
            raise InvalidInput(f"{path!r} would be written twice")
        target.parent.mkdir(parents=True, exist_ok=True)
        digest, size = _copy(source, target)
        self.entries.append(FileEntry(path=path, sha256=digest, size_bytes=size))
        return path


def _manifest(draft: BundleDraft, files: _Files) -> tuple[Manifest, bytes]:
    """Writes the files; the manifest of them, as it reads back from its own bytes."""
    variants = tuple(_variant(v, files) for v in draft.variants)
    parts = {
        "golden": files.add("golden.pb", encode_cases(draft.golden) if draft.golden else b""),
        "reference": files.add("reference.json", draft.reference),
        "reference_sample": files.add("reference_sample.parquet", draft.reference_sample),
        "parity": files.add("parity.json", draft.parity),
        "lineage": files.add("lineage.json", draft.lineage),
    }
    try:
        made = Manifest(
            format=FORMAT,
            name=draft.name,
            created_at=draft.created_at,
            schema=draft.schema,
            variants=variants,
            files=tuple(sorted(files.entries, key=lambda f: f.path)),
            **parts,
        )
        data = canonical_json(to_plain(made))
        return read_manifest(data), data
    except (Corrupt, ValueError) as e:
        raise InvalidInput(f"this cannot be packed: {e}") from e


def _variant(draft: VariantDraft, files: _Files) -> Variant:
    folder = f"variants/{draft.name}"
    if draft.model == b"":
        raise InvalidInput(f"variant {draft.name!r} has an empty model")
    return Variant(
        name=draft.name,
        file=files.add(f"{folder}/{draft.file_name}", draft.model),
        external_data=tuple(
            files.add(f"{folder}/{location}", source)
            for location, source in sorted(draft.external_data.items())
        ),
        precision=draft.precision,
        measured=draft.measured,
    )


def _copy(source: Source, target: Path) -> tuple[str, int]:
    """Copies and flushes; SHA-256 and size of what was written."""
    digest = sha256()
    size = 0
    with target.open("xb") as out:
        for chunk in _chunks(source):
            size += len(chunk)
            if size > MAX_FILE_BYTES:
                raise InvalidInput(f"{target.name}: more than {MAX_FILE_BYTES} bytes")
            digest.update(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest(), size


def _chunks(source: Source) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    with source.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _rename(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
    except OSError as e:
        if folder.exists():
            raise Conflict(f"{folder} exists already; choose another folder, or remove it") from e
        raise
