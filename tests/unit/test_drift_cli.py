"""`fogline drift compare` on files."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fogline import cli
from fogline_hub.cli.drift import read_season


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str, str]:
    """A reference, rows like it, and rows that drifted."""
    rng = np.random.default_rng(0)
    made = []
    for name, rows, shift in (
        ("ref.parquet", 2000, 0),
        ("same.csv", 300, 0),
        ("moved.csv", 300, 1),
    ):
        table = pd.DataFrame({"wind": rng.normal(size=rows) + shift, "dew": rng.normal(size=rows)})
        path = tmp_path / name
        if path.suffix == ".csv":
            table.to_csv(path)
        else:
            table.to_parquet(path)
        made.append(str(path))
    return made[0], made[1], made[2]


def run(*argv: str) -> int:
    return cli.main(["drift", "compare", *argv])


def test_people_get_a_table(
    files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(files[0], files[2]) == 0
    out = capsys.readouterr().out
    assert out.startswith("DRIFT: wind changed")
    assert "300 rows against 2000" in out
    assert "a row index" in out


def test_scripts_get_one_line_of_json(
    files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(files[0], files[2], "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["detected"], found["verdict"], found["n_current"]) == (True, "drift", 300)


def test_the_exit_code_tells_drift_only_when_asked(files: tuple[str, str, str]) -> None:
    assert run(files[0], files[2], "--exit-code") == 1
    assert run(files[0], files[1], "--exit-code") == 0
    assert run(files[0], files[2]) == 0


def test_broken_correlations_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=2000)
    pd.DataFrame({"a": x, "b": x + 0.3 * rng.normal(size=2000)}).to_parquet(tmp_path / "r.parquet")
    pd.DataFrame(rng.normal(size=(300, 2)), columns=["a", "b"]).to_parquet(tmp_path / "c.parquet")
    run(str(tmp_path / "r.parquet"), str(tmp_path / "c.parquet"))
    assert "a and b" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "code", "said"),
    [
        ("nope.csv", None, 3, "no such file"),
        ("empty.csv", b"", 2, "is empty"),
        ("head.csv", b"wind,dew\n", 2, "no rows"),
        ("bad.parquet", b"PAR1 this is none", 7, "cannot be read as Parquet"),
        ("bad.csv", b"a,b\n1\n2,3,4\n", 7, "cannot be read as CSV"),
        ("data.xlsx", b"x", 2, "must end in"),
        ("noname", b"x", 2, "must end in"),
        ("other.csv", b"rain\n1\n0\n", 2, "no comparable column in common"),
    ],
)
def test_bad_files_are_refused(
    files: tuple[str, str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes | None,
    code: int,
    said: str,
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    assert run(files[0], str(path)) == code
    assert said in capsys.readouterr().err


def test_folders_are_refused(
    files: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lake" / "_delta_log").mkdir(parents=True)
    assert run(files[0], str(tmp_path / "lake")) == 2
    assert "a Delta table is not read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--time", "nope"], "no column 'nope' for time"),
        (["--weights", "nope"], "no column 'nope' for weights"),
        (["--device", "nope"], "no column 'nope' for device"),
        (["--season", "nope"], "no column 'nope' for season"),
        (["--season=-3d"], "must be positive"),
        (["--alpha", "7"], "must lie in (0, 1)"),
    ],
)
def test_bad_options_are_refused(
    files: tuple[str, str, str],
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    said: str,
) -> None:
    assert run(files[0], files[1], *options) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--unit", "week"], ["--alpha", "x"], ["--html", "f.html"]])
def test_unknown_options_exit_with_2(files: tuple[str, str, str], options: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(files[0], files[1], *options)
    assert stopped.value.code == 2


@pytest.mark.parametrize(
    ("text", "season"),
    [("365d", 365 * 86_400.0), ("1y", 365 * 86_400.0), ("90", 90.0), ("month", "month")],
)
def test_seasons_are_lengths_numbers_or_columns(text: str, season: float | str) -> None:
    assert read_season(text) == season
