"""Tables of what the alarm service has concluded, and of how far it has read."""

from fogline_hub.catalogue import sql

PROGRESS = sql.Table(
    "monitor_progress",
    sql.METADATA,
    sql.Column("model", sql.String(63), primary_key=True),
    sql.Column("watermark_us", sql.BigInteger, nullable=False),
    sql.Column("received_at", sql.UtcTime, nullable=False),
)
"""`watermark_us`: event time up to which the model's traffic is taken to be complete, but for
lateness. `received_at`: of the newest summary that was looked at."""

FOLLOWED = sql.Table(
    "followed_versions",
    sql.METADATA,
    sql.Column("model", sql.String(63), primary_key=True),
    sql.Column("version", sql.Integer, primary_key=True, autoincrement=False),
    sql.Column("accuracy", sql.Text, nullable=False),
    sql.Column("why", sql.Text, nullable=False),
    sql.Column("blocks_until_us", sql.BigInteger, nullable=False),
    sql.Column("windows_until_us", sql.BigInteger, nullable=False),
    sql.Column("late_rows", sql.BigInteger, nullable=False),
    sql.Column("late_labelled", sql.BigInteger, nullable=False),
    sql.Column("refused", sql.BigInteger, nullable=False),
)
"""`accuracy` is JSON of `AccuracyState`, empty where accuracy is not followed, and `why` says why
not. What starts before `*_until_us` is closed. `late_*`: rows that came for something closed.
`refused`: summaries that do not fit the version's reference."""

BLOCKS = sql.Table(
    "accuracy_blocks",
    sql.METADATA,
    sql.Column("model", sql.String(63), primary_key=True),
    sql.Column("version", sql.Integer, primary_key=True, autoincrement=False),
    sql.Column("block", sql.BigInteger, primary_key=True, autoincrement=False),
    sql.Column("start_us", sql.BigInteger, nullable=False),
    sql.Column("errors", sql.BigInteger, nullable=False),
    sql.Column("rows", sql.BigInteger, nullable=False),
)
"""Closed blocks that held labelled rows."""

VERDICTS = sql.Table(
    "verdicts",
    sql.METADATA,
    sql.Column("model", sql.String(63), primary_key=True),
    sql.Column("version", sql.Integer, primary_key=True, autoincrement=False),
    sql.Column("window_us", sql.BigInteger, primary_key=True, autoincrement=False),
    sql.Column("length_us", sql.BigInteger, primary_key=True, autoincrement=False),
    sql.Column("report", sql.Text, nullable=False),
    sql.Column("judged_at", sql.UtcTime, nullable=False),
)
"""`window_us`: where the window starts on its grid, whose step `length_us` an operator can change.
`report` is JSON of `WindowReport`."""

ALARMS = sql.Table(
    "alarms",
    sql.METADATA,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("model", sql.String(63), nullable=False, index=True),
    sql.Column("version", sql.Integer, nullable=False),
    sql.Column("opened_at", sql.UtcTime, nullable=False),
    sql.Column("raised_us", sql.BigInteger, nullable=False),
    sql.Column("change_us", sql.BigInteger, nullable=False),
    sql.Column("evidence", sql.Text, nullable=False),
    sql.Column("resolved_at", sql.UtcTime),
    sql.Column("resolution", sql.Text, nullable=False),
    sql.UniqueConstraint("model", "version"),
)
"""One in the life of a version, since its false-alarm rate is one of that life."""
