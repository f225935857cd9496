"""One MQTT session from CONNECT to its end, on one paho client that is made for it alone."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from fogline.addresses import Address
from fogline.clock import Clock
from fogline.errors import Exhausted, InvalidInput, Unavailable
from fogline.mqtt.config import Login, MqttConfig

LOOP_S = 1.0
"""Longest time that the network thread waits for something to happen, in seconds."""


@dataclass(frozen=True, slots=True)
class Message:
    """A received message; `is_retained` when the broker had kept it from before."""

    topic: str
    payload: bytes
    is_retained: bool


@dataclass(frozen=True, slots=True)
class Received:
    session: "Session"
    mid: int
    qos: int
    message: Message


class Session:
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
        self.on_received: Callable[[Received], None] = lambda _: None
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
        except Exception as e:  # paho fails in many ways on what a broker should never send
            self._failure = f"broken off by the client library: {type(e).__name__}: {e}"
        finally:
            self._end()
        return self._failure or "the connection was lost"

    def _loop(self, closing: threading.Event) -> None:
        deadline = self._clock.monotonic() + 2 * self._config.connect_timeout_s
        while not self._failure:
            code = self._client.loop(LOOP_S)
            self._settle()
            if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._failure = self._failure or paho.error_string(code)
            elif closing.is_set():
                self._client.disconnect()
                self._client.loop(LOOP_S)
                return
            elif not self.is_ready and self._clock.monotonic() > deadline:
                self._failure = "the broker did not answer in time"

    def publish(self, topic: str, payload: bytes, qos: int) -> "Future[None]":
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()  # what is sent cannot be called back
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
        self.on_received(Received(self, m.mid, m.qos, message))
