"""The ingest process put together: MQTT in, the lake, the signer, MQTT out."""

import contextlib
import logging
import queue
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import Protocol

from fogline import topics
from fogline.clock import Clock
from fogline.errors import Exhausted, FoglineError, Unavailable
from fogline.failpoints import reach
from fogline.mqtt import Login, Message, MqttConnection
from fogline_hub.ingest.counts import Tally, write_counts
from fogline_hub.ingest.intake import DueAck, Intake
from fogline_hub.ingest.received import KeyRing
from fogline_hub.ingest.settings import IngestConfig
from fogline_hub.ingest.shelf import Shelf
from fogline_hub.lake import Lake
from fogline_hub.signer import SealItem

_PUBLISH_S = 5.0
_IDLE_S = 0.5

_log = logging.getLogger(__name__)


class Signer(Protocol):
    """What ingest asks of the process that holds the keys."""

    def up_key(self, device: str) -> bytes:
        """The key that authenticates what a device sends; constant."""

    def seal_many(self, items: Sequence[SealItem]) -> list[tuple[str, bytes]]:
        """Topics and payloads of authenticated messages to devices, in order."""


class Worker:
    """Runs until `stop`.

    Args:
        lake: Where rows go; only this process writes it.
        signer: Gives keys and seals acks.
        address: The broker's `HOST:PORT`.
        login: Ingest's own at the broker.
        config: Bounds.
        clock: Stamps and measures.
        run_folder: Where `ingest.json` is written.
    """

    def __init__(
        self,
        lake: Lake,
        signer: Signer,
        *,
        address: str,
        login: Login,
        config: IngestConfig,
        clock: Clock,
        run_folder: Path,
    ) -> None:
        self.tally = Tally()
        self._signer = signer
        self._config = config
        self._run_folder = run_folder
        self._stopping = threading.Event()
        self._queue: queue.Queue[Message] = queue.Queue(config.queue_messages)
        shelf = Shelf(
            lake, full_every=config.full_note_every, max_sample_tables=config.max_sample_tables
        )
        keys = KeyRing(signer.up_key, config.remembered_keys)
        self._intake = Intake(shelf, keys, config, clock, self.tally)
        self._connection = MqttConnection(
            address,
            login=login,
            on_message=self._receive,
            subscriptions=(topics.UP_LOGS,),
            config=config.mqtt,
            clock=clock,
        )

    @property
    def is_connected(self) -> bool:
        """Whether messages of devices arrive."""
        return self._connection.is_connected

    def stop(self) -> None:
        """Asks `run` to commit what it has and return; safe in a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Takes the lake over and works until `stop`.

        Raises:
            Conflict: another process has taken the lake over.
            Corrupt: the lake does not say what it accepted.
            Unavailable: the lake cannot be opened at the start.
        """
        self._intake.open()
        self._tell()
        self._connection.start()
        try:
            while not self._stopping.is_set():
                self._step()
            self._commit()
        finally:
            self._connection.close()

    def _receive(self, message: Message) -> None:
        """Called by the connection; its PUBACK follows, so a full queue holds the broker back."""
        if message.is_retained:
            self.tally.add("retained")
            return
        is_waiting = True
        while is_waiting and not self._stopping.is_set():
            with contextlib.suppress(queue.Full):
                self._queue.put(message, timeout=_IDLE_S)
                is_waiting = False

    def _step(self) -> None:
        wait_s = self._intake.wait_s()
        if wait_s == 0.0:
            self._commit()
            return
        try:
            message = self._queue.get(timeout=_IDLE_S if wait_s is None else min(wait_s, _IDLE_S))
        except queue.Empty:
            return
        try:
            self._intake.handle(message.topic, message.payload)
        except Unavailable as e:
            self._start_over(e)

    def _commit(self) -> None:
        try:
            self._intake.commit()
        except Unavailable as e:
            self._start_over(e)
        self._acknowledge(self._intake.due_acks())
        self._tell()

    def _tell(self) -> None:
        """Writes what `fogline status` shows of this process."""
        try:
            write_counts(self._run_folder, self.tally.snapshot())
        except OSError as e:  # a full disk; the counts are for people
            _log.warning("counts not written", extra={"error": str(e)})

    def _start_over(self, error: FoglineError) -> None:
        """After a commit with an unknown outcome: what counts is what the lake says."""
        is_open = False
        while not is_open:
            self.tally.add("failed_commits")
            _log.error("lake not written", extra={"error": str(error)})
            self._tell()
            self._stopping.wait(self._config.retry_s)
            try:
                self._intake.open()
                is_open = True
            except Unavailable as e:
                if self._stopping.is_set():
                    raise
                error = e

    def _acknowledge(self, acks: Sequence[DueAck]) -> None:
        """Publishes acks; one that is lost is sent again when its device repeats a message."""
        if not acks:
            return
        reach("ingest.before_ack")
        items = [
            SealItem(
                device=due.device,
                kind="ack",
                body=due.ack.SerializeToString(),
                ttl_s=float(self._config.ack_ttl_s),
            )
            for due in acks
        ]
        try:
            sent = self._publish(self._signer.seal_many(items))
        except FoglineError as e:
            _log.warning("acks not sent", extra={"acks": len(acks), "error": str(e)})
            return
        self.tally.add("acks", sent)
        reach("ingest.after_ack")

    def _publish(self, sealed: Sequence[tuple[str, bytes]]) -> int:
        """QoS 0: a device that is gone would not get it either way, and it asks again."""
        open_: deque[Future[None]] = deque()
        for topic, payload in sealed:
            while True:
                try:
                    open_.append(self._connection.publish(topic, payload, qos=0))
                    break
                except Exhausted:
                    if not open_:
                        raise
                    _settle(open_.popleft())
        for future in open_:
            _settle(future)
        return len(sealed)


def _settle(future: "Future[None]") -> None:
    try:
        future.result(_PUBLISH_S)
    except FutureTimeout:
        raise Unavailable(f"the broker took no message for {_PUBLISH_S} s") from None
