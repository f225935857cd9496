"""What a challenger has to have in common with the champion: clients must not notice a change."""

from collections.abc import Mapping

from fogline.bundle import Manifest
from fogline.errors import Unsupported
from fogline.schema import Field, Schema, column_names
from fogline.tensors import DATATYPES

ACTUAL, WEIGHT, EVENT_TIME = "actual", "weight", "event_time"
"""Columns of a dataset beside the model's inputs."""


def label_of(manifest: Manifest) -> Field:
    """The output that is the predicted class.

    Raises:
        Unsupported: there is none, or its classes are not named.
    """
    found = next((f for f in manifest.schema.outputs if f.role == "label" and f.labels), None)
    if found is None:
        raise Unsupported(
            f"{manifest.name} predicts no named classes; only classifiers are retrained yet"
        )
    return found


def input_columns(manifest: Manifest) -> Mapping[str, str]:
    """Datatype of each input column, by name, in the schema's order.

    Raises:
        Unsupported: an input has no named columns, or a name that datasets use themselves.
    """
    found: dict[str, str] = {}
    for field in manifest.schema.inputs:
        names = column_names(field)
        if not names:
            raise Unsupported(
                f"{manifest.name}: input {field.name!r} has no columns, so no rows of it are kept"
            )
        for name in names:
            if name in found or name in (ACTUAL, WEIGHT, EVENT_TIME):
                raise Unsupported(f"{manifest.name}: a dataset cannot hold an input {name!r}")
            found[name] = field.datatype
    return found


def difference(champion: Schema, challenger: Schema) -> str:
    """How the challenger's tensors are not the champion's; empty where clients can go on."""
    for kind, ours, theirs in (
        ("input", challenger.inputs, champion.inputs),
        ("output", challenger.outputs, champion.outputs),
    ):
        if [_form(f) for f in ours] != [_form(f) for f in theirs]:
            told = ", ".join(f"{f.name} {f.datatype} {list(f.shape)}" for f in ours)
            known = ", ".join(f"{f.name} {f.datatype} {list(f.shape)}" for f in theirs)
            return f"its {kind}s are {told}; the champion's are {known}, or differ in their columns"
    return ""


def is_text(datatype: str) -> bool:
    return DATATYPES[datatype].kind == "O"


def _form(field: Field) -> tuple[object, ...]:
    return field.name, field.datatype, field.shape, field.columns, field.labels
