"""What docs/pipelines.md shows: definitions are definitions, commands and code do what they say."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fogline.pipeline import Pipeline
from tests.e2e.test_readme import BLOCK, PORT, Newcomer

PAGE = Path(__file__).resolve().parents[2] / "docs" / "pipelines.md"
BLOCKS: list[tuple[str, str]] = BLOCK.findall(PAGE.read_text())


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    made = Newcomer(tmp_path)
    yield made
    for child in made.running:
        child.kill()


def test_every_definition_of_the_page_is_one() -> None:
    names = [
        msgspec.toml.decode(code, type=Pipeline).name for kind, code in BLOCKS if kind == "toml"
    ]
    assert names == ["digits", "greeting"]


@pytest.mark.timeout(200)
def test_every_command_of_the_page_does_what_it_says(newcomer: Newcomer) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    code = [(kind, PORT.sub(port, text)) for kind, text in BLOCKS if kind in ("sh", "python")]
    printed = "".join(newcomer.type(kind, text) for kind, text in code)
    assert "digits: fits" in printed
    assert "ready grpc=" in printed
    read = re.search(r"digits read: ([\d.]+)", printed)
    assert read is not None
    assert float(read[1]) > 0.98
    assert "[[2.]]" in printed
    newcomer.end()
