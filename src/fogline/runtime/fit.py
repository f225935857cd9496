"""Is a model the function that its schema says?"""

from collections.abc import Sequence

from fogline.schema import Field, Schema


def schema_misfit(schema: Schema, inputs: Sequence[Field], outputs: Sequence[Field]) -> str:
    """What differs between a schema and what a model declares; empty where nothing does.

    A schema may fix a dimension that the model leaves free, and name an output's dimensions where
    the model does not know even their number; nothing else.
    """
    for kind, promised, there in (
        ("input", schema.inputs, inputs),
        ("output", schema.outputs, outputs),
    ):
        found = {f.name: f for f in there}
        if found.keys() != {f.name for f in promised}:
            names = ", ".join(sorted(found))[:400]
            return f"the schema's {kind}s are not those of the model: {names}"
        for field in promised:
            own = found[field.name]
            if not _is_within(field, own, is_output=kind == "output"):
                return (
                    f"{kind} {field.name!r}: the schema says {field.datatype} {list(field.shape)}, "
                    f"the model has {own.datatype} {list(own.shape)}"
                )
    return ""


def _is_within(field: Field, there: Field, *, is_output: bool) -> bool:
    if field.datatype != there.datatype:
        return False
    if is_output and not there.shape:
        return True
    return len(field.shape) == len(there.shape) and all(
        g in (-1, f) for f, g in zip(field.shape, there.shape, strict=True)
    )
