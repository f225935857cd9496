"""The agent put together: the one composition root of a device's process.

Start: what was installed serves again from the disk before anything touches the network. Stop:
calls end, what was observed is in the outbox, then the link goes.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fogline import topics
from fogline.addresses import Address, parse_listen_address
from fogline.clock import Clock, SystemClock
from fogline.errors import Corrupt, FoglineError
from fogline.mqtt import Login, Message, MqttConnection
from fogline.wire import fleet_pb2
from fogline.wire.edge_pb2 import StatusResponse
from fogline_edge.capture import Capture
from fogline_edge.config import AgentConfig
from fogline_edge.host import HostedInstaller, Hosting, ModelHost
from fogline_edge.install import Installer, ModelReport, Phase, load_identity
from fogline_edge.install.qualify import qualify
from fogline_edge.link import (
    DeviceKeys,
    ModelLine,
    Orders,
    Publisher,
    Reconciler,
    Reporter,
    Share,
)
from fogline_edge.outbox import Database, Outbox, set_aside
from fogline_edge.serving import AgentSide, Endpoint, Listener, Models, Server
from fogline_edge.serving.residency import MemoryWatch, Residency

if TYPE_CHECKING:
    from fogline_edge.serving.metrics_server import MetricsServer

STATES = {
    Phase.IDLE: fleet_pb2.MODEL_STATE_UNKNOWN,
    Phase.FETCHING: fleet_pb2.FETCHING,
    Phase.QUALIFYING: fleet_pb2.QUALIFYING,
    Phase.ACTIVATING: fleet_pb2.QUALIFYING,
    Phase.ACTIVE: fleet_pb2.ACTIVE,
    Phase.REJECTED: fleet_pb2.REJECTED,
    Phase.FAILED: fleet_pb2.FAILED,
}
"""What the hub is told of each phase."""
REPORT_RETRY_S = 1.0
"""Until a report that found no session, or no room in it, is tried again."""
REPORTS_IN_FLIGHT = 4
"""Messages without a PUBACK that the outbox leaves room for, so that reports get through."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What an agent says once it can answer."""

    address: Endpoint
    device: str
    models: tuple[str, ...]
    """`NAME@VERSION` of what serves."""


