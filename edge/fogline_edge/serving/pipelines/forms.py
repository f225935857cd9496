"""Is an array of the form that a field declares?"""

from fogline.schema import Field
from fogline.tensors import DATATYPES, Array, datatype_of


def fits(field: Field, array: Array) -> bool:
    """Whether an array is of the field's datatype, rank and fixed dimensions.

    A field without dimensions is a scalar, or an output of a model that knows not even its rank.
    """
    taken, given, dtype = field.shape, array.shape, DATATYPES[field.datatype]
    if array.dtype is not dtype and array.dtype != dtype:  # dtypes of one kind are mostly one
        return False
    if taken and len(taken) != len(given):
        return False
    for dim, there in zip(taken, given, strict=False):  # noqa: SIM110 - a generator costs more
        if dim not in (-1, there):
            return False
    return True


def difference(field: Field, array: Array) -> str:
    return (
        f"expected {field.datatype} {list(field.shape)}, "
        f"got {datatype_of(array)} {list(array.shape)}"
    )
