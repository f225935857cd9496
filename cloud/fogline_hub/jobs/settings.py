"""Configuration of the jobs process: `[jobs]` in `hub.toml`."""

from typing import Annotated

from msgspec import Meta

from fogline.records import Record

Seconds = Annotated[float, Meta(gt=0, le=3600)]


class JobsConfig(Record, frozen=True, kw_only=True):
    """How often it looks, and the hub's own bounds, whatever an operator's policy asks for."""

    interval_s: Seconds = 1.0
    """Time between two looks at what devices sent, and at retrainings that wait."""
    trainer_path: str = ""
    """Absolute path of a folder in which trainers are looked for, beside what is installed; empty
    for none. Whoever can write there decides what the hub trains."""
    max_rows: Annotated[int, Meta(ge=100, le=10_000_000)] = 200_000
    """Rows of each part of a dataset; the newest are trained on."""
    timing_budget_s: Annotated[float, Meta(gt=0, le=60)] = 0.5
    """Seconds of alternating runs that a challenger's variants are compared by."""
    kept_jobs: Annotated[int, Meta(ge=1, le=1000)] = 4
    """Retrainings whose files stay; those of older ones are removed when one ends."""