class Agent:
    """One device's agent on one data folder, from `start` to `stop`.

    Raises:
        NotFound, Forbidden, Corrupt: the folder is not enrolled, or its identity is unusable.
        Unavailable: another agent runs on the folder.
    """

    def __init__(
        self,
        folder: Path,
        listen: Address,
        *,
        config: AgentConfig | None = None,
        clock: Clock | None = None,
    ) -> None:
        settings, timer = config or AgentConfig(), clock or SystemClock()
        metrics = parse_listen_address(settings.metrics) if settings.metrics else None
        self._config = settings
        self._identity = identity = load_identity(folder)
        self._keys = keys = DeviceKeys(
            device=identity.device,
            up_key=bytes.fromhex(identity.up_key),
            down_key=bytes.fromhex(identity.down_key),
        )
        self._outbox = Outbox.open(folder / "outbox.db", settings.outbox, clock=timer)
        self._database = _open_state(folder / "state.db")
        self._orders = Orders(self._database, keys, self._outbox.time)
        self._capture = Capture(self._outbox, folder, config=settings.capture, clock=timer)
        self._models = Models(max_models=settings.serving.residency.max_loaded)
        self._residency = Residency(self._models, settings.serving.residency, clock=timer)
        self._memory_watch = MemoryWatch(self._residency)
        self._host = ModelHost(
            self._models,
            self._residency,
            self._capture,
            self._orders.current,
            Hosting(
                plan=settings.plan,
                drain_s=settings.swap_drain_s,
                branch_threads=settings.serving.max_running,
            ),
        )
        self._server = Server(
            _listeners(listen, settings),
            self._models,
            config=settings.serving,
            agent=AgentSide(
                observer=self._capture,
                feedback=self._capture.feedback,
                describe=self._describe,
            ),
            clock=timer,
        )
        self._host.count_in(self._server.statistics)
        self._installer = Installer(
            folder,
            identity,
            activate=self._host.activate,
            deactivate=self._host.deactivate,
            report=self._installing,
            clock=timer,
            config=settings.install,
            time_floor_s=lambda: self._outbox.time.floor_us // 1_000_000,
            prove=partial(qualify, plan=settings.plan),
        )
        self._metrics_server = None if metrics is None else self._open_metrics(metrics)
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._connect(identity.mqtt_host, identity.mqtt_port, timer)

    def _connect(self, host: str, port: int, clock: Clock) -> None:
        identity, keys = self._identity, self._keys
        self._connection = MqttConnection(
            f"{host}:{port}",
            login=Login(
                client_id=identity.mqtt_client_id,
                username=identity.mqtt_username,
                password=identity.mqtt_password,
            ),
            on_message=self._receive,
            on_connect=self._connected,
            subscriptions=(topics.down(identity.device, "+"),),
            config=self._config.mqtt,
            clock=clock,
        )
        rows = Share(
            self._connection,
            max_in_flight=max(1, self._config.mqtt.max_in_flight - REPORTS_IN_FLIGHT),
        )
        self._publisher = Publisher(
            self._outbox, rows, keys, config=self._config.window, clock=clock
        )
        self._reconciler = Reconciler(
            self._orders.current, HostedInstaller(self._installer, self._host), clock=clock
        )
        self._reporter = Reporter(
            self._database,
            self._connection,
            keys,
            self._outbox.outbox_id,
            self._outbox.time,
            lines=self._lines,
            metrics=self._metrics,
            generation=lambda: self._orders.generation,
        )
        self._reports = threading.Thread(target=self._report, name="reports", daemon=True)

    def start(self) -> Ready:
        """Serves what the disk holds, listens, then connects.

        Raises:
            Conflict: the address is taken.
        """
        try:
            return self._start()
        except BaseException:
            # In good order, or the versions that were booted would be blamed for a crash.
            self.stop()
            raise

    def _start(self) -> Ready:
        self._capture.start()
        installed = self._installer.boot()
        address, *_ = self._server.start()
        if self._metrics_server is not None:
            self._metrics_server.start()
        self._residency.calibrate()
        self._memory_watch.start()
        self._publisher.start()
        self._reports.start()
        self._reconciler.start()
        self._connection.start()
        return Ready(
            address=address,
            device=self._identity.device,
            models=tuple(f"{m.name}@{m.version}" for m in installed),
        )

    def stop(self) -> None:
        """Drains calls and writes what was observed; what could not be sent is in the outbox.

        Each part is ended whatever the others raise; also after a `start` that failed.
        """
        self._stopping.set()
        self._changed.set()
        with contextlib.ExitStack() as ends:  # runs them from the last to the first
            ends.callback(self._outbox.close)
            ends.callback(self._database.close)
            ends.callback(self._host.close)
            ends.callback(self._memory_watch.close)
            ends.callback(self._connection.close)
            ends.callback(self._end_reports)
            ends.callback(self._publisher.stop)
            ends.callback(self._capture.stop)
            ends.callback(self._installer.close)
            ends.callback(self._reconciler.stop)
            if self._metrics_server is not None:
                ends.callback(self._metrics_server.close)
            ends.callback(self._server.drain)

    # ------------------------------------------------------------------ link

    def _receive(self, message: Message) -> None:
        kind = message.topic.rsplit("/", 1)[-1]
        if message.is_retained:  # a broker's memory is nobody's word
            return
        match kind:
            case "ack":
                self._publisher.on_ack(message.payload)
            case "desired":
                self._take_order(message.payload)
            case _:
                _log.warning("message of a kind not served", extra={"kind": kind[:40]})

    def _take_order(self, payload: bytes) -> None:
        try:
            is_new = self._orders.take(payload)
        except FoglineError as e:
            _log.warning("desired state refused", extra={"reason": str(e)})
            return
        if is_new:
            _log.info("desired state", extra={"generation": self._orders.generation})
            self._reconciler.wake()
        self._changed.set()

    def _connected(self) -> None:
        self._reporter.ask()
        self._changed.set()
        self._publisher.connected()

    def _installing(self, report: ModelReport) -> None:
        _log.info(
            "model",
            extra={
                "model": f"{report.name}@{report.version}",
                "phase": report.phase.value,
                "reason": report.reason,
            },
        )
        self._changed.set()

    def _report(self) -> None:
        """Sends a report on every change, and one now and then so that silence means something."""
        is_sent = True
        while not self._stopping.is_set():
            wait_s = self._config.report_interval_s
            self._changed.wait(wait_s if is_sent else min(wait_s, REPORT_RETRY_S))
            self._changed.clear()
            is_sent = False
            try:
                is_sent = self._reporter.send()
            except FoglineError as e:
                _log.error("report failed", extra={"reason": str(e)})
            except Exception:  # a task boundary: the next report may succeed
                _log.exception("report failed")

    def _end_reports(self) -> None:
        if self._reports.is_alive():
            self._reports.join(5.0)

    # ------------------------------------------------------------ self-description

    def _lines(self) -> Iterator[ModelLine]:
        """The wanted versions as the installer sees them, then whatever else serves."""
        told = set()
        for report in self._installer.reports():
            told.add((report.name, report.version))
            yield ModelLine(
                name=report.name,
                version=report.version,
                digest=report.digest,
                variant=report.variant,
                state=STATES[report.phase],
                reason=report.reason,
            )
        for counts in self._models.list():
            served = counts.served
            if counts.is_active and (served.name, served.version) not in told:
                yield ModelLine(
                    name=served.name,
                    version=served.version,
                    digest=served.digest,
                    variant=served.variant,
                    state=fleet_pb2.ACTIVE,
                )

    def _metrics(self) -> dict[str, int]:
        """Counters since the start of the process; those of the outbox since its birth."""
        found = {
            "requests": self._models.totals.requests,
            "failures": self._models.totals.failures,
            "messages_published": self._publisher.counts.messages,
            "bytes_published": self._publisher.counts.bytes,
            "acks": self._publisher.counts.acks,
            "acks_refused": self._publisher.counts.acks_refused,
        }
        for stream, counts in self._outbox.counts().items():
            found[f"outbox_{stream}_pending"] = counts.pending
            found[f"outbox_{stream}_appended"] = counts.appended
            found[f"outbox_{stream}_acknowledged"] = counts.acknowledged
            found[f"outbox_{stream}_dropped"] = counts.dropped
        return found

    def _open_metrics(self, address: Address) -> "MetricsServer":
        from fogline_edge.serving.scrape import metrics_server  # a megabyte that others do without

        return metrics_server(
            address, self._server, self._models, self._residency, agent=self._metrics
        )

    def _describe(self, response: StatusResponse) -> None:
        response.device = self._identity.device
        response.generation = self._orders.generation
        for stream, counts in self._outbox.counts().items():
            response.outbox_pending[stream] = counts.pending
        response.outbox_pending["feedback"] += self._capture.waiting_outcomes
        response.metrics.update(self._metrics())


def _open_state(path: Path) -> Database:
    """Orders and counters; a damaged file is set aside, because the hub sends its orders again."""
    try:
        return Database.open(path)
    except Corrupt as e:
        kept = set_aside(path)
        _log.error("state was corrupt", extra={"reason": str(e), "kept_as": str(kept)})
        return Database.open(path)


def _listeners(listen: Address, config: AgentConfig) -> tuple[Listener, ...]:
    unix = (Listener(address=Path(config.unix)),) if config.unix else ()
    return (Listener(address=listen), *unix)
