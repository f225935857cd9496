"""A child that does what a device does first: loads a model and answers its golden cases.

The parent reads its peak memory. It imports neither onnx nor pyarrow, which would be counted.
"""

import sys
from pathlib import Path

from fogline.bundle import decode_cases
from fogline.runtime import ModelPlan, Session
from fogline_hub.convert.job import serve_job
from fogline_hub.optimize.handover import LoadJob, LoadReport


def load(job: LoadJob, _: Path) -> LoadReport:
    cases = decode_cases(Path(job.golden).read_bytes())
    session = Session.open(Path(job.model), ModelPlan())
    for case in cases:
        session.run(case.inputs)
    return LoadReport(cases=len(cases))


if __name__ == "__main__":
    sys.exit(serve_job(LoadJob, load))
