"""Tables of devices and enrolment tokens.

Secrets are held as SHA-256, passwords as the broker's own hash.
"""

from fogline_hub.catalogue import sql

TOKENS = sql.Table(
    "enrolment_tokens",
    sql.METADATA,
    sql.Column("id", sql.String(64), primary_key=True),
    sql.Column("secret_hash", sql.String(64), nullable=False, unique=True),
    sql.Column("group", sql.String(63), nullable=False),
    sql.Column("uses", sql.Integer, nullable=False),
    sql.Column("uses_left", sql.Integer, nullable=False),
    sql.Column("created_at", sql.UtcTime, nullable=False),
    sql.Column("created_by", sql.String(128), nullable=False),
    sql.Column("expires_at", sql.UtcTime, nullable=False),
    sql.CheckConstraint("uses_left >= 0", name="uses_left"),
)

DEVICES = sql.Table(
    "devices",
    sql.METADATA,
    sql.Column("id", sql.String(64), primary_key=True),
    sql.Column("name", sql.String(63), nullable=False),
    sql.Column("group", sql.String(63), nullable=False, index=True),
    sql.Column("shard", sql.Integer, nullable=False),
    sql.Column("key_hash", sql.String(64), nullable=False, unique=True),
    sql.Column("api_hash", sql.String(64), nullable=False, unique=True),
    sql.Column("password_hash", sql.String(128), nullable=False),
    sql.Column("enrolled_at", sql.UtcTime, nullable=False),
    sql.Column("token", sql.ForeignKey("enrolment_tokens.id"), nullable=False),
    sql.Column("revoked_at", sql.UtcTime),
)
