"""Follows the fleet's summaries: one look reads what is new, closes, judges, and raises alarms.

What a look concludes commits as one transaction with how far it has read: a window is judged once
and an alarm raised once, whatever crashes. Sums that are not closed yet are held in memory alone
and read from the lake again after a restart.

Assumes that summaries are stored in the order of `received_at`, as the one ingest worker does.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from fogline.clock import Clock
from fogline.errors import Corrupt, FoglineError, InvalidInput, NotFound
from fogline.summaries import ConfusionCounts, Partial, Reference, Scope
from fogline_hub.automation import Watch
from fogline_hub.catalogue import Catalogue, sql
from fogline_hub.lake import Lake
from fogline_hub.lake.partials import StoredSummary, summaries
from fogline_hub.lake.tables import SUMMARIES
from fogline_hub.monitor import AccuracyBlock
from fogline_hub.monitor.alarms import closing, store
from fogline_hub.monitor.alarms.closing import Closing
from fogline_hub.monitor.alarms.references import read_reference
from fogline_hub.monitor.alarms.store import Followed
from fogline_hub.monitor.alarms.traffic import Reach, VersionTraffic
from fogline_hub.registry import Blobs, Registry

Watches = Callable[[sql.Connection], Mapping[str, Watch]]
"""The models that are watched, and how."""

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class _Version:
    """A version that traffic came from; `reference` is None where it carries none."""

    followed: Followed
    reference: Reference | None
    traffic: VersionTraffic


@dataclass(slots=True, kw_only=True)
class _Model:
    """What is in memory of a model."""

    watch: Watch
    seen_at: datetime | None
    """When the newest summary that was read came; None: nothing was read yet."""
    counted_at: datetime | None
    """What came up to then was looked at before this process started."""
    watermark_us: int
    reach: Reach = field(default_factory=Reach)
    versions: dict[int, _Version] = field(default_factory=dict)


class AlarmService:
    """All models that are watched; one thread calls `tick`."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        lake: Lake,
        registry: Registry,
        blobs: Blobs,
        watches: Watches,
        clock: Clock,
    ) -> None:
        self._catalogue = catalogue
        self._lake = lake
        self._registry = registry
        self._blobs = blobs
        self._watches = watches
        self._clock = clock
        self._models: dict[str, _Model] = {}
        self._lake_version: int | None = None

    def tick(self) -> bool:
        """One look at every model; returns whether anything was new.

        A model that cannot be looked at is logged and tried again from what is stored.
        """
        with self._catalogue.reading() as connection:
            watches = self._watches(connection)
        version = self._lake.table(SUMMARIES).version()
        is_same = version == self._lake_version and self._is_known(watches)
        if is_same or not watches:
            return False
        has_failed = False
        for name, watch in watches.items():
            try:
                self._look(name, watch)
            except FoglineError as e:
                self._models.pop(name, None)
                has_failed = True
                _log.warning("model not looked at", extra={"model": name, "reason": str(e)})
        self._lake_version = None if has_failed else version
        return True

    def _is_known(self, watches: Mapping[str, Watch]) -> bool:
        return {name: model.watch for name, model in self._models.items()} == watches

    def _look(self, name: str, watch: Watch) -> None:
        model = self._models.get(name)
        if model is None or model.watch != watch:
            model = self._opened(name, watch)
        try:
            self._read(name, model)
            self._conclude(name, model)
        except BaseException:
            # Sums and rows may not fit each other any more: the next look starts from the rows.
            self._models.pop(name, None)
            raise
        self._models[name] = model

    def _opened(self, name: str, watch: Watch) -> _Model:
        """What the rows say of a model, before any summary is read."""
        with self._catalogue.reading() as connection:
            known = store.progress(connection, name)
            followed = store.followed(connection, name)
        model = _Model(
            watch=watch,
            seen_at=None,
            counted_at=None if known is None else known[1],
            watermark_us=0 if known is None else known[0],
        )
        for number, one in followed.items():
            model.versions[number] = self._followed(name, one, watch)
        return model

    def _followed(self, name: str, one: Followed, watch: Watch) -> _Version:
        with self._catalogue.reading() as connection:
            version = self._registry.version(connection, name, one.version)
        try:
            reference = read_reference(self._blobs, version)
        except (InvalidInput, Corrupt) as e:
            _log.warning("no reference", extra={"version": str(version.ref), "reason": str(e)})
            reference = None
        block_s = watch.block_s if one.accuracy is None else one.accuracy.block_s
        traffic = VersionTraffic(
            block_us=round(block_s * 1e6),
            window_us=round(watch.window_s * 1e6),
            blocks_until_us=one.blocks_until_us,
            windows_until_us=one.windows_until_us,
            late_rows=one.late_rows,
            late_labelled=one.late_labelled,
            refused=one.refused,
        )
        return _Version(followed=one, reference=reference, traffic=traffic)

    def _started(self, name: str, number: int, watch: Watch) -> _Version:
        """Begins to follow a version."""
        version = self._followed(name, Followed(version=number, accuracy=None), watch)
        why, accuracy = "", None
        if version.reference is None:
            why = f"{name}@{number} carries no reference that can be read"
        else:
            try:
                accuracy = closing.start(version.reference, watch)
            except InvalidInput as e:
                why = str(e)
        return self._followed(name, Followed(version=number, accuracy=accuracy, why=why), watch)

    def _read(self, name: str, model: _Model) -> None:
        """Adds the summaries that came since the last look."""
        for stored in summaries(self._lake, name, received_after=model.seen_at):
            number = stored.message.scope.version
            if number not in model.versions:
                try:
                    model.versions[number] = self._started(name, number, model.watch)
                except NotFound:  # a device serves what this catalogue never had
                    _log.warning("unknown version", extra={"model": name, "version": number})
                    continue
            is_new = model.counted_at is None or stored.received_at > model.counted_at
            _add(model.versions[number], stored, is_new=is_new)
            scope = stored.message.scope
            event_us = max(stored.message.last_event_us, scope.window_start_us)
            model.reach.note(stored.device, event_us, stored.received_at)
        newest = max((at for _, at in model.reach.devices.values()), default=None)
        model.seen_at = newest or model.seen_at

    def _conclude(self, name: str, model: _Model) -> None:
        """Closes what the watermark has passed, in one transaction."""
        watch = model.watch
        reached = model.reach.watermark_us(watch.idle_s)
        if reached is None or model.seen_at is None:
            return
        watermark_us = max(reached, model.watermark_us)
        until_us = watermark_us - round(watch.lateness_s * 1e6)
        with self._catalogue.reading() as connection:
            closed = {
                number: _close(version, store.blocks(connection, name, number), watch, until_us)
                for number, version in sorted(model.versions.items())
            }
        now = self._clock.now()
        with self._catalogue.transaction() as connection:
            store.set_progress(connection, name, watermark_us, model.seen_at)
            for number, found in closed.items():
                version = model.versions[number]
                version.traffic.forget(until_us)
                version.followed = _next(version, found)
                store.set_followed(connection, name, version.followed)
                _keep(connection, name, version, found, now)
        model.watermark_us = watermark_us


