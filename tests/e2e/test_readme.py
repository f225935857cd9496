"""Every code block of the README is run, in its order, as a newcomer would."""

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fogline.sandbox import Child, start_child

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
GOES_ON = re.compile(r"\.venv/bin/fogline (serve|hub start|agent run) ")
"""Commands that say `ready` and run until they are ended."""
PORT = re.compile(r"(?<=127\.0\.0\.1:)\d+")


class Newcomer:
    """Types line by line what the README says, in a folder with `.venv` and `examples`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.exported: dict[str, str] = {}
        self.running: list[Child] = []
        (home / ".venv").symlink_to(Path(sys.prefix), target_is_directory=True)
        (home / "examples").symlink_to(ROOT / "examples", target_is_directory=True)

    def type(self, language: str, code: str) -> str:
        """Returns what the block printed."""
        assert language in ("sh", "python"), f"a block of {language} is run by nobody"
        if language == "python":
            return self._run([sys.executable, "-c", code])
        return "".join(self._line(line) for line in code.splitlines())

    def end(self) -> None:
        for child in reversed(self.running):
            assert child.terminate(30.0).is_success

    def _line(self, line: str) -> str:
        if line.startswith("make "):  # these two are what runs this test, and `make test-slow`
            return self._run(["make", "--dry-run", "-C", str(ROOT), line.split()[1]])
        if GOES_ON.match(line):
            self.running.append(start_child(shlex.split(line), cwd=self.home, stderr=None))
            return self.running[-1].wait_line("ready ", 60.0) + "\n"
        printed = self._run(["bash", "-ec", f"{line}\nenv -0 > exported"])
        for entry in (self.home / "exported").read_text().split("\0"):
            name, _, value = entry.partition("=")
            if name.startswith("FOGLINE_"):
                self.exported[name] = value
        return printed

    def _run(self, argv: list[str]) -> str:
        done = subprocess.run(
            argv,
            cwd=self.home,
            env={**os.environ, **self.exported},
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, f"{argv[-1]}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    made = Newcomer(tmp_path)
    yield made
    for child in made.running:
        child.kill()


def blocks() -> list[tuple[str, str]]:
    """(language, code) of all blocks, with ports that nobody else uses."""
    text = (ROOT / "README.md").read_text()
    with_blocks = BLOCK.findall(text)
    free: dict[str, str] = {}
    for port in {p for _, code in with_blocks for p in PORT.findall(code)}:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            free[port] = str(probe.getsockname()[1])
    return [(kind, PORT.sub(lambda m: free[m[0]], code)) for kind, code in with_blocks]


@pytest.mark.timeout(300)
def test_every_block_of_the_readme_does_what_it_says(newcomer: Newcomer) -> None:
    printed = "".join(newcomer.type(language, code) for language, code in blocks())
    for words in ("ready grpc=", "DRIFT", "ready api=", "enrolled as device", "rain@1 published"):
        assert words in printed, printed
    newcomer.end()


def test_links_of_the_readme_lead_somewhere() -> None:
    for path in re.findall(r"\]\((?!http)([^)]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / path).exists(), path
