"""`python -m examples.rainfall`, which is what `make demo` runs."""

import argparse
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from examples.rainfall.chart import draw
from examples.rainfall.checks import problems
from examples.rainfall.commands import StepFailed
from examples.rainfall.report import closing
from examples.rainfall.settings import Settings
from examples.rainfall.story import run
from fogline import console
from fogline.errors import Conflict, FoglineError

MARK = ".rainfall-demo"
"""Lies in every folder that this program made, so that it empties no other one."""


def main(argv: list[str]) -> int:
    """Returns 0 where every step did what it says, else 1; 130 when interrupted."""
    settings = _settings(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    began = time.monotonic()
    try:
        found = _play(settings)
    except (StepFailed, FoglineError) as e:
        console.say(f"the demonstration failed: {e}")
        return 1
    except KeyboardInterrupt:
        console.say("interrupted; everything that was started is ended")
        return 130
    for problem in found:
        console.say(f"not as promised: {problem}")
    took = f"{time.monotonic() - began:.0f} s"
    console.say(f"done in {took}" if not found else f"failed after {took}")
    return 1 if found else 0


def _play(settings: Settings) -> list[str]:
    _empty(settings.out)
    state = settings.out / "state"
    state.mkdir(mode=0o700)
    results = run(settings, state)
    text = closing(results)
    print(f"\n{text}\n", flush=True)
    (settings.out / "closing.txt").write_text(text + "\n")
    chart = settings.out / "years.png"
    draw(results, chart)
    console.say(f"chart: {chart}")
    found = problems(results, is_shuffled=settings.shuffle)
    if not settings.keep and not found:
        shutil.rmtree(state)
    return found


def _empty(folder: Path) -> None:
    """Makes the output folder anew.

    Raises:
        Conflict: it holds something that this program did not make.
    """
    if folder.exists():
        if not (folder / MARK).is_file() and any(folder.iterdir()):
            raise Conflict(f"{folder} holds other files; name another folder with --out")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARK).touch()


def _settings(argv: list[str]) -> Settings:
    parser = argparse.ArgumentParser(
        prog="python -m examples.rainfall",
        description="The whole loop on fifty years of real daily weather: a hub and three stations "
        "on this machine, a model of the first five years, and what becomes of it.",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of training and shuffle")
    parser.add_argument(
        "--shuffle", action="store_true", help="days in random order: then nothing must happen"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("demo-output"), metavar="DIR", help="(demo-output)"
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep what hub and stations stored, in DIR/state"
    )
    given = parser.parse_args(argv)
    return Settings(seed=given.seed, shuffle=given.shuffle, out=given.out, keep=given.keep)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
