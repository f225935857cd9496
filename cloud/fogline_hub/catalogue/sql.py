"""The words of SQL that rooms write their tables and statements in.

Rooms import SQLAlchemy Core from here alone, so that what Fogline asks of a database stands on one
page: SQLite and PostgreSQL both have all of it. A room declares its tables on `METADATA` in a
module `tables.py`; `Catalogue.open` makes those of every room that its process has imported.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Connection,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    and_,
    delete,
    func,
    insert,
    not_,
    or_,
    select,
    update,
)

__all__ = [
    "METADATA",
    "BigInteger",
    "Boolean",
    "CheckConstraint",
    "Column",
    "ColumnElement",
    "Connection",
    "ForeignKey",
    "Index",
    "Integer",
    "LargeBinary",
    "Row",
    "String",
    "Table",
    "Text",
    "UniqueConstraint",
    "UtcTime",
    "and_",
    "delete",
    "func",
    "insert",
    "not_",
    "or_",
    "select",
    "update",
]

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""Where every room declares its tables; filled by imports, read by `Catalogue.open`."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class UtcTime(TypeDecorator[datetime]):
    """An aware time, stored as Unix microseconds, so that no driver shifts its zone."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:  # noqa: ARG002
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else _EPOCH + value * _MICROSECOND
