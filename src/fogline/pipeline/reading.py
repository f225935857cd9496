"""Definitions on disk: `pipeline.toml` or `pipeline.json`."""

from pathlib import Path

import msgspec

from fogline.errors import InvalidInput, NotFound
from fogline.pipeline.definition import Pipeline
from fogline.pipeline.parts import Component
from fogline.records import decode_json

FILE_NAMES = ("pipeline.toml", "pipeline.json")
MAX_DEFINITION_BYTES = 4 * 1024 * 1024


def read_pipeline(path: Path) -> Pipeline:
    """Reads a definition from a `.toml` or `.json` file, or from the one in a folder.

    Raises:
        NotFound: there is none.
        InvalidInput: it is not one; the text names the file and what in it.
    """
    file = definition_file(path)
    try:
        size = file.stat().st_size
        if size > MAX_DEFINITION_BYTES:
            raise InvalidInput(f"{file}: {size} bytes, at most {MAX_DEFINITION_BYTES} are read")
        data = file.read_bytes()
    except OSError as e:
        raise NotFound(f"{file}: {e.strerror}") from e
    if file.suffix == ".json":
        return decode_json(data, Pipeline, str(file), fault=InvalidInput)
    try:
        return msgspec.toml.decode(data, type=Pipeline)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise InvalidInput(f"{file}: {e}") from e


def definition_file(path: Path) -> Path:
    """The definition at `path`: itself, or the one file of its name in a folder.

    Raises:
        NotFound: there is none.
        InvalidInput: there are two, or the file is of another kind.
    """
    if path.is_dir():
        found = [path / name for name in FILE_NAMES if (path / name).is_file()]
        if len(found) > 1:
            raise InvalidInput(f"{path} has {' and '.join(FILE_NAMES)}; keep one of them")
        if not found:
            raise NotFound(f"{path} has no {' or '.join(FILE_NAMES)}")
        return found[0]
    if path.suffix not in (".toml", ".json"):
        raise InvalidInput(f"{path}: a pipeline is defined in a .toml or .json file")
    if not path.is_file():
        raise NotFound(f"{path}: no such file")
    return path


def component_path(file: Path, key: str, component: Component) -> Path:
    """Where a component's file or bundle lies that the definition in `file` brings.

    Raises:
        InvalidInput: outside the definition's own folder.
    """
    folder = file.parent.resolve()
    path = (folder / component.path).resolve()
    if Path(component.path).is_absolute() or not path.is_relative_to(folder):
        raise InvalidInput(
            f"{file}, component {key!r}: {component.path[:200]!r} leads out of {file.parent}"
        )
    return path
