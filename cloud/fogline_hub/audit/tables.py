"""Tables of the audit log."""

from fogline_hub.catalogue import sql

AUDIT = sql.Table(
    "audit",
    sql.METADATA,
    sql.Column("seq", sql.BigInteger, primary_key=True, autoincrement=False),
    sql.Column("at", sql.UtcTime, nullable=False),
    sql.Column("actor", sql.String(128), nullable=False),
    sql.Column("action", sql.String(64), nullable=False),
    sql.Column("subject", sql.String(256), nullable=False),
    sql.Column("details", sql.Text, nullable=False),
    sql.Column("previous", sql.String(64), nullable=False),
    sql.Column("hash", sql.String(64), nullable=False),
)

HEAD = sql.Table(
    "audit_head",
    sql.METADATA,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("seq", sql.BigInteger, nullable=False),
    sql.Column("hash", sql.String(64), nullable=False),
    sql.CheckConstraint("id = 1", name="one_row"),
)
"""The chain's end, one row: updating it first makes concurrent writers take turns, on SQLite and on
PostgreSQL alike."""
