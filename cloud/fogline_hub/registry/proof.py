"""Proves a pushed bundle with the same program by which a device qualifies a variant."""

from pathlib import Path

from fogline.bundle import Manifest


def prove_bundle(folder: Path, manifest: Manifest) -> None:
    """Raises `InvalidInput` with the reason where a variant does not hold."""
    from fogline.runtime.qualify import prove

    for variant in manifest.variants:
        prove(folder, variant.name)
