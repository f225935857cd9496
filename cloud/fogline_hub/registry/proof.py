"""Proves a pushed bundle: each variant is loaded and run in a limited child of its own.

Nothing that a model file does to a process reaches the hub. Devices prove what they install once
more, on their own processor.
"""

from pathlib import Path

from fogline.bundle import Manifest, read_bundle
from fogline.errors import InvalidInput
from fogline.runtime.measure import Effort
from fogline.runtime.prove import prove_variant
from fogline.runtime.qualification import Budgets

BUDGETS = Budgets(memory_bytes=4 * 2**30, timeout_s=120.0, effort=Effort(max_stack=1))
"""What loading and running one variant may take on the hub; a device has its own, and measures its
own plan."""


def prove_bundle(folder: Path, manifest: Manifest) -> None:
    """Proves every variant of the bundle in `folder`.

    Raises:
        InvalidInput: one does not hold; the text names it and says why.
        Unavailable: this machine cannot prove models.
    """
    bundle = read_bundle(folder)
    for variant in manifest.variants:
        found = prove_variant(bundle, variant.name, budgets=BUDGETS, choose=False)
        if not found.is_accepted:
            raise InvalidInput(
                f"variant {variant.name} cannot be served: {found.reason}: {found.detail}"
            )
