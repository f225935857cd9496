"""Tables of the registry."""

from fogline_hub.catalogue import sql

MODELS = sql.Table(
    "models",
    sql.METADATA,
    sql.Column("name", sql.String(63), primary_key=True),
    sql.Column("created_at", sql.UtcTime, nullable=False),
    sql.Column("versions", sql.Integer, nullable=False),
)
"""`versions` is the newest number given; raising it first makes concurrent pushes take turns."""

VERSIONS = sql.Table(
    "versions",
    sql.METADATA,
    sql.Column("model", sql.ForeignKey("models.name"), primary_key=True),
    sql.Column("number", sql.Integer, primary_key=True, autoincrement=False),
    sql.Column("manifest", sql.String(64), nullable=False),
    sql.Column("size_bytes", sql.BigInteger, nullable=False),
    sql.Column("state", sql.String(16), nullable=False),
    sql.Column("pushed_by", sql.String(128), nullable=False),
    sql.Column("created_at", sql.UtcTime, nullable=False),
    sql.Column("published_at", sql.UtcTime),
    sql.Column("verified", sql.Boolean, nullable=False),
    sql.UniqueConstraint("model", "manifest"),
)

ALIASES = sql.Table(
    "aliases",
    sql.METADATA,
    sql.Column("model", sql.ForeignKey("models.name"), primary_key=True),
    sql.Column("name", sql.String(63), primary_key=True),
    sql.Column("number", sql.Integer, nullable=False),
    sql.Column("moved_at", sql.UtcTime, nullable=False),
)
