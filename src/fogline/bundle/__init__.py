"""One model version packed: records of its manifest, a writer, a reader for hostile folders."""

from fogline.bundle.golden import GoldenCase, Tolerance, decode_cases, encode_cases
from fogline.bundle.manifest import (
    MANIFEST_NAME,
    PIPELINE_NAME,
    FileEntry,
    Manifest,
    Measured,
    Variant,
    device_files,
    find_variant,
    read_manifest,
)
from fogline.bundle.pipelines import draft_pipeline, unpack_pipeline
from fogline.bundle.reader import Bundle, check_file, read_bundle
from fogline.bundle.writer import BundleDraft, VariantDraft, write_bundle

__all__ = [
    "MANIFEST_NAME",
    "PIPELINE_NAME",
    "Bundle",
    "BundleDraft",
    "FileEntry",
    "GoldenCase",
    "Manifest",
    "Measured",
    "Tolerance",
    "Variant",
    "VariantDraft",
    "check_file",
    "decode_cases",
    "device_files",
    "draft_pipeline",
    "encode_cases",
    "find_variant",
    "read_bundle",
    "read_manifest",
    "unpack_pipeline",
    "write_bundle",
]
