"""A child for crash tests: `python -m tests.retrain_child DIR` steps retrainings as jobs do."""

import sys
from pathlib import Path

from fogline.clock import SystemClock
from fogline_hub.config import HubConfig, HubFolder, JobsConfig
from fogline_hub.jobs.build import build_jobs
from fogline_hub.signer.trust import open_desk

ROOT = Path(__file__).parents[1]
CONFIG = JobsConfig(timing_budget_s=0.05, trainer_path=str(ROOT))


def main(folder: HubFolder) -> None:
    clock = SystemClock()
    desk = open_desk(folder.root, clock)
    jobs = build_jobs(folder, HubConfig(jobs=CONFIG), desk, clock)
    while jobs.retrainer.tick():
        pass
    jobs.catalogue.close()


if __name__ == "__main__":
    main(HubFolder(Path(sys.argv[1])))
