"""The list of variants: names, what they mean for serving, and the order in which they are tried.

Importing this imports no maker, so that the parent of a search needs no onnx.
"""

from dataclasses import dataclass

from fogline.errors import NotFound

BASE = "base"
"""The model that variants are made from, in a search's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantKind:
    """One way to make a model smaller.

    Attributes:
        name: Also of the file.
        precision: As the manifest says it.
        about: What it does.
        needs_sample: Made with rows of the sample, so it costs more.
        keeps_answers: Computes the very same; it is held to that on every held-out row.
        is_stackable: False where a row's answer depends on the rows beside it.
        prepack: Whether the runtime may lay weights out anew at load.
    """

    name: str
    precision: str
    about: str
    needs_sample: bool = False
    keeps_answers: bool = False
    is_stackable: bool = True
    prepack: bool = True


VARIANTS = (
    VariantKind(
        name="folded",
        precision="fp32",
        about="constants folded and nodes merged ahead of time, in standard operators alone",
    ),
    VariantKind(name="fp16-storage", precision="fp16-storage", about="float weights as float16"),
    VariantKind(
        name="external-data",
        precision="external-data",
        about="weights in a file beside the model, mapped rather than read",
        keeps_answers=True,
    ),
    VariantKind(
        name="external-unpacked",
        precision="external-data",
        about="the same, used as they lie in the file: less memory, slower in batches",
        prepack=False,
    ),
    VariantKind(
        name="narrow-trees",
        precision="narrow-trees",
        about="float64 tree ensembles in float32, with every comparison as it was",
    ),
    VariantKind(
        name="int8-dynamic",
        precision="int8-dynamic",
        about="products with constants in int8, activations by each run's range: never stacked",
        is_stackable=False,
    ),
    VariantKind(
        name="int8-weights",
        precision="int8-weights",
        about="constant factors of products in int8, by blocks (MatMulNBits)",
    ),
    VariantKind(
        name="int4-weights",
        precision="int4-weights",
        about="constant factors of products in int4, by blocks (MatMulNBits)",
    ),
    VariantKind(
        name="fewer-trees",
        precision="fewer-trees",
        about="the first trees of an ensemble, as few as the sample's curve allows",
        needs_sample=True,
    ),
    VariantKind(
        name="int8-static",
        precision="int8-static",
        about="weights and activations in int8 (QDQ), sensitive nodes left in float",
        needs_sample=True,
    ),
)
"""Cheap ones first: a budget that ends early has tried most of them."""


def kind_of(name: str) -> VariantKind:
    """The kind of that name.

    Raises:
        NotFound: there is none.
    """
    for kind in VARIANTS:
        if kind.name == name:
            return kind
    raise NotFound(f"no variant {name[:80]!r}; there are {', '.join(k.name for k in VARIANTS)}")
