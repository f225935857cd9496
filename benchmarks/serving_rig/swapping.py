"""A server whose model changes at a word: a line `swap` on standard input brings the next version.

    python -m benchmarks.serving_rig.swapping PORT FOLDER BUNDLE FIRST_VERSION

A second one on the same port takes over from the first, which drains on SIGTERM.
"""

import sys
import threading
from pathlib import Path

from benchmarks.serving_rig.ours import load_bundle
from fogline.addresses import Address
from fogline.signals import stop_signal
from fogline_edge.capture import Capture
from fogline_edge.outbox import Outbox
from fogline_edge.serving import AgentSide, Listener, Models, Server, ServingConfig
from fogline_edge.serving.front import FrontConfig


def main() -> None:
    port, folder, bundle, first = sys.argv[1:]
    outbox = Outbox.open(Path(folder) / "outbox.db")
    capture = Capture(outbox, Path(folder))
    capture.start()
    models = Models()
    models.add(load_bundle(Path(bundle), capture, int(first)))
    server = Server(
        (Listener(address=Address("127.0.0.1", int(port))),),
        models,
        config=ServingConfig(front=FrontConfig(take_over=True)),
        agent=AgentSide(observer=capture),
    )

    def obey() -> None:
        for version, _ in enumerate(sys.stdin, int(first) + 1):
            served = load_bundle(Path(bundle), capture, version)
            old = models.swap(served.name, served)
            if old is not None:
                old.runner.close()
            print(f"serving {version}", flush=True)

    with stop_signal() as stop:
        server.start()
        print(f"serving {first}", flush=True)
        threading.Thread(target=obey, name="swaps", daemon=True).start()
        stop.wait()
    server.drain()
    capture.stop()
    outbox.close()


if __name__ == "__main__":
    main()
