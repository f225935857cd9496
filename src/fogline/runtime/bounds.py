"""Does a schema declare the bounds that a graph needs?"""

from collections.abc import Mapping
from types import MappingProxyType

from fogline.runtime.graph import GraphFacts
from fogline.schema import Field, Schema
from fogline.tensors import DATATYPES

_NO_NUMBERS: Mapping[int, str] = MappingProxyType({8: "BYTES", 9: "BOOL"})
"""`TensorProto.DataType` of what has no minimum or maximum."""


def undeclared_bounds(facts: GraphFacts, schema: Schema | None) -> str:
    """What a graph with these facts lacks to be served; empty where it lacks nothing.

    Args:
        facts: Of the model file.
        schema: What is declared of the model; None for a bare file.
    """
    fields = {f.name: f for f in schema.inputs} if schema is not None else {}
    for need in facts.needs:
        field = fields.get(need.input)
        if field is not None and _is_bounded(field):
            continue
        what = f"the values of input {need.input[:80]!r} decide how much the {need.node} takes"
        if need.element_type in _NO_NUMBERS:
            return f"{what}; {_NO_NUMBERS[need.element_type]} can have no bounds, so it is refused"
        return (
            f"{what}, so it is served only within bounds: declare the least and the greatest value "
            f"as `minimum` and `maximum` of the input in the schema of the model's bundle, or as "
            f"`input_minimum:{need.input[:80]}` and `input_maximum:{need.input[:80]}` in the "
            "parameters of a repository's config.pbtxt"
        )
    return ""


def _is_bounded(field: Field) -> bool:
    """An unsigned type begins at 0 by itself; a signed one's own least value is no bound."""
    dtype = DATATYPES[field.datatype]
    if field.maximum is None:
        return False
    if dtype.kind == "u":
        return True
    return field.minimum is not None and (
        dtype.kind != "i" or field.minimum > -(2 ** (8 * dtype.itemsize - 1))
    )
