"""What the benchmarks build or fetch once: programs, models, and virtual environments of peers.

All of it stands in `$XDG_CACHE_HOME/fogline-benchmarks`, and may be deleted at any time.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
INSTALL_TIMEOUT_S = 900.0


class Missing(Exception):
    """Something that a benchmark can do without, or says how to get."""


def folder() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    made = base / "fogline-benchmarks"
    made.mkdir(parents=True, exist_ok=True)
    return made


def load_program() -> Path:
    """The load generator, built from `load.c`. Raises `Missing`."""
    flags = ("-O2", "-std=gnu11")
    return _built("load.c", ("cc", *flags), ("libnghttp2", "openssl"), "libnghttp2-dev libssl-dev")


def echo_program() -> Path:
    """The C++ echo, built from `echo.cc`. Raises `Missing`."""
    return _built("echo.cc", ("c++", "-O2", "-std=c++17"), ("grpc++",), "libgrpc++-dev g++")


def magika_model() -> Path:
    """The model file that the PyPI package `magika` ships. Raises `Missing`."""
    model = folder() / "magika.onnx"
    if not model.exists():
        wheels = folder() / "wheels"
        run(
            (
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "magika",
                "-d",
                wheels,
            )
        )
        (wheel,) = wheels.glob("magika-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (n for n in archive.namelist() if n.endswith("/model.onnx"))
            _write(model, archive.read(name))
        shutil.rmtree(wheels)
    return model


def environment_with(name: str, *requirements: str, can_install: bool) -> Path:
    """The Python of a virtual environment that has `requirements`. Raises `Missing`."""
    root = folder() / name
    stamp, python = root / ".installed", root / "bin" / "python"
    wanted = " ".join(requirements)
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    if not can_install:
        raise Missing(f"{wanted} not installed; a run without --quick does it")
    shutil.rmtree(root, ignore_errors=True)
    run((sys.executable, "-m", "venv", root))
    run((python, "-m", "pip", "install", "--quiet", *requirements))
    stamp.write_text(wanted)
    return python


def _built(source: str, compiler: Sequence[str], packages: Sequence[str], debian: str) -> Path:
    text = (HERE / source).read_bytes()
    program = folder() / f"{Path(source).stem}-{hashlib.sha256(text).hexdigest()[:12]}"
    if program.exists():
        return program
    try:
        flags = run(("pkg-config", "--cflags", "--libs", *packages)).split()
        partial = program.with_suffix(f".{os.getpid()}")
        run((*compiler, "-o", partial, HERE / source, *flags))
    except Missing as e:
        raise Missing(f"{source} cannot be built ({e}): apt-get install {debian}") from e
    partial.replace(program)
    return program


def run(command: Sequence[str | Path]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=INSTALL_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        raise Missing(f"{command[0]}: {e}") from e
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Missing(f"{' '.join(map(str, command[:4]))}: {last}")
    return done.stdout


def _write(path: Path, data: bytes) -> None:
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_bytes(data)
    partial.replace(path)
