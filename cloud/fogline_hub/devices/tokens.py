"""Enrolment tokens: made by operators, used up by devices, one use a device."""

from dataclasses import dataclass
from datetime import timedelta

from fogline import identity
from fogline.clock import Clock
from fogline.errors import Forbidden, InvalidInput
from fogline.ids import IdSource, check_name
from fogline_hub import audit
from fogline_hub.catalogue import sql
from fogline_hub.devices.records import Token
from fogline_hub.devices.secrets import new_secret, secret_hash
from fogline_hub.devices.tables import TOKENS

MAX_USES = 100_000
MAX_LIFE = timedelta(days=366)
"""Longest time that a token may be good for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    clock: Clock
    ids: IdSource

    def create(
        self,
        connection: sql.Connection,
        *,
        group: str,
        uses: int,
        life: timedelta,
        tuf_root: str,
        actor: str,
    ) -> tuple[Token, identity.Token]:
        """Makes a token; its secret is in the second part of the answer and nowhere else.

        Args:
            connection: The caller's transaction.
            group: Group of the devices that will enrol with it.
            uses: How many devices may, 1 to `MAX_USES`.
            life: How long, up to `MAX_LIFE`.
            tuf_root: SHA-256 of the hub's first TUF root.
            actor: Who asked, for the audit.

        Raises:
            InvalidInput: a value is out of its bounds.
        """
        check_name(group, "group")
        if not 1 <= uses <= MAX_USES:
            raise InvalidInput(f"a token for {uses} uses; say 1 to {MAX_USES}")
        if not timedelta(0) < life <= MAX_LIFE:
            raise InvalidInput(f"a token that is good for {life}; say more than 0, up to 366 days")
        now = self.clock.now()
        secret = identity.Token(secret=new_secret(), root_sha256=tuf_root)
        token = Token(
            id=self.ids(),
            group=group,
            uses=uses,
            uses_left=uses,
            created_at=now,
            created_by=actor,
            expires_at=now + life,
        )
        columns = {name: getattr(token, name) for name in token.__struct_fields__}
        connection.execute(
            sql.insert(TOKENS).values(**columns, secret_hash=secret_hash(secret.secret))
        )
        details = {"group": group, "uses": uses, "expires_at": token.expires_at.isoformat()}
        audit.record(connection, actor, "token.created", token.id, details, at=now)
        return token, secret

    def use(self, connection: sql.Connection, secret: str) -> Token:
        """Takes one use.

        Raises:
            Forbidden: unknown, used up or expired; the text does not say which.
        """
        taken = (
            sql.update(TOKENS)
            .where(
                TOKENS.c.secret_hash == secret_hash(secret),
                TOKENS.c.uses_left > 0,
                TOKENS.c.expires_at > self.clock.now(),
            )
            .values(uses_left=TOKENS.c.uses_left - 1)
            .returning(*_PUBLIC)
        )
        row = connection.execute(taken).first()
        if row is None:
            raise Forbidden(
                "the enrolment token is unknown, used up or expired; make a new one with: "
                "fogline devices token --group GROUP"
            )
        return _token(row)

    def list(self, connection: sql.Connection) -> tuple[Token, ...]:
        """All tokens, newest first."""
        rows = connection.execute(sql.select(*_PUBLIC).order_by(TOKENS.c.created_at.desc()))
        return tuple(_token(row) for row in rows)


_PUBLIC = tuple(column for column in TOKENS.columns if column.name != "secret_hash")


def _token(row: sql.Row[tuple[object, ...]]) -> Token:
    return Token(**{column.name: getattr(row, column.name) for column in _PUBLIC})
