"""Every code block of `docs/triton.md` is run, in its order, as someone who moves over would."""

import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fogline.sandbox import Child, start_child
from fogline_edge.serving.tokens import holder_of, read_tokens

GUIDE = Path(__file__).parents[2] / "docs" / "triton.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PORT = re.compile(r"(?<=127\.0\.0\.1:)\d+")


def with_free_ports(text: str) -> str:
    free: dict[str, str] = {}
    for port in set(PORT.findall(text)):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            free[port] = str(probe.getsockname()[1])
    return PORT.sub(lambda found: free[found[0]], text)


class Mover:
    """Runs the blocks in one folder, and keeps the server that one of them starts."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.servers: list[Child] = []
        (home / ".venv").symlink_to(Path(sys.prefix), target_is_directory=True)

    def run(self, language: str, code: str) -> str:
        if code.startswith(".venv/bin/fogline serve"):
            self.servers.append(start_child(shlex.split(code), cwd=self.home, stderr=None))
            return self.servers[-1].wait_line("ready ", 60.0)
        program = {"sh": ["bash", "-ec"], "python": [sys.executable, "-c"]}[language]
        done = subprocess.run(
            [*program, code],
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def mover(tmp_path: Path) -> Iterator[Mover]:
    made = Mover(tmp_path)
    yield made
    for server in made.servers:
        server.kill()


def test_every_block_of_the_guide_does_what_it_says(mover: Mover) -> None:
    text = with_free_ports(GUIDE.read_text())
    printed = "".join(mover.run(language, code) for language, code in BLOCK.findall(text))
    said = re.search(r"It says `(ready [^`]*)`", text)
    assert said is not None
    assert said[1] in printed
    assert "64" in printed
    assert (mover.home / "tokens.toml").stat().st_mode & 0o777 == 0o600
    assert mover.servers[0].terminate(30.0).is_success


def test_the_token_file_of_the_guide_is_read(mover: Mover) -> None:
    text = GUIDE.read_text()
    (code,) = (code for _, code in BLOCK.findall(text) if "openssl" in code)
    mover.run("sh", code)
    tokens = read_tokens(mover.home / "tokens.toml")
    secret = (mover.home / "app.token").read_text().strip()
    assert holder_of(f"Bearer {secret}", tokens, datetime.now(UTC)).name == "app"
