"""Desired states down, reports up: the hub's end of the MQTT link that is not ingest.

Level-triggered: a device gets its document whenever it asks, and again, ever more rarely, until its
report names the document's generation. Nothing depends on one message arriving.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from fogline import topics
from fogline.clock import Clock
from fogline.errors import Corrupt, Exhausted, FoglineError, Unavailable
from fogline.wire.auth import unseal
from fogline.wire.fleet_pb2 import Desired, Reported
from fogline_hub.catalogue import Catalogue, sql
from fogline_hub.devices.tables import DEVICES
from fogline_hub.registry import Registry
from fogline_hub.rollouts import desired, reports, rollouts
from fogline_hub.rollouts.tables import DESIRED, REPORTED

FIRST_RESEND_S = 5.0
LAST_RESEND_S = 600.0
"""A document that no report has answered is sent again after 5, 10, 20 ... 600 seconds."""
DESIRED_TTL_S = 3600
"""Seconds until the device refuses a sealed document; a later send is sealed anew."""
MAX_KEYS = 100_000
"""Devices whose keys are remembered; of more the oldest is asked for again."""
MAX_BATCH = 500
"""Documents sent in one pass; the rest wait for the next."""

_log = logging.getLogger(__name__)


class Sealer(Protocol):
    """The signer, as this room needs it."""

    def seal_down(
        self, device: str, kind: Literal["desired"], body: bytes, ttl_s: float
    ) -> tuple[str, bytes]: ...

    def up_key(self, device: str) -> bytes: ...


class Publisher(Protocol):
    @property
    def is_connected(self) -> bool: ...

    def publish(self, topic: str, payload: bytes, qos: int = 1) -> object: ...


@dataclass(slots=True)
class _Sent:
    generation: int
    next_at: float
    delay_s: float


class FleetLink:
    """`group_of` gives the group of an enrolled, unrevoked device, and "" for any other."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        registry: Registry,
        sealer: Sealer,
        publisher: Publisher,
        group_of: Callable[[sql.Connection, str], str],
        clock: Clock,
    ) -> None:
        self._catalogue = catalogue
        self._registry = registry
        self._sealer = sealer
        self._publisher = publisher
        self._group_of = group_of
        self._clock = clock
        self._sent: dict[str, _Sent] = {}
        self._up_keys: dict[str, bytes] = {}

    @property
    def is_connected(self) -> bool:
        """Whether reports can come in and documents go out now."""
        return self._publisher.is_connected

    def receive(self, topic: str, payload: bytes) -> None:
        """Takes one report; what is not a device's authentic newest word is logged and dropped."""
        try:
            device = topics.parse_up(topic).device
            message = unseal(
                Reported, payload, key=self._up_key(device), direction="up", topic=topic
            )
            self._keep(device, message)
        except (Corrupt, FoglineError) as e:
            _log.warning("report refused", extra={"topic": topic[:200], "reason": str(e)})

    def _up_key(self, device: str) -> bytes:
        """Constant for a device; asked of the signer once."""
        if device not in self._up_keys:
            while len(self._up_keys) >= MAX_KEYS:
                del self._up_keys[next(iter(self._up_keys))]
            self._up_keys[device] = self._sealer.up_key(device)
        return self._up_keys[device]

    def _keep(self, device: str, message: Reported) -> None:
        now = self._clock.now()
        with self._catalogue.transaction() as connection:
            group = self._group_of(connection, device)
            if not group:
                raise Corrupt(f"device {device} is not enrolled, or is revoked")
            if not reports.receive(connection, device, message, now=now):
                return
            lacks = bool(rollouts.lacking(connection, device, group))
        if message.want_desired:
            self._sent.pop(device, None)
        if lacks:
            self._join_group(device, group)

    def _join_group(self, device: str, group: str) -> None:
        """Orders what the group runs; apart from the report, which counts in any case."""
        with self._catalogue.transaction() as connection:
            for name, number, capture in rollouts.lacking(connection, device, group):
                version = self._registry.version(connection, name, number)
                model = desired.desired_model(version, capture)
                desired.order(connection, device, model, now=self._clock.now())

    def send(self) -> int:
        """Publishes the documents that are due; returns how many."""
        if not self.is_connected:
            return 0
        lagging = self._lagging()
        for device in list(self._sent):
            if device not in lagging:
                self._sent.pop(device, None)
        due = [(device, row) for device, row in lagging.items() if self._is_due(device, row)]
        sent = 0
        for device, row in due[:MAX_BATCH]:
            body = Desired(generation=row.generation, digest=row.digest, document=row.document)
            try:
                topic, payload = self._sealer.seal_down(
                    device, "desired", body.SerializeToString(), DESIRED_TTL_S
                )
                self._publisher.publish(topic, payload)
            except (Unavailable, Exhausted) as e:
                _log.warning("desired state not sent", extra={"device": device, "reason": str(e)})
                break
            except FoglineError as e:  # of this document alone; the other devices get theirs
                _log.error("desired state refused", extra={"device": device, "reason": str(e)})
            else:
                sent += 1
            self._note(device, row.generation)
        return sent

    def _lagging(self) -> Mapping[str, sql.Row[tuple[object, ...]]]:
        query = (
            sql.select(DESIRED)
            .select_from(
                DESIRED.outerjoin(REPORTED, DESIRED.c.device == REPORTED.c.device).outerjoin(
                    DEVICES, DESIRED.c.device == DEVICES.c.id
                )
            )
            .where(DEVICES.c.revoked_at.is_(None))
        )
        behind = sql.or_(
            REPORTED.c.generation.is_(None), REPORTED.c.generation < DESIRED.c.generation
        )
        with self._catalogue.reading() as connection:
            return {row.device: row for row in connection.execute(query.where(behind))}

    def _is_due(self, device: str, row: sql.Row[tuple[object, ...]]) -> bool:
        sent = self._sent.get(device)
        return (
            sent is None
            or sent.generation != row.generation
            or self._clock.monotonic() >= sent.next_at
        )

    def _note(self, device: str, generation: int) -> None:
        before = self._sent.get(device)
        again = before is not None and before.generation == generation
        delay_s = min(2 * before.delay_s, LAST_RESEND_S) if before and again else FIRST_RESEND_S
        self._sent[device] = _Sent(generation, self._clock.monotonic() + delay_s, delay_s)
