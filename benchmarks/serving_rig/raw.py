"""ONNX Runtime alone, in a process of its own: what a model costs without a server.

    python -m benchmarks.serving_rig.raw MODEL INPUT ROWS.npz THREADS SECONDS

Each of THREADS threads runs one session with one intra-op thread over the given requests. Prints
JSON with the same keys as the load generator, and the CPU seconds.
"""

import json
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort

from fogline.tensors import Array

WARM_S = 0.3


def main() -> None:
    model, name, file, threads, seconds = sys.argv[1:]
    with np.load(Path(file)) as data:
        rows = [data[key] for key in data]
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    sessions = [
        ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        for _ in range(int(threads))
    ]
    for session in sessions:
        _run(session, name, rows, WARM_S)
    took: list[list[float]] = [[] for _ in sessions]

    def work(i: int) -> None:
        took[i] = _run(sessions[i], name, rows, float(seconds))

    began, cpu = time.perf_counter(), time.process_time()
    running = [threading.Thread(target=work, args=(i,)) for i in range(len(sessions))]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    each = np.concatenate([np.asarray(t) for t in took])
    found = {
        "requests": len(each),
        "failed": 0,
        "seconds": time.perf_counter() - began,
        "p50_us": float(np.quantile(each, 0.5)) * 1e6,
        "p99_us": float(np.quantile(each, 0.99)) * 1e6,
        "cpu_s": time.process_time() - cpu,
    }
    print(json.dumps(found))


def _run(
    session: ort.InferenceSession, name: str, rows: list[Array], seconds: float
) -> list[float]:
    """Seconds that each run took."""
    took = []
    outputs = [o.name for o in session.get_outputs()]
    before = time.perf_counter()
    end, i = before + seconds, 0
    while before < end:
        session.run(outputs, {name: rows[i % len(rows)]})
        after = time.perf_counter()
        took.append(after - before)
        before, i = after, i + 1
    return took


if __name__ == "__main__":
    main()
