"""`docs/triton.md` says of every field and parameter what the code does with it."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from fogline_edge.serving.metrics import families
from fogline_edge.serving.repository.support import FIELDS, PARAMETERS, Row
from tests.unit.test_metrics_text import snapshot_of_one

GUIDE = Path(__file__).parents[2] / "docs" / "triton.md"


def table(rows: Mapping[str, Row], head: str) -> str:
    """The rows as the guide has them, in the code's order."""
    lines = [f"| {head} | | |", "|---|---|---|"]
    for name, row in rows.items():
        only = f"{', '.join(f'`{value}`' for value in row.only)} alone: " if row.only else ""
        lines.append(f"| `{name}` | {row.effect} | {only}{row.text} |")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("part", "rows", "head"),
    [("fields", FIELDS, "Field"), ("parameters", PARAMETERS, "Parameter")],
)
def test_the_guide_has_every_row(part: str, rows: Mapping[str, Row], head: str) -> None:
    found = re.search(rf"<!-- {part} -->\n(.*?)<!-- end -->", GUIDE.read_text(), re.DOTALL)
    assert found is not None
    assert found[1].strip() == table(rows, head)


def test_the_guide_names_metrics_that_there_are() -> None:
    names = {family.name for family in families(snapshot_of_one())}
    named = set(re.findall(r"`(fogline_\w+)", GUIDE.read_text()))
    assert named
    assert named <= names
