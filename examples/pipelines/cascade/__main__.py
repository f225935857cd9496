"""`python -m examples.pipelines.cascade FOLDER`: a folder that `fogline serve` can serve."""

import sys
from pathlib import Path

from examples.pipelines.cascade.build import build

if __name__ == "__main__":
    build(Path(sys.argv[1]))
