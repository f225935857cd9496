"""A residency in a process of its own, whose memory others look at; it does what stdin says.

    python -m tests.residency_child FOLDER [PROC]

FOLDER holds `NAME.onnx`, of which one version fits at a time; PROC is read in place of `/proc`. A
line `load NAME`, `run NAME` (in four threads) or `unload NAME` is answered by `done`, or by why
not; `loaded` by their names. Every version that ever ran is kept, with its schema.
"""

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from fogline.allocator import use_one_heap
from fogline.runtime.session import open_smallest
from fogline_edge.serving.memory import PROC, Machine
from fogline_edge.serving.models import Models
from fogline_edge.serving.residency import MemoryWatch, Need, Residency, ResidencyConfig
from tests.residents import Answer, FileSource

THREADS = 4
ROWS = 1024
"""Their answers are no small part of what a run takes, and lie in the heap."""


class Child:
    def __init__(self, folder: Path, proc: Path) -> None:
        config = ResidencyConfig(max_loaded=1)
        config = replace(config, pressure=replace(config.pressure, interval_s=0.05))
        machine = Machine(proc)
        self.models = Models()
        self.residency = Residency(self.models, config, machine=machine)
        self.watch = MemoryWatch(self.residency, machine=machine)
        self.kept: list[object] = []
        need = Need(held_bytes=1, peak_bytes=1)
        paths = sorted(folder.glob("*.onnx"))
        self.residency.offer([FileSource(path, path.stem, need=need) for path in paths])
        open_smallest().close()
        self.residency.calibrate()
        self.watch.start()

    def do(self, what: str, name: str = "") -> str:
        match what:
            case "load":
                return self.waited(self.residency.load, name)
            case "unload":
                return self.waited(self.residency.unload, name)
            case "run":
                threads = [threading.Thread(target=self.run, args=[name]) for _ in range(THREADS)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                return "done"
            case "loaded":
                return " ".join(c.served.name for c in self.models.list())
            case _:
                return f"no such thing: {what}"

    def waited(self, change: Callable[[str, Answer], None], name: str) -> str:
        answer = Answer()
        change(name, answer)
        return str(answer.wait() or "done")

    def run(self, name: str) -> None:
        entry = self.models.acquire(name)
        served = entry.served
        x = np.ones((ROWS, served.schema.inputs[0].shape[1]), np.float32)
        served.runner.run({"x": x})
        entry.release()
        self.kept.append((served, served.runner.inputs, served.schema))

    def close(self) -> None:
        self.watch.close()
        self.residency.close()


def main() -> None:
    use_one_heap()
    child = Child(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else PROC)
    for line in sys.stdin:
        sys.stdout.write(child.do(*line.split()) + "\n")
        sys.stdout.flush()
    child.close()


if __name__ == "__main__":
    main()
