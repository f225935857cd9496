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
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from fogline.addresses import Address
from fogline.backoff import Backoff, Random
from fogline.clock import Clock, SystemClock
from fogline.errors import Exhausted, InvalidInput, Unavailable
from fogline.mqtt.config import Login, MqttConfig, broker_address
from fogline.topics import MAX_PAYLOAD_BYTES

_LOOP_S = 1.0
_MAX_FILTERS = 8
"""Filters of one SUBSCRIBE that every cloud broker takes."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Message:
    """A received message; `is_retained` when the broker had kept it from before."""

    topic: str
    payload: bytes
    is_retained: bool


@dataclass(frozen=True, slots=True)
class _Received:
    session: "_Session"
    mid: int
    qos: int
    message: Message


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
        self._session: _Session | None = None
        self._inbox: queue.Queue[_Received | None] = queue.Queue(self._config.max_received)
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
            session = _Session(self._login, self._subscriptions, self._config, self._clock)
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

    def _receive(self, received: _Received) -> None:
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
                received = self._inbox.get(timeout=_LOOP_S)
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


class _Session:
    """One connection from CONNECT to its end; made anew for each try."""

    def __init__(
        self,
        login: Login,
        subscriptions: tuple[str, ...],
        config: MqttConfig,
        clock: Clock,
    ) -> None:
        self._config = config
        self._clock = clock
        self._subscriptions = subscriptions
        self._lock = threading.Lock()
        self._open: dict[int, Future[None]] = {}
        # paho calls back under a lock of its own that `publish` also takes, so that taking ours
        # there could deadlock: finished ids pass through a queue that the network thread empties.
        self._done: deque[int] = deque()
        self._failure = ""
        self.is_ready = False
        self.was_ready = False
        self.on_ready: Callable[[], None] = lambda: None
        self.on_received: Callable[[_Received], None] = lambda _: None
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=login.client_id,
            clean_session=True,
            protocol=MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.username_pw_set(login.username, login.password)
        client.connect_timeout = config.connect_timeout_s
        client.max_inflight_messages = config.max_in_flight
        client.max_queued_messages = config.max_in_flight
        client.on_connect = self._connected
        client.on_subscribe = self._subscribed
        client.on_message = self._received
        client.on_publish = lambda _c, _u, mid, _r, _p: self._done.append(mid)
        # With a writer registered, paho leaves every write to the thread in `loop`.
        client.on_socket_register_write = lambda _c, _u, _s: None
        self._client = client

    def run(self, address: Address, closing: threading.Event) -> str:
        """Holds the session until it ends; returns why."""
        try:
            self._client.connect(address.host, address.port, self._config.keepalive_s)
            self._loop(closing)
        except OSError as e:
            self._failure = self._failure or str(e)
        except ValueError as e:  # paho raises these for credentials that MQTT cannot carry
            self._failure = f"refused by the client library: {e}"
        finally:
            self._end()
        return self._failure or "the connection was lost"

    def _loop(self, closing: threading.Event) -> None:
        deadline = self._clock.monotonic() + 2 * self._config.connect_timeout_s
        while not self._failure:
            code = self._client.loop(_LOOP_S)
            self._settle()
            if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._failure = self._failure or paho.error_string(code)
            elif closing.is_set():
                self._client.disconnect()
                self._client.loop(_LOOP_S)
                return
            elif not self.is_ready and self._clock.monotonic() > deadline:
                self._failure = "the broker did not answer in time"

    def publish(self, topic: str, payload: bytes, qos: int) -> "Future[None]":
        future: Future[None] = Future()
        with self._lock:
            if not self.is_ready:
                raise Unavailable("the session has just ended")
            if len(self._open) >= self._config.max_in_flight:
                raise Exhausted(f"{len(self._open)} messages wait for the broker's PUBACK")
            try:
                info = self._client.publish(topic, payload, qos)
            except ValueError as e:
                raise InvalidInput(f"topic {topic[:200]!r}: {e}") from e
            if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                raise Unavailable(f"the session does not take messages: {info.rc.name}")
            self._open[info.mid] = future
        return future

    def confirm(self, mid: int, qos: int) -> None:
        if self.is_ready and qos > 0:
            self._client.ack(mid, qos)

    def disconnect(self) -> None:
        self._client.disconnect()

    def _settle(self) -> None:
        while self._done:
            mid = self._done.popleft()
            with self._lock:
                future = self._open.pop(mid, None)
            if future is not None:
                future.set_result(None)

    def _end(self) -> None:
        with self._lock:
            self.is_ready = False
            lost = list(self._open.values())
            self._open.clear()
        for future in lost:
            future.set_exception(Unavailable("the session ended before the broker's PUBACK"))

    def _connected(
        self,
        client: paho.Client,
        _userdata: object,
        _flags: paho.ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._failure = f"the broker refused the connection: {reason}"
        elif self._subscriptions:
            client.subscribe([(topic, 1) for topic in self._subscriptions])
        else:
            self._ready()

    def _subscribed(
        self,
        _client: paho.Client,
        _userdata: object,
        _mid: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        refused = [t for t, r in zip(self._subscriptions, reasons, strict=False) if r.is_failure]
        if refused:
            self._failure = f"the broker refused a subscription to {', '.join(refused)}"
        else:
            self._ready()

    def _ready(self) -> None:
        self.is_ready = self.was_ready = True
        self.on_ready()

    def _received(self, _client: paho.Client, _userdata: object, m: paho.MQTTMessage) -> None:
        try:
            topic = m.topic
        except UnicodeDecodeError:
            self._failure = "the broker sent a topic that is not UTF-8"
            return
        message = Message(topic, bytes(m.payload), bool(m.retain))
        self.on_received(_Received(self, m.mid, m.qos, message))
