"""A front that echoes, for tests that attack it; tells what it costs for each line it reads."""

import ast
import json
import logging
import resource
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from fogline_edge.serving.calls import Call
from fogline_edge.serving.front import FrontConfig, make_front
from tests.fronts import ANYWHERE, Script


def resident_mb(status: TextIO) -> float:
    status.seek(0)
    return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def main() -> None:
    logging.basicConfig(level=logging.CRITICAL)
    front = make_front([ANYWHERE], FrontConfig(**ast.literal_eval(sys.argv[1])))
    script = Script()

    def answer(calls: "list[Call]") -> None:
        script(calls)
        script.seen.clear()
        script.polls.clear()

    (endpoint,) = front.start(answer)  # type: ignore[arg-type]
    print(str(endpoint).rpartition(":")[2], flush=True)  # noqa: T201 - to the test
    with Path("/proc/self/status").open() as status:  # once: one attack takes all descriptors
        for _ in sys.stdin:
            used = resource.getrusage(resource.RUSAGE_SELF)
            report = {"cpu_s": used.ru_utime + used.ru_stime, "rss_mb": resident_mb(status)}
            print(json.dumps(report | asdict(front.counts())), flush=True)  # noqa: T201
    front.drain(0)


if __name__ == "__main__":
    main()
