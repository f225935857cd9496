"""What lies in a repository's folder; reads names, not models.

    DIR/NAME/config.pbtxt           optional; of a model, or of an ensemble
    DIR/NAME/1/model.onnx           versions are numbers from 1, without leading zeros; a folder of
                                    this name holds model.onnx and its external data
    DIR/NAME/labels.txt             as config.pbtxt names it
    DIR/NAME/manifest.json          or: a bundle
    DIR/NAME/pipeline.toml          or: a pipeline of models (or .json)

Files beside the models' folders, and folders whose names begin with a dot, are passed over. Links
may point anywhere within the repository, and nowhere else.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from fogline.bundle import MANIFEST_NAME
from fogline.errors import Exhausted, FoglineError, Forbidden, InvalidInput, NotFound
from fogline.ids import check_name
from fogline.wire.model_config_pb2 import ModelConfig
from fogline_edge.serving.repository.config_file import CONFIG_NAME, ConfigFile, read_config
from fogline_edge.serving.repository.declaration import Declaration, check_named, declare
from fogline_edge.serving.repository.support import is_ensemble
from fogline_edge.serving.shelf import PIPELINE_NAMES

if TYPE_CHECKING:
    from fogline.pipeline import Pipeline

MAX_FOLDERS = 1024
"""Models of one repository."""
MAX_VERSIONS = 256
"""Folders of versions of one model."""
MAX_LABEL_BYTES = 1024 * 1024
MAX_LABELS = 65536

_VERSION = re.compile(r"[1-9][0-9]{0,8}")


class Kind(Enum):
    """What a folder of a repository holds."""

    MODEL = "model"
    BUNDLE = "bundle"
    PIPELINE = "pipeline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One folder of a repository, as far as its names and its configuration tell."""

    name: str
    kind: Kind
    folder: Path
    versions: Mapping[int, Path] = field(default_factory=dict)
    """The model file, the bundle or the pipeline of each version that is to be served."""
    declaration: Declaration = field(default_factory=Declaration)
    message: ModelConfig | None = None
    """The `config.pbtxt`; None where there is none."""
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Contents of the label files, by output."""
    pipeline: "Pipeline | None" = None
    """What an ensemble comes to."""


def is_repository(folder: Path) -> bool:
    """Whether a folder holds models, rather than being one itself."""
    return any(_may_be_model(Path(entry.path)) for entry in _folders(folder))


def list_models(root: Path) -> list[str]:
    """Names of the folders that may be models, sorted.

    Raises:
        NotFound: there is no such folder.
        Exhausted: it has more than `MAX_FOLDERS`.
    """
    names = sorted(_shown(entry.name) for entry in _folders(root))
    if len(names) > MAX_FOLDERS:
        raise Exhausted(f"{root}: {len(names)} folders, at most {MAX_FOLDERS} are served")
    return names


def look_up(root: Path, name: str) -> Found:
    """Reads one model's folder.

    Raises:
        NotFound: there is no such folder.
        InvalidInput: the name is not legal, the folder holds nothing that is served, or the
            configuration is wrong.
        Unsupported: the configuration asks for what is not served.
        Forbidden: a link points out of the repository.
        Exhausted: it has too many versions.
    """
    check_name(name, "model name")
    try:
        return _read(root, root / name, name)
    except OSError as e:
        where = f"{name}/{Path(os.fsdecode(e.filename)).name[:80]}" if e.filename else name
        raise InvalidInput(f"{where}: cannot be read: {_why(e)}") from e


def _read(root: Path, folder: Path, name: str) -> Found:
    if not folder.is_dir():
        raise NotFound(f"there is no model {name!r} in the repository")
    confined(folder, root)
    kind = _kind_of(folder)
    if kind is None:
        raise InvalidInput(
            f"{name}: holds neither a version's folder, as {name}/1, nor {MANIFEST_NAME} or "
            f"{PIPELINE_NAMES[0]}"
        )
    if kind is Kind.MODEL:
        return _model(root, folder, name)
    for file in (MANIFEST_NAME, *PIPELINE_NAMES):
        if os.path.lexists(folder / file):
            confined(folder / file, root)
    return Found(name=name, kind=kind, folder=folder, versions={1: folder})


def confined(path: Path, root: Path) -> Path:
    """`path`, if it is within the repository when all links are followed.

    Raises:
        NotFound: there is nothing.
        Forbidden: it is elsewhere.
    """
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError) as e:
        raise NotFound(f"{path.relative_to(root)}: {_why(e)}") from None
    if not real.is_relative_to(root.resolve()):
        raise Forbidden(f"{path.relative_to(root)}: a link that points out of the repository")
    return path


def _model(root: Path, folder: Path, name: str) -> Found:
    declaration, message = Declaration(), None
    config = folder / CONFIG_NAME
    if os.path.lexists(config):
        parsed = read_config(_regular(config, root))
        if is_ensemble(parsed):
            return _ensemble(folder, name, parsed)
        declaration, message = declare(parsed, name), parsed.message
    numbers = _versions(folder)
    if not numbers:
        raise InvalidInput(f"{name}: has no version; put the model at {name}/1/model.onnx")
    return Found(
        name=name,
        kind=Kind.MODEL,
        folder=folder,
        versions={
            n: _model_file(folder / str(n) / declaration.model_file, root)
            for n in declaration.versions.choose(numbers)
        },
        declaration=declaration,
        message=message,
        labels={
            t.name: read_labels(_regular(folder / t.label_file, root))
            for t in declaration.outputs
            if t.label_file
        },
    )


def _ensemble(folder: Path, name: str, config: ConfigFile) -> Found:
    """As its highest version's folder has it, which is empty; or as version 1 without one."""
    from fogline_edge.serving.pipelines.ensemble import pipeline_of_ensemble  # 3 MB

    check_named(config, name)
    config.message.name = name
    return Found(
        name=name,
        kind=Kind.PIPELINE,
        folder=folder,
        versions={max(_versions(folder), default=1): folder},
        message=config.message,
        pipeline=pipeline_of_ensemble(config.message),
    )


