"""A server as the agent puts it together, less the hub: capture on an outbox of its own.

    python -m benchmarks.serving_rig.ours PORT FOLDER BUNDLE... [--front F] [--tls CERTIFICATE KEY]

Every answer is validated, counted, summarised and sampled, as on a device. Bundles are loaded as
the agent loads what it has installed before, which was proved then.
"""

import argparse
import sys
from pathlib import Path

from fogline.addresses import Address
from fogline.allocator import use_one_heap
from fogline.bundle import find_variant, read_bundle
from fogline.desired import CapturePolicy
from fogline.records import decode_json
from fogline.resident import settle
from fogline.runtime import ModelPlan, Session
from fogline.signals import stop_signal
from fogline.summaries import Reference
from fogline_edge.capture import Capture
from fogline_edge.outbox import Outbox
from fogline_edge.serving import (
    AgentSide,
    Listener,
    Models,
    ServedModel,
    Server,
    ServingConfig,
    Tls,
)
from fogline_edge.serving.front.config import FrontConfig


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--front", choices=("http2", "grpcio"), default="http2")
    parser.add_argument("--asyncio", action="store_true", help="as where uvloop is not installed")
    parser.add_argument("--tls", nargs=2, type=Path)
    given = parser.parse_args()
    if given.asyncio:
        sys.modules["uvloop"] = None  # type: ignore[assignment]
    use_one_heap()  # as `fogline agent run`
    outbox = Outbox.open(given.folder / "outbox.db")
    capture = Capture(outbox, given.folder)
    capture.start()
    models = Models()
    for bundle in given.bundles:
        models.add(load_bundle(bundle, capture))
    tls = Tls(certificate=given.tls[0], key=given.tls[1]) if given.tls else None
    server = Server(
        (Listener(address=Address("127.0.0.1", given.port), tls=tls),),
        models,
        config=ServingConfig(front=FrontConfig(kind=given.front)),
        agent=AgentSide(observer=capture),
    )
    with stop_signal() as stop:
        server.start()
        settle()  # as `fogline agent run`
        stop.wait()
    server.drain()
    capture.stop()
    outbox.close()


def load_bundle(folder: Path, capture: Capture, version: int = 1) -> ServedModel:
    """A bundle as the agent activates it: with the plan that qualification measured."""
    bundle = read_bundle(folder)
    manifest = bundle.manifest
    plan = decode_json(folder.with_suffix(".plan").read_bytes(), ModelPlan, "plan")
    session = Session.open(bundle.path(find_variant(manifest).file), plan)
    data = bundle.path(manifest.reference).read_bytes()
    reference = decode_json(data, Reference, manifest.reference)
    capture.set_policy(manifest.name, version, CapturePolicy(), reference, manifest.schema)
    return ServedModel(
        name=manifest.name, version=version, schema=manifest.schema, runner=session, plan=plan
    )


if __name__ == "__main__":
    main()
