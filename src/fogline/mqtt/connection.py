"""One MQTT connection that comes back by itself.

What of MQTT 3.1.1 is used is what Mosquitto, NATS, EMQX and the cloud brokers all serve: QoS 0 and
1, clean sessions, user name and password. Each session is a fresh paho client, so nothing that was
queued for a lost session is ever sent on the next one: who wants delivery keeps the message
elsewhere until the hub's own acknowledgement, and publishes again.

Two threads of its own. The *network* thread runs paho's loop and never calls a user's code except
the callbacks of `publish`'s futures. The *dispatch* thread calls `on_connect` and `on_message`, one
at a time. A received QoS 1 message gets its PUBACK when `on_message` has returned, so a slow
receiver slows the broker down and loses nothing.
"""

import contextlib
import logging
import queue
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from fogline.backoff import Backoff, Random
from fogline.clock import Clock, SystemClock
from fogline.errors import InvalidInput, Unavailable
from fogline.mqtt.config import Login, MqttConfig, broker_address
from fogline.mqtt.session import LOOP_S, Message, Received, Session
from fogline.topics import MAX_PAYLOAD_BYTES

_MAX_FILTERS = 8
"""Filters of one SUBSCRIBE that every cloud broker takes."""

_log = logging.getLogger(__name__)


class MqttConnection:
    """A connection to the broker at `address` (`HOST:PORT`), kept up from `start` to `close`.

    `on_message` and `on_connect` run on a thread of the connection's own, one at a time; they may
    publish, but each message waits for the one before. `on_connect` runs once the subscriptions
    of a new session are confirmed. What they raise is logged.

    Raises:
        InvalidInput: the address is malformed, or there are more subscriptions than brokers take.
        Unsupported: the address is not on this machine.
    """

    def __init__(
        self,
        address: str,
        *,
        login: Login,
        on_message: Callable[[Message], None],
        on_connect: Callable[[], None] = lambda: None,
        subscriptions: Sequence[str] = (),
        config: MqttConfig | None = None,
        clock: Clock | None = None,
        rng: Random = random.random,
    ) -> None:
        self._config = config or MqttConfig()
        self._address = broker_address(address)
        if len(subscriptions) > _MAX_FILTERS:
            raise InvalidInput(f"{len(subscriptions)} subscriptions, brokers take {_MAX_FILTERS}")
        self._login = login
        self._subscriptions = tuple(subscriptions)
        self._on_message = on_message
        self._on_connect = on_connect
        self._clock = clock or SystemClock()
        self._random = rng
        self._backoff = Backoff(
            base_s=self._config.reconnect_base_s, cap_s=self._config.reconnect_cap_s
        )
        self._closing = threading.Event()
        self._session: Session | None = None
        self._inbox: queue.Queue[Received | None] = queue.Queue(self._config.max_received)
        self._connects = threading.Event()
        self._threads: list[threading.Thread] = []
        self.last_error = ""
        """Why the last session ended or could not start; empty when none did."""
        self.dropped_received = 0
        """Messages that found `max_received` others waiting."""

    @property
    def is_connected(self) -> bool:
        """Whether a session is up and its subscriptions are confirmed."""
        session = self._session
        return session is not None and session.is_ready

    def start(self) -> None:
        """Starts connecting; returns at once, whether or not a broker answers."""
        for target, name in (
            (self._keep_connected, "mqtt-network"),
            (self._dispatch, "mqtt-calls"),
        ):
            thread = threading.Thread(target=target, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def publish(self, topic: str, payload: bytes, qos: int = 1) -> "Future[None]":
        """Hands one message to the session.

        Returns:
            A future that ends with the broker's PUBACK (QoS 1) or when the bytes are written
            (QoS 0), and fails with `Unavailable` when the session ends first. PUBACK says that
            the broker took the message, not that it will survive there. Callbacks of the future
            run on the network thread: they must neither block nor publish.

        Raises:
            Unavailable: there is no session now.
            Exhausted: `max_in_flight` messages wait for their PUBACK.
            InvalidInput: the payload is longer than 64 KiB, the topic has a wildcard, or `qos` is
                neither 0 nor 1.
        """
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise InvalidInput(f"{topic}: payload of {len(payload)} bytes, at most "
                               f"{MAX_PAYLOAD_BYTES} are sent")  # fmt: skip
        if qos not in (0, 1):
            raise InvalidInput(f"{topic}: QoS {qos}; only 0 and 1 are used")
        session = self._session
        if session is None or not session.is_ready:
            raise Unavailable(f"not connected to the broker at {self._address}"
                              + (f": {self.last_error}" if self.last_error else ""))  # fmt: skip
        return session.publish(topic, payload, qos)

    def close(self, timeout_s: float = 5.0) -> None:
        """Ends the session and both threads; futures still open fail with `Unavailable`."""
        self._closing.set()
        self._nudge()
        session = self._session
        if session is not None:
            session.disconnect()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout_s)

    def _keep_connected(self) -> None:
        failures = 0
        while not self._closing.is_set():
            session = Session(self._login, self._subscriptions, self._config, self._clock)
            session.on_ready = self._session_ready
            session.on_received = self._receive
            self._session = session
            self.last_error = session.run(self._address, self._closing)
            self._session = None
            if self._closing.is_set():
                break
            failures = 0 if session.was_ready else failures + 1
            delay_s = self._backoff.full(failures, self._random)
            _log.log(
                logging.INFO if failures < 2 else logging.DEBUG,
                "mqtt session ended",
                extra={"reason": self.last_error, "retry_in_s": round(delay_s, 3)},
            )
            self._closing.wait(delay_s)

    def _session_ready(self) -> None:
        self._connects.set()
        self._nudge()

    def _receive(self, received: Received) -> None:
        try:
            self._inbox.put_nowait(received)
        except queue.Full:
            self.dropped_received += 1

    def _nudge(self) -> None:
        with contextlib.suppress(queue.Full):  # a full queue wakes its consumer anyway
            self._inbox.put_nowait(None)

    def _dispatch(self) -> None:
        while not self._closing.is_set():
            try:
                received = self._inbox.get(timeout=LOOP_S)
            except queue.Empty:
                continue
            if self._connects.is_set():
                self._connects.clear()
                self._call(self._on_connect)
            if received is not None:
                self._call(self._on_message, received.message)
                received.session.confirm(received.mid, received.qos)

    def _call(self, function: Callable[..., None], *arguments: Message) -> None:
        try:
            function(*arguments)
        except Exception:  # a task boundary: one bad message must not end the connection
            _log.exception("mqtt callback failed")
