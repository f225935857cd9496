"""When the TLS files of a listener are looked at, taken up, or left alone."""

from pathlib import Path

import pytest

from fogline.errors import InvalidInput
from fogline_edge.serving.calls import Tls
from fogline_edge.serving.front.tls import LOOK_S, Renewed, context_of
from tests.certificates import Authority


def test_files_are_looked_at_at_most_once_in_a_while_and_made_anew_when_they_change(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    renewed = Renewed(authority.tls(), context_of)
    first = renewed.current(0.0)
    assert renewed.current(LOOK_S) is first
    authority.sign("server")
    assert renewed.current(1.5 * LOOK_S) is first
    second = renewed.current(2 * LOOK_S)
    assert second is not first
    assert renewed.current(9 * LOOK_S) is second


def test_what_does_not_fit_is_told_once_and_tried_until_it_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path)
    tls = authority.tls()
    renewed = Renewed(tls, context_of)
    first = renewed.current(0.0)
    good = tls.key.read_bytes()
    tls.key.write_text("half of a k")
    for i in range(1, 5):
        assert renewed.current(i * LOOK_S) is first
    assert caplog.text.count("do not fit") == 1
    tls.key.unlink()
    assert renewed.current(5 * LOOK_S) is first
    assert renewed.current(6 * LOOK_S) is first
    assert caplog.text.count("do not fit") == 2
    tls.key.write_bytes(good)
    assert renewed.current(7 * LOOK_S) is not first


def test_what_fails_though_no_file_changes_is_tried_again(tmp_path: Path) -> None:
    """As when the process has no descriptor left."""
    authority = Authority(tmp_path)
    is_failing = False

    def make(tls: Tls) -> object:
        if is_failing:
            raise InvalidInput("TLS: too many open files")
        return context_of(tls)

    renewed = Renewed(authority.tls(), make)
    first = renewed.current(0.0)
    authority.sign("server")
    is_failing = True
    assert renewed.current(1 * LOOK_S) is first
    is_failing = False
    assert renewed.current(2 * LOOK_S) is not first
