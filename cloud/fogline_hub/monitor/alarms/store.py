"""The alarm service's rows: read and written with the caller's connection."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from fogline.records import canonical_json, decode_json
from fogline_hub import audit
from fogline_hub.catalogue import sql
from fogline_hub.monitor import AccuracyBlock, AccuracyState, WindowReport
from fogline_hub.monitor.alarms.records import AccuracyStatus, Alarm, BlockAccuracy, Evidence
from fogline_hub.monitor.alarms.tables import ALARMS, BLOCKS, FOLLOWED, PROGRESS, VERDICTS

MAX_BLOCKS = 10_000
"""Closed blocks of a version that are kept, the newest: 27 years of days."""
MAX_LIST = 1000
ACTOR = "hub:monitor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A version as it is followed; `accuracy` is None where `why` says why it cannot be."""

    version: int
    accuracy: AccuracyState | None
    why: str = ""
    blocks_until_us: int = 0
    windows_until_us: int = 0
    late_rows: int = 0
    late_labelled: int = 0
    refused: int = 0


def progress(connection: sql.Connection, model: str) -> tuple[int, datetime] | None:
    """(watermark, when the newest summary was received) of a model."""
    row = connection.execute(sql.select(PROGRESS).where(PROGRESS.c.model == model)).first()
    return None if row is None else (row.watermark_us, row.received_at)


def watermark_us(connection: sql.Connection, model: str) -> int:
    """The model's watermark; 0 before any traffic."""
    found = progress(connection, model)
    return 0 if found is None else found[0]


def set_progress(
    connection: sql.Connection, model: str, watermark_us: int, received_at: datetime
) -> None:
    connection.execute(sql.delete(PROGRESS).where(PROGRESS.c.model == model))
    connection.execute(
        sql.insert(PROGRESS).values(model=model, watermark_us=watermark_us, received_at=received_at)
    )


def followed(connection: sql.Connection, model: str) -> Mapping[int, Followed]:
    """The model's versions that are followed, by number."""
    rows = connection.execute(sql.select(FOLLOWED).where(FOLLOWED.c.model == model))
    return {
        row.version: Followed(
            version=row.version,
            accuracy=_state(row.accuracy, f"accuracy of {model}@{row.version}"),
            why=row.why,
            blocks_until_us=row.blocks_until_us,
            windows_until_us=row.windows_until_us,
            late_rows=row.late_rows,
            late_labelled=row.late_labelled,
            refused=row.refused,
        )
        for row in rows
    }


def set_followed(connection: sql.Connection, model: str, one: Followed) -> None:
    here = (FOLLOWED.c.model == model) & (FOLLOWED.c.version == one.version)
    connection.execute(sql.delete(FOLLOWED).where(here))
    connection.execute(
        sql.insert(FOLLOWED).values(
            model=model,
            version=one.version,
            accuracy="" if one.accuracy is None else canonical_json(one.accuracy).decode(),
            why=one.why,
            blocks_until_us=one.blocks_until_us,
            windows_until_us=one.windows_until_us,
            late_rows=one.late_rows,
            late_labelled=one.late_labelled,
            refused=one.refused,
        )
    )


def statuses(connection: sql.Connection, model: str) -> tuple[AccuracyStatus, ...]:
    """How each version is followed, the newest first."""
    return tuple(
        AccuracyStatus(
            version=one.version,
            why_not=one.why,
            e_value=None if one.accuracy is None else one.accuracy.evidence,
            threshold=None if one.accuracy is None else one.accuracy.threshold,
            guarantee="" if one.accuracy is None else one.accuracy.guarantee,
            blocks_until_us=one.blocks_until_us,
            late_rows=one.late_rows,
            late_labelled=one.late_labelled,
            refused=one.refused,
        )
        for _, one in sorted(followed(connection, model).items(), reverse=True)
    )


def add_blocks(
    connection: sql.Connection,
    model: str,
    version: int,
    closed: Sequence[AccuracyBlock],
    block_us: int,
) -> None:
    """Keeps closed blocks; the oldest beyond `MAX_BLOCKS` go."""
    if not closed:
        return
    rows = [
        {
            "model": model,
            "version": version,
            "block": b.index,
            "start_us": b.index * block_us,
            "errors": b.errors,
            "rows": b.rows,
        }
        for b in closed
    ]
    connection.execute(sql.insert(BLOCKS), rows)
    here = (BLOCKS.c.model == model) & (BLOCKS.c.version == version)
    newest = sql.select(BLOCKS.c.block).where(here).order_by(BLOCKS.c.block.desc())
    oldest_kept = connection.execute(newest.offset(MAX_BLOCKS - 1).limit(1)).scalar()
    if oldest_kept is not None:
        connection.execute(sql.delete(BLOCKS).where(here, BLOCKS.c.block < oldest_kept))


