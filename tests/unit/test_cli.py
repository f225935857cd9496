import subprocess
import sys

import pytest

from fogline import cli, errors


def all_subclasses(kind: type[Exception]) -> set[type[Exception]]:
    """Of the tree itself; a room's own refinement of an error has its parent's row."""
    known = [k for k in kind.__subclasses__() if k.__module__ == errors.__name__]
    return {kind}.union(*(all_subclasses(k) for k in known))


def test_every_error_has_an_exit_code_of_its_own_row() -> None:
    assert set(cli.EXIT_CODES) == all_subclasses(errors.FoglineError)


def test_exit_code_rows_stand_before_their_parents() -> None:
    rows = list(cli.EXIT_CODES)
    for i, kind in enumerate(rows):
        assert not any(issubclass(later, kind) for later in rows[i + 1 :])


def test_version_and_help_need_neither_side(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert "fogline 0." in out
    assert "drift compare" in out


def test_unknown_command_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["hub", "explode"]) == 2
    assert "hub init" in capsys.readouterr().err


def test_importing_the_cli_loads_no_heavy_package() -> None:
    code = (
        "import sys, fogline.cli; heavy = {'numpy', 'onnxruntime', 'grpc', 'sqlalchemy', "
        "'deltalake', 'google'}; sys.exit(sorted(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