def _model_file(path: Path, root: Path) -> Path:
    """The file itself, or the one of the same name in a folder of that name."""
    if path.is_dir():
        confined(path, root)
        path = path / path.name
    return _regular(path, root)


def read_labels(path: Path) -> tuple[str, ...]:
    """A label a line. Raises `InvalidInput` for what is no such file."""
    with path.open("rb") as file:
        data = file.read(MAX_LABEL_BYTES + 1)
    try:
        labels = tuple(data.decode().splitlines())
    except UnicodeDecodeError:
        raise InvalidInput(f"{path.name}: labels must be UTF-8") from None
    if len(data) > MAX_LABEL_BYTES or len(labels) > MAX_LABELS or any(len(t) > 256 for t in labels):
        raise InvalidInput(f"{path.name}: at most {MAX_LABELS} labels of 256 characters are read")
    return labels


def _regular(path: Path, root: Path) -> Path:
    confined(path, root)
    if not path.is_file():
        raise InvalidInput(f"{path.relative_to(root)}: not a regular file")
    return path


def _kind_of(folder: Path) -> Kind | None:
    if (folder / MANIFEST_NAME).is_file():
        return Kind.BUNDLE
    if any((folder / name).is_file() for name in PIPELINE_NAMES):
        return Kind.PIPELINE
    if os.path.lexists(folder / CONFIG_NAME) or _versions(folder):
        return Kind.MODEL
    return None


def _may_be_model(folder: Path) -> bool:
    """Also where that cannot be told: the model is then listed with the reason."""
    try:
        return _kind_of(folder) is not None
    except (OSError, FoglineError):
        return True


def _versions(folder: Path) -> list[int]:
    found = [int(e.name) for e in _folders(folder) if _VERSION.fullmatch(e.name)]
    if len(found) > MAX_VERSIONS:
        raise Exhausted(f"{folder.name}: {len(found)} versions, at most {MAX_VERSIONS} are served")
    return sorted(found)


def _folders(path: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(path) as entries:
            return [e for e in entries if not e.name.startswith(".") and _may_be_folder(e)]
    except OSError as e:
        raise NotFound(f"{path}: {_why(e)}") from None


def _may_be_folder(entry: "os.DirEntry[str]") -> bool:
    """Also where that cannot be told, as of a link to itself: the model is then listed with it."""
    try:
        return entry.is_dir()
    except OSError:
        return True


def _shown(name: str) -> str:
    """A file's name as text that any message can carry."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or "cannot be followed"