def blocks(connection: sql.Connection, model: str, version: int) -> tuple[AccuracyBlock, ...]:
    """The closed blocks that are kept of a version, in order."""
    query = sql.select(BLOCKS).where(BLOCKS.c.model == model, BLOCKS.c.version == version)
    return tuple(
        AccuracyBlock(index=row.block, errors=row.errors, rows=row.rows)
        for row in connection.execute(query.order_by(BLOCKS.c.block))
    )


def block_accuracy(
    connection: sql.Connection, model: str, version: int
) -> tuple[BlockAccuracy, ...]:
    """The same for people, with their event times."""
    query = sql.select(BLOCKS).where(BLOCKS.c.model == model, BLOCKS.c.version == version)
    return tuple(
        BlockAccuracy(start_us=row.start_us, rows=row.rows, errors=row.errors)
        for row in connection.execute(query.order_by(BLOCKS.c.block))
    )


def add_verdict(
    connection: sql.Connection,
    window_us: int,
    length_us: int,
    report: WindowReport,
    *,
    now: datetime,
) -> None:
    connection.execute(
        sql.insert(VERDICTS).values(
            model=report.model,
            version=report.version,
            window_us=window_us,
            length_us=length_us,
            report=canonical_json(report).decode(),
            judged_at=now,
        )
    )


def verdicts(
    connection: sql.Connection, model: str, version: int | None = None, *, limit: int = MAX_LIST
) -> tuple[WindowReport, ...]:
    """Reports on closed windows, by window and version; the newest `limit`."""
    query = sql.select(VERDICTS).where(VERDICTS.c.model == model)
    if version is not None:
        query = query.where(VERDICTS.c.version == version)
    order = (VERDICTS.c.window_us.desc(), VERDICTS.c.version.desc())
    rows = connection.execute(query.order_by(*order).limit(min(limit, MAX_LIST))).all()
    what = f"verdict on {model}"
    return tuple(decode_json(r.report.encode(), WindowReport, what) for r in reversed(rows))


def open_alarm(
    connection: sql.Connection,
    model: str,
    version: int,
    *,
    raised_us: int,
    change_us: int,
    evidence: Evidence,
    now: datetime,
) -> Alarm:
    """Opens the version's alarm, audited."""
    made = connection.execute(
        sql.insert(ALARMS)
        .values(
            model=model,
            version=version,
            opened_at=now,
            raised_us=raised_us,
            change_us=change_us,
            evidence=canonical_json(evidence).decode(),
            resolution="",
        )
        .returning(ALARMS.c.id)
    ).scalar_one()
    details = {"alarm": made, "raised_us": raised_us, "change_us": change_us}
    details |= {"e_value": evidence.e_value, "threshold": evidence.threshold}
    audit.record(connection, ACTOR, "alarm.opened", f"{model}@{version}", details, at=now)
    return alarm(connection, made)


def alarm(connection: sql.Connection, number: int) -> Alarm:
    row = connection.execute(sql.select(ALARMS).where(ALARMS.c.id == number)).one()
    return _alarm(row)


def alarms(connection: sql.Connection, model: str) -> tuple[Alarm, ...]:
    """All alarms of a model, the newest first."""
    query = sql.select(ALARMS).where(ALARMS.c.model == model).order_by(ALARMS.c.id.desc())
    return tuple(_alarm(row) for row in connection.execute(query.limit(MAX_LIST)))


def open_alarm_of(connection: sql.Connection, model: str, version: int) -> Alarm | None:
    """The version's alarm, if it is not resolved."""
    query = sql.select(ALARMS).where(
        ALARMS.c.model == model, ALARMS.c.version == version, ALARMS.c.resolved_at.is_(None)
    )
    row = connection.execute(query).first()
    return None if row is None else _alarm(row)


def resolve(connection: sql.Connection, model: str, successor: int, *, now: datetime) -> None:
    """Ends the alarms of the versions before `successor`, which has taken over; audited."""
    query = sql.select(ALARMS).where(
        ALARMS.c.model == model, ALARMS.c.version < successor, ALARMS.c.resolved_at.is_(None)
    )
    for row in connection.execute(query).all():
        resolution = f"{model}@{successor} was promoted"
        connection.execute(
            sql.update(ALARMS)
            .where(ALARMS.c.id == row.id)
            .values(resolved_at=now, resolution=resolution)
        )
        details = {"alarm": row.id, "successor": successor}
        subject = f"{model}@{row.version}"
        audit.record(connection, ACTOR, "alarm.resolved", subject, details, at=now)


def _alarm(row: sql.Row[tuple[object, ...]]) -> Alarm:
    fields = {c.name: getattr(row, c.name) for c in ALARMS.columns}
    evidence = decode_json(row.evidence.encode(), Evidence, f"alarm {row.id}")
    return Alarm(**{**fields, "evidence": evidence})


def _state(text: str, what: str) -> AccuracyState | None:
    return decode_json(text.encode(), AccuracyState, what) if text else None
