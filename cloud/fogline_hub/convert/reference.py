"""What a bundle remembers of its training data: counts in cells, and some rows."""

from collections.abc import Mapping

import numpy as np

from fogline.schema import Field, Schema, columns_of
from fogline.summaries import Reference, build_reference
from fogline.tensors import Array
from fogline_hub.convert.dataset import Column
from fogline_hub.convert.frame import Frame, rows_of, tensors_of
from fogline_hub.convert.served import ServedModel

SAMPLE_ROWS = 2000
"""Rows of the reference sample, for correlations and plots."""


def make_reference(
    served: ServedModel,
    sample: Frame,
    *,
    holdout: tuple[Frame, Column] | None,
    season_s: float,
) -> tuple[Reference, Mapping[str, Column]]:
    """The reference, and bounded rows of it with the model's answers.

    Args:
        served: The converted model, whose answers live traffic will be compared with.
        sample: Training rows.
        holdout: Held-out rows with their actual labels, for the expected accuracy.
        season_s: Length of the season in seconds; 0 for none.

    Returns:
        The reference; and the sample's columns as `in.NAME` and `out.NAME`.
    """
    schema = served.schema
    inputs = _columns(schema.inputs, tensors_of(sample, schema))
    outputs = _columns(schema.outputs, served.run(sample))
    labels = labels_of(schema)
    held_out = None
    if holdout is not None and labels:
        rows, actual = holdout
        held_out = (actual, served.run(rows)[label_field(schema).name])
    reference = build_reference(
        inputs, outputs, labels=labels, held_out=held_out, season_s=season_s
    )
    step = -(-rows_of(sample) // SAMPLE_ROWS)
    kept = {f"in.{n}": c[::step] for n, c in inputs.items()}
    return reference, kept | {f"out.{n}": c[::step] for n, c in outputs.items()}


def label_field(schema: Schema) -> Field:
    """The output that is the class; call it only where `labels_of` is not empty."""
    return next(f for f in schema.outputs if f.role == "label")


def labels_of(schema: Schema) -> tuple[str, ...]:
    """Class names; empty for a model without classes."""
    return next((f.labels for f in schema.outputs if f.role == "label"), ())


def _columns(fields: tuple[Field, ...], tensors: Mapping[str, Array]) -> dict[str, Column]:
    return {
        name: np.ascontiguousarray(values)
        for field in fields
        for name, values in columns_of(field, tensors[field.name])
    }
