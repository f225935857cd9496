"""Where a version comes from: source, data, packages and choices, as the bundle's lineage.json."""

import platform
from datetime import datetime
from importlib import metadata
from typing import Annotated

from msgspec import Meta

from fogline import __version__
from fogline.records import Record

PACKAGES = ("fogline", "onnx", "onnxruntime", "numpy")


class DataOrigin(Record, frozen=True, kw_only=True):
    """One table that was used."""

    name: str
    sha256: str
    rows: int
    """Of the file."""
    rows_used: int
    columns: tuple[str, ...]


class Lineage(Record, frozen=True, kw_only=True):
    """All that decides what a conversion makes."""

    source: str
    source_sha256: str
    source_bytes: int
    framework: str
    kind: Annotated[str, Meta(max_length=1000)]
    plan: str
    sample: DataOrigin
    holdout: DataOrigin | None
    target: str | None
    packages: dict[str, str]
    python: str
    machine: str
    created_at: datetime


def package_versions(names: tuple[str, ...]) -> dict[str, str]:
    """Versions of the installed distributions among `names` and Fogline's own."""
    found = {"fogline": __version__}
    for name in sorted({*names, *PACKAGES} - {"fogline"}):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def python_version() -> str:
    return platform.python_version()


def machine() -> str:
    return f"{platform.system()} {platform.machine()}"
