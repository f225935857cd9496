"""Tables of automations and retrainings."""

from fogline_hub.catalogue import sql

AUTOMATIONS = sql.Table(
    "automations",
    sql.METADATA,
    sql.Column("model", sql.String(63), primary_key=True),
    sql.Column("automation", sql.Text, nullable=False),
    sql.Column("changed_at", sql.UtcTime, nullable=False),
)

RETRAININGS = sql.Table(
    "retrainings",
    sql.METADATA,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("model", sql.String(63), nullable=False, index=True),
    sql.Column("champion", sql.Integer, nullable=False),
    sql.Column("alarm", sql.Integer),
    sql.Column("asked_by", sql.String(128), nullable=False),
    sql.Column("state", sql.String(16), nullable=False, index=True),
    sql.Column("reason", sql.Text, nullable=False),
    sql.Column("change_us", sql.BigInteger, nullable=False),
    sql.Column("ended_us", sql.BigInteger, nullable=False),
    sql.Column("dataset", sql.Text, nullable=False),
    sql.Column("judgement", sql.Text, nullable=False),
    sql.Column("challenger", sql.Integer),
    sql.Column("rollout", sql.Integer),
    sql.Column("created_at", sql.UtcTime, nullable=False),
    sql.Column("changed_at", sql.UtcTime, nullable=False),
)
"""`change_us`: event time from which the world looks changed, 0 for a manual one. `ended_us`: the
model's watermark when it ended, 0 before. `dataset` and `judgement` are JSON of `DatasetFacts` and
`Judgement`, empty before."""
