"""Table of operators' API tokens; the token itself is held as SHA-256."""

from fogline_hub.catalogue import sql

OPERATORS = sql.Table(
    "operators",
    sql.METADATA,
    sql.Column("name", sql.String(63), primary_key=True),
    sql.Column("token_hash", sql.String(64), nullable=False, unique=True),
    sql.Column("created_at", sql.UtcTime, nullable=False),
)
