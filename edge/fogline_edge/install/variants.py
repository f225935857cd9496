"""Which of a version's variants this device takes; pure."""

from fogline.bundle import Manifest, Variant
from fogline.errors import Exhausted
from fogline_edge.install.fetch.messages import DeviceProfile


def choose_variant(manifest: Manifest, profile: DeviceProfile) -> Variant:
    """The first variant, in the manifest's order of preference, that fits the device.

    A variant without measurements fits until the device's own qualification says otherwise.

    Raises:
        Exhausted: none fits.
    """
    for variant in manifest.variants:
        measured = variant.measured
        if measured is None or measured.peak_memory_bytes <= profile.memory_bytes:
            return variant
    least = min(v.measured.peak_memory_bytes for v in manifest.variants if v.measured is not None)
    raise Exhausted(
        f"no variant of {manifest.name} fits: the smallest takes {least} bytes of memory, "
        f"and this device gives a model {profile.memory_bytes}"
    )
