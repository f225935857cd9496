"""Serves the bundles in some folders as an agent does, within a budget, and says which stayed.

    python -m tests.host_child FOLDER BUDGET_BYTES BUNDLE...

A process of its own for what is taken once in a process; it imports what an agent does.
"""

import sys
from pathlib import Path

from fogline.bundle import read_bundle
from fogline.runtime import ModelPlan
from fogline_edge.capture import Capture
from fogline_edge.host import Hosting, ModelHost
from fogline_edge.install import Installed
from fogline_edge.outbox import Outbox
from fogline_edge.serving import Models
from fogline_edge.serving.residency import Residency, ResidencyConfig


def main(folder: Path, budget_bytes: int, bundles: list[Path]) -> None:
    outbox, models = Outbox.open(folder / "child.db"), Models()
    capture = Capture(outbox, folder)
    residency = Residency(models, ResidencyConfig(model_memory_bytes=budget_bytes))
    host = ModelHost(models, residency, capture, lambda: None, Hosting(plan=ModelPlan(), drain_s=1))
    was_imported = "onnxruntime" in sys.modules
    for home in bundles:
        bundle = read_bundle(home)
        variant = bundle.manifest.variants[0]
        host.activate(
            Installed(
                name=bundle.manifest.name,
                version=1,
                digest=bundle.digest,
                variant=variant.name,
                generation=1,
                folder=home,
                model=home / variant.file,
                manifest=bundle.manifest,
            )
        )
    names = (c.served.name for c in models.list())
    sys.stdout.write(" ".join((str(was_imported), *names)))
    host.close()
    capture.stop()
    outbox.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), [Path(p) for p in sys.argv[3:]])