def _add(version: _Version, stored: StoredSummary, *, is_new: bool) -> None:
    message, reference = stored.message, version.reference
    if reference is None:
        return
    try:
        if not message.rows and not message.requests:
            counts = ConfusionCounts.from_message(message.confusion, reference.labels)
            scope = Scope.from_message(message.scope)
            version.traffic.add_outcomes(scope, counts, reference, is_new=is_new)
            return
        partial = Partial.from_message(message, reference)
    except Corrupt as e:
        version.traffic.refused += is_new
        _log.warning("summary refused", extra={"device": stored.device, "reason": str(e)})
        return
    version.traffic.add(partial, is_new=is_new)


def _close(
    version: _Version, before: tuple[AccuracyBlock, ...], watch: Watch, until_us: int
) -> Closing:
    if version.reference is None:
        return Closing(blocks=(), accuracy=None, reports=(), raised=None)
    return closing.close(
        version.traffic,
        version.followed.accuracy,
        before,
        reference=version.reference,
        watch=watch,
        until_us=until_us,
    )


def _next(version: _Version, found: Closing) -> Followed:
    traffic = version.traffic
    return Followed(
        version=version.followed.version,
        accuracy=found.accuracy,
        why=version.followed.why,
        blocks_until_us=traffic.blocks_until_us,
        windows_until_us=traffic.windows_until_us,
        late_rows=traffic.late_rows,
        late_labelled=traffic.late_labelled,
        refused=traffic.refused,
    )


def _keep(
    connection: sql.Connection, name: str, version: _Version, found: Closing, now: datetime
) -> None:
    """Writes blocks, verdicts and the alarm of one version."""
    number = version.followed.version
    store.add_blocks(connection, name, number, found.blocks, version.traffic.block_us)
    for window_us, report in found.reports:
        store.add_verdict(connection, window_us, version.traffic.window_us, report, now=now)
    if found.raised is not None:
        store.open_alarm(
            connection,
            name,
            number,
            raised_us=found.raised.raised_us,
            change_us=found.raised.change_us,
            evidence=found.raised.evidence,
            now=now,
        )
