"""Outcomes on their way to the disk: bounded, and given up when the server stops."""

import threading

import pytest
from google.protobuf.message import Message

from fogline.clock import wait_until
from fogline.errors import Exhausted, FoglineError, Unavailable
from fogline.wire.edge_pb2 import FeedbackRequest
from fogline_edge.serving import Models
from fogline_edge.serving.edge import MAX_WAITING, MAX_WRITERS, Edge


def test_what_waits_to_be_stored_is_bounded_and_given_up_at_the_end() -> None:
    go_on = threading.Event()
    stored: list[str] = []
    replies: list[Message | FoglineError] = []

    def take(message: FeedbackRequest) -> tuple[int, int]:
        go_on.wait(20)
        stored.append(message.prediction_id)
        return 1, 0

    edge = Edge(Models(), take, None)
    for i in range(MAX_WAITING):  # of calls that may all have ended
        edge.feedback(FeedbackRequest(prediction_id=str(i)), replies.append)
    with pytest.raises(Exhausted, match="wait to be stored"):
        edge.feedback(FeedbackRequest(), replies.append)
    closing = threading.Thread(target=edge.close)
    closing.start()
    assert wait_until(lambda: refuses(edge), timeout_s=10)
    go_on.set()
    closing.join(20)
    assert sorted(stored, key=int) == [str(i) for i in range(MAX_WRITERS)]
    assert len(replies) == MAX_WRITERS


def refuses(edge: Edge) -> bool:
    try:
        edge.feedback(FeedbackRequest(), lambda _: None)
    except Unavailable:
        return True
    except Exhausted:
        return False
    raise AssertionError("it was taken")


def test_whoever_is_stored_makes_room_for_others() -> None:
    edge = Edge(Models(), lambda _: (1, 0), None)
    told = threading.Semaphore(0)
    for _ in range(3 * MAX_WAITING):
        edge.feedback(FeedbackRequest(), lambda _: told.release())
        assert told.acquire(timeout=20)
    edge.close()
