"""Tables of desired and reported state and of rollouts."""

from fogline_hub.catalogue import sql

DESIRED = sql.Table(
    "desired",
    sql.METADATA,
    sql.Column("device", sql.String(64), primary_key=True),
    sql.Column("generation", sql.BigInteger, nullable=False),
    sql.Column("digest", sql.String(64), nullable=False, index=True),
    sql.Column("document", sql.LargeBinary, nullable=False),
    sql.Column("changed_at", sql.UtcTime, nullable=False),
)
"""The newest desired-state document of each device."""

GROUP_DESIRED = sql.Table(
    "group_desired",
    sql.METADATA,
    sql.Column("group", sql.String(63), primary_key=True),
    sql.Column("model", sql.String(63), primary_key=True),
    sql.Column("number", sql.Integer, nullable=False),
    sql.Column("capture", sql.Text, nullable=False),
)
"""What a device that joins the group later is to run."""

REPORTED = sql.Table(
    "reported",
    sql.METADATA,
    sql.Column("device", sql.String(64), primary_key=True),
    sql.Column("outbox_id", sql.String(64), nullable=False),
    sql.Column("counter", sql.BigInteger, nullable=False),
    sql.Column("generation", sql.BigInteger, nullable=False),
    sql.Column("heard_at", sql.UtcTime, nullable=False),
    sql.Column("state", sql.Text, nullable=False),
)
"""The newest report of each device; `state` is JSON of `ReportedState`."""

ROLLOUTS = sql.Table(
    "rollouts",
    sql.METADATA,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("model", sql.String(63), nullable=False),
    sql.Column("number", sql.Integer, nullable=False),
    sql.Column("group", sql.String(63), nullable=False),
    sql.Column("waves", sql.Text, nullable=False),
    sql.Column("policy", sql.Text, nullable=False),
    sql.Column("capture", sql.Text, nullable=False),
    sql.Column("state", sql.String(16), nullable=False, index=True),
    sql.Column("wave", sql.Integer, nullable=False),
    sql.Column("reason", sql.Text, nullable=False),
    sql.Column("actor", sql.String(128), nullable=False),
    sql.Column("created_at", sql.UtcTime, nullable=False),
    sql.Column("wave_began_at", sql.UtcTime),
    sql.Column("share_active_at", sql.UtcTime),
    sql.Column("ended_at", sql.UtcTime),
)

ROLLOUT_DEVICES = sql.Table(
    "rollout_devices",
    sql.METADATA,
    sql.Column("rollout", sql.ForeignKey("rollouts.id"), primary_key=True),
    sql.Column("device", sql.String(64), primary_key=True),
    sql.Column("wave", sql.Integer, nullable=False),
    sql.Column("generation", sql.BigInteger, nullable=False),
    sql.Column("previous", sql.Text, nullable=False),
)
"""`generation` is the one that ordered the device, 0 before; `previous` is JSON of the
`DesiredModel` that it had before, empty for none."""
