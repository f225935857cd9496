"""Which sources are code, and what the child that loads one may reach."""

from collections.abc import Iterable
from pathlib import Path

from fogline.sandbox import ISOLATED, Mechanism, Room

DATA_SUFFIXES = frozenset({".onnx", ".json", ".ubj", ".txt", ".cbm", ".skops"})
"""Files whose readers make nothing but numbers and texts of them. `.skops` files may hold more; the
child looks at their types before it reads them, and wants isolation for what it does not know."""


def carries_code(source: Path) -> bool:
    """True unless the source is known to be data alone; folders and unknown files are code."""
    return source.is_dir() or source.suffix not in DATA_SUFFIXES


def conversion_room(
    folder: Path, source: Path, data: Iterable[Path], without: frozenset[Mechanism]
) -> Room:
    """The room of a conversion: source and data to read, `folder` to write, and nothing else."""
    return Room(
        scratch=str(folder),
        read=tuple(str(path.resolve()) for path in (*_source_files(source), *data)),
        required=ISOLATED if carries_code(source) else frozenset(),
        without=without,
    )


def _source_files(source: Path) -> tuple[Path, ...]:
    """The source, and for ONNX, which is no code, its folder: weights may be files beside it.

    In the home folder, or above it, only files that are named after the model.
    """
    if source.suffix != ".onnx" or not source.is_file():
        return (source,)
    folder, home = source.resolve().parent, Path.home().resolve()
    if folder == home or folder in home.parents:
        return (source, *(p for p in folder.iterdir() if p.name.startswith(source.stem)))
    return (source, folder)
