import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogline import errors, http_errors
from fogline.errors import FoglineError, InvalidInput
from fogline.records import canonical_json
from fogline_hub.cli.fleet import parse_duration


def all_subclasses(kind: type[Exception]) -> set[type[Exception]]:
    """Of the tree itself; a room's own refinement of an error has its parent's row."""
    known = [k for k in kind.__subclasses__() if k.__module__ == errors.__name__]
    return {kind}.union(*(all_subclasses(k) for k in known))


def test_every_error_has_a_status_and_stands_before_its_parents() -> None:
    rows = list(http_errors.STATUS)
    assert set(rows) == all_subclasses(errors.FoglineError)
    for i, kind in enumerate(rows):
        assert not any(issubclass(later, kind) for later in rows[i + 1 :])


@given(st.sampled_from(list(http_errors.STATUS)), st.text())
def test_an_error_comes_out_as_the_class_and_text_that_went_in(
    kind: type[FoglineError], text: str
) -> None:
    error = kind(text.encode("utf-8", "replace").decode())
    body = canonical_json(http_errors.body_of(error))
    back = http_errors.error_from(http_errors.status_of(error), body, "a call")
    assert type(back) is kind
    assert str(back) == str(error)


@given(st.integers(400, 599), st.binary(max_size=200))
def test_any_answer_is_some_error(status: int, body: bytes) -> None:
    assert isinstance(http_errors.error_from(status, body, "a call"), FoglineError)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, errors.Forbidden),
        (404, errors.NotFound),
        (418, errors.InvalidInput),
        (500, errors.Unavailable),
        (502, errors.Unavailable),
    ],
)
def test_an_answer_that_no_hub_gave_is_judged_by_its_status(
    status: int, kind: type[FoglineError]
) -> None:
    for body in (b"", b"<html>", b"\xff", b"{}"):
        error = http_errors.error_from(status, body, "GET /x of http://h")
        assert type(error) is kind
        assert "GET /x" in str(error)


@given(st.integers(0, 10**9 - 1), st.sampled_from("smhd"))
def test_a_length_of_time_is_read(number: int, unit: str) -> None:
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86_400}[unit] * number
    if seconds < 10**9:
        assert parse_duration(f"{number}{unit}").total_seconds() == seconds


@pytest.mark.parametrize(
    "text", ["", "1", "h", "1.5h", "-1h", "1 h", "1w", "9" * 10 + "s", "\u0661h"]
)
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="90s, 30m"):
        parse_duration(text)
