"""Operators: people and their scripts, each with one API token.

An operator's acts are audited where they commit, under `operator:NAME`.
"""

from dataclasses import dataclass

from fogline.clock import Clock
from fogline.errors import Forbidden
from fogline.ids import check_name
from fogline_hub import audit
from fogline_hub.api.tables import OPERATORS
from fogline_hub.catalogue import sql
from fogline_hub.devices.secrets import new_secret, secret_hash

OPERATOR_PREFIX = "flo1."
"""What an operator's bearer token starts with."""


@dataclass(frozen=True, slots=True)
class Operators:
    clock: Clock

    def create(self, connection: sql.Connection, name: str, *, actor: str) -> str:
        """Makes an operator and returns the token, which is kept nowhere.

        Raises:
            InvalidInput: `name` is no legal name.
            Conflict: there is one of that name.
        """
        check_name(name, "operator")
        token = OPERATOR_PREFIX + new_secret()
        now = self.clock.now()
        row = {"name": name, "token_hash": secret_hash(token), "created_at": now}
        connection.execute(sql.insert(OPERATORS).values(**row))
        audit.record(connection, actor, "operator.created", name, at=now)
        return token

    def of_token(self, connection: sql.Connection, token: str) -> str:
        """The operator's name that a token belongs to.

        Looked up by the token's SHA-256, so timing tells nothing of the token.

        Raises:
            Forbidden: it is nobody's.
        """
        query = sql.select(OPERATORS.c.name).where(OPERATORS.c.token_hash == secret_hash(token))
        name = connection.execute(query).scalar()
        if name is None:
            raise Forbidden("the operator's token is unknown; see --token-file and FOGLINE_TOKEN")
        return str(name)
