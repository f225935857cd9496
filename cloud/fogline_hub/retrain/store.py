"""Automations and retrainings in the catalogue; every change is audited with it."""

from datetime import datetime

from fogline.errors import Conflict, NotFound
from fogline.records import canonical_json, decode_json, to_plain
from fogline_hub import audit
from fogline_hub.automation import Automation, Watch
from fogline_hub.catalogue import sql
from fogline_hub.retrain.judge import Judgement
from fogline_hub.retrain.records import DatasetFacts, Retraining, Step
from fogline_hub.retrain.states import ENDED, State, move
from fogline_hub.retrain.tables import AUTOMATIONS, RETRAININGS

ACTOR = "hub:retrain"
MAX_LIST = 1000
MAX_REASON_CHARS = 2000


def set_automation(
    connection: sql.Connection, model: str, automation: Automation, *, actor: str, now: datetime
) -> None:
    """Replaces the model's automation."""
    plain = canonical_json(automation).decode()
    connection.execute(sql.delete(AUTOMATIONS).where(AUTOMATIONS.c.model == model))
    connection.execute(
        sql.insert(AUTOMATIONS).values(model=model, automation=plain, changed_at=now)
    )
    details = {"automation": to_plain(automation)}
    audit.record(connection, actor, "automation.changed", model, details, at=now)


def automation(connection: sql.Connection, model: str) -> Automation | None:
    """The model's automation; None where it has none."""
    query = sql.select(AUTOMATIONS.c.automation).where(AUTOMATIONS.c.model == model)
    text = connection.execute(query).scalar()
    return None if text is None else _automation(text, model)


def automations(connection: sql.Connection) -> dict[str, Automation]:
    """All automations, by model."""
    rows = connection.execute(sql.select(AUTOMATIONS).order_by(AUTOMATIONS.c.model))
    return {row.model: _automation(row.automation, row.model) for row in rows}


def watches(connection: sql.Connection) -> dict[str, Watch]:
    """How each automated model is watched."""
    return {name: one.watch for name, one in automations(connection).items()}


def create(
    connection: sql.Connection,
    *,
    model: str,
    champion: int,
    alarm: int | None,
    change_us: int,
    asked_by: str,
    now: datetime,
) -> Retraining:
    """Starts a retraining of a model.

    Raises:
        Conflict: another one of the model has not ended.
    """
    active = unended(connection, model)
    if active:
        raise Conflict(f"retraining {active[0].id} of {model} is {active[0].state.value} already")
    made = connection.execute(
        sql.insert(RETRAININGS)
        .values(
            model=model,
            champion=champion,
            alarm=alarm,
            asked_by=asked_by,
            state=State.GATHERING.value,
            reason="",
            change_us=change_us,
            ended_us=0,
            dataset="",
            judgement="",
            created_at=now,
            changed_at=now,
        )
        .returning(RETRAININGS.c.id)
    ).scalar_one()
    retraining = show(connection, made)
    details = {"champion": champion, "alarm": alarm, "change_us": change_us}
    audit.record(connection, asked_by, "retraining.gathering", retraining.subject, details, at=now)
    return retraining


def show(connection: sql.Connection, number: int) -> Retraining:
    """Raises `NotFound` where there is none."""
    row = connection.execute(sql.select(RETRAININGS).where(RETRAININGS.c.id == number)).first()
    if row is None:
        raise NotFound(f"there is no retraining {number}; see: fogline retrain list")
    return _retraining(row)


def listing(
    connection: sql.Connection, model: str | None = None, *, limit: int = 100
) -> tuple[Retraining, ...]:
    """The newest first."""
    query = sql.select(RETRAININGS).order_by(RETRAININGS.c.id.desc()).limit(min(limit, MAX_LIST))
    if model is not None:
        query = query.where(RETRAININGS.c.model == model)
    return tuple(_retraining(row) for row in connection.execute(query))


def unended(connection: sql.Connection, model: str | None = None) -> tuple[Retraining, ...]:
    """Those that are under way, oldest first."""
    query = sql.select(RETRAININGS).where(RETRAININGS.c.state.not_in([s.value for s in ENDED]))
    if model is not None:
        query = query.where(RETRAININGS.c.model == model)
    return tuple(_retraining(r) for r in connection.execute(query.order_by(RETRAININGS.c.id)))


def note(connection: sql.Connection, number: int, reason: str) -> None:
    """Says what a retraining waits for; no step, so not audited."""
    connection.execute(
        sql.update(RETRAININGS)
        .where(RETRAININGS.c.id == number)
        .values(reason=reason[:MAX_REASON_CHARS])
    )


def advance(
    connection: sql.Connection, before: Retraining, step: Step, *, ended_us: int, now: datetime
) -> Retraining:
    """Moves a retraining on, with what its step found.

    Args:
        connection: The caller's transaction.
        before: As the step found it.
        step: What it came to.
        ended_us: The model's watermark, kept where this ends it.
        now: Aware UTC.

    Raises:
        Conflict: its state, as it is in the catalogue, does not allow it.
    """
    current = show(connection, before.id)
    if current.state is not before.state:
        raise Conflict(f"{before.subject} is {current.state.value}, not {before.state.value}")
    after = move(before.subject, current.state, step.event)
    reason = step.reason[:MAX_REASON_CHARS]
    found: dict[str, object] = {
        name: value
        for name in ("challenger", "rollout")
        if (value := getattr(step, name)) is not None
    }
    details = {**found, **({"reason": reason} if reason else {})}
    for name in ("dataset", "judgement"):
        if (value := getattr(step, name)) is not None:
            found[name] = canonical_json(value).decode()
            details[name] = to_plain(value)
    if after in ENDED:
        found["ended_us"] = ended_us
    connection.execute(
        sql.update(RETRAININGS)
        .where(RETRAININGS.c.id == before.id)
        .values(state=after.value, reason=reason, changed_at=now, **found)
    )
    action = f"retraining.{after.value}"
    audit.record(connection, ACTOR, action, before.subject, details, at=now)
    return show(connection, before.id)


def _automation(text: str, model: str) -> Automation:
    return decode_json(text.encode(), Automation, f"automation of {model}")


def _retraining(row: sql.Row[tuple[object, ...]]) -> Retraining:
    what = f"retraining {row.id}"
    fields = {c.name: getattr(row, c.name) for c in RETRAININGS.columns}
    dataset = decode_json(row.dataset.encode(), DatasetFacts, what) if row.dataset else None
    judgement = decode_json(row.judgement.encode(), Judgement, what) if row.judgement else None
    return Retraining(
        **{**fields, "state": State(row.state), "dataset": dataset, "judgement": judgement}
    )
