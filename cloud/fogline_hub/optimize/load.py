"""A child that does what a device does first: loads a model and answers a row.

The parent reads its peak memory. It imports neither onnx nor pyarrow, which would be counted.
"""

import sys
from pathlib import Path

from fogline.runtime import ModelPlan, Session
from fogline_hub.convert.job import serve_job
from fogline_hub.optimize.handover import LoadJob, LoadReport
from fogline_hub.optimize.one_row import read_row


def load(job: LoadJob, _: Path) -> LoadReport:
    session = Session.open(Path(job.model), ModelPlan(prepack=job.prepack))
    return LoadReport(outputs=len(session.run(read_row(Path(job.row), session))))


if __name__ == "__main__":
    sys.exit(serve_job(LoadJob, load))
