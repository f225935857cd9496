from fogline_edge.link.window import Mode, Window, WindowConfig


def make(**bounds: float) -> Window:
    config = WindowConfig(**bounds)  # type: ignore[arg-type]
    window = Window(config, rng=lambda: 0.0)
    window.connected()
    return window


def drain(window: Window, now: float, limit: int = 5000) -> list[tuple[str, int]]:
    """Publishes all that may go out at `now`."""
    out: list[tuple[str, int]] = []
    while (found := window.next(now)) is not None and len(out) < limit:
        window.sent(*found, now)
        out.append(found)
    return out


def opened(stream: str, rows: int, **bounds: float) -> Window:
    """A window whose hub has just acknowledged row 1, with rows 2 to `rows` waiting."""
    window = make(**bounds)
    window.offer(stream, [(1, 100)])
    drain(window, 0.0)
    window.acknowledged(stream, 1, [], 0.0)
    window.offer(stream, [(n, 100) for n in range(2, rows + 1)])
    return window


def test_only_the_oldest_goes_out_until_the_hub_has_answered() -> None:
    window = make()
    window.offer("sample", [(n, 100) for n in range(1, 6)])
    assert drain(window, 0.0) == [("sample", 1)]
    window.acknowledged("sample", 1, [], 0.1)
    assert drain(window, 0.1) == [("sample", n) for n in range(2, 6)]


def test_the_most_important_stream_goes_first() -> None:
    window = make()
    for stream in ("event", "sample", "alarm", "summary", "feedback"):
        window.offer(stream, [(1, 100)])
    sent = [stream for stream, _ in drain(window, 0.0)]
    assert sent == ["alarm", "feedback", "summary", "sample", "event"]


def test_a_stream_without_answers_does_not_hold_up_another() -> None:
    window = opened("sample", 3)
    window.offer("alarm", [(1, 100), (2, 100)])
    drain(window, 0.0)
    window.acknowledged("sample", 3, [], 0.5)
    window.offer("sample", [(4, 100)])
    assert drain(window, 0.5) == [("sample", 4)]


def test_at_most_1024_rows_beyond_the_floor_are_out() -> None:
    window = opened("sample", 5000)
    assert len(drain(window, 0.0)) == 1024
    window.acknowledged("sample", 1, [(1000, 1025)], 0.1)
    assert "sample" not in [stream for stream, _, _ in window.wants()]
    window.acknowledged("sample", 11, [], 0.2)
    assert ("sample", 1025, 10) in list(window.wants())


def test_bytes_out_are_bounded_but_the_oldest_always_goes() -> None:
    window = make(max_bytes=65_536)
    window.offer("sample", [(1, 100)])
    drain(window, 0.0)
    window.acknowledged("sample", 1, [], 0.0)
    window.offer("sample", [(n, 40_000) for n in range(2, 9)])
    assert drain(window, 0.0) == [("sample", 2), ("sample", 3)]
    assert window.bytes_out("sample") == 80_000
    window.acknowledged("sample", 2, [], 0.1)
    assert drain(window, 0.1) == [("sample", 4)]


def test_without_an_answer_only_the_oldest_is_sent_again_with_doubling_waits() -> None:
    window = opened("sample", 10, patience=100)
    assert len(drain(window, 0.0)) == 9
    times = []
    for _ in range(12):
        due = window.due_at()
        assert due is not None
        assert drain(window, due - 0.01) == []
        assert drain(window, due) == [("sample", 2)]
        times.append(due)
    waits = [b - a for a, b in zip([0.0, *times], times, strict=False)]
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]


def test_an_answer_starts_the_waits_anew() -> None:
    window = opened("sample", 4)
    drain(window, 0.0)
    drain(window, 1.0)
    window.acknowledged("sample", 2, [], 1.5)
    assert window.due_at() == 2.5


def test_jitter_only_lengthens_the_wait() -> None:
    window = Window(rng=lambda: 0.999)
    window.connected()
    window.offer("sample", [(1, 1)])
    drain(window, 0.0)
    due = window.due_at()
    assert due is not None
    assert 1.0 <= due <= 1.5


def test_a_hole_below_an_acknowledged_range_is_sent_again_at_once_and_once() -> None:
    window = opened("sample", 10)
    drain(window, 0.0)
    window.acknowledged("sample", 1, [(4, 5), (8, 8)], 1.0 - 1e-9)
    assert window.next(1.0 - 1e-9) is None
    window.acknowledged("sample", 1, [(4, 5), (8, 8)], 1.5)
    assert drain(window, 1.5) == [("sample", n) for n in (2, 3, 6, 7)]
    window.acknowledged("sample", 1, [(4, 5), (8, 8)], 1.6)
    assert drain(window, 1.6) == []


def test_after_a_reconnect_all_that_was_out_is_unsent_behind_one_probe() -> None:
    window = opened("sample", 5)
    drain(window, 0.0)
    window.connected()
    assert window.bytes_out("sample") == 0
    assert drain(window, 100.0) == [("sample", 2)]
    window.acknowledged("sample", 3, [], 100.2)
    assert drain(window, 100.2) == [("sample", 4), ("sample", 5)]


def test_a_silent_hub_is_probed_and_gets_everything_again_when_it_answers() -> None:
    window = opened("sample", 6)
    drain(window, 0.0)
    for now in (1.0, 3.0, 7.0):
        assert drain(window, now) == [("sample", 2)]
    assert window.mode("sample") is Mode.PROBING
    window.acknowledged("sample", 2, [], 8.0)
    assert drain(window, 8.0) == [("sample", n) for n in range(3, 7)]


def test_a_row_that_the_outbox_dropped_is_skipped() -> None:
    window = make()
    window.offer("sample", [(1, 10), (2, 10)])
    drain(window, 0.0)
    window.gone("sample", 1, 0.5)
    assert drain(window, 0.5) == [("sample", 2)]
    window.gone("sample", 2, 0.6)
    assert window.due_at() is None
