"""A part of a connection's messages in flight, so that one sender leaves room for another."""

import threading
from concurrent.futures import Future

from fogline.errors import Exhausted
from fogline_edge.link.publisher import Publishes


class Share:
    """Publishes on `connection`, with at most `max_in_flight` messages of its own unconfirmed.

    A backlog of thousands of rows would else hold every place for minutes, and the device's
    reports, which wait for one, would stay out: to the hub it would be a silent device.
    """

    def __init__(self, connection: Publishes, *, max_in_flight: int) -> None:
        self._connection = connection
        self._max_in_flight = max_in_flight
        self._lock = threading.Lock()
        self._in_flight = 0

    @property
    def is_connected(self) -> bool:
        return self._connection.is_connected

    def publish(self, topic: str, payload: bytes, qos: int = 1) -> "Future[None]":
        """See `Publishes`; raises `Exhausted` also when the share is used up."""
        with self._lock:
            if self._in_flight >= self._max_in_flight:
                raise Exhausted(f"{self._in_flight} messages of this share wait for their PUBACK")
            self._in_flight += 1
        try:
            future = self._connection.publish(topic, payload, qos)
        except BaseException:
            self._ended()
            raise
        future.add_done_callback(lambda _: self._ended())
        return future

    def _ended(self) -> None:
        with self._lock:
            self._in_flight -= 1
