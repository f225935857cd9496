"""Samples of tensors and how they are converted, for tests of networks."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fogline_hub.convert.child import convert
from fogline_hub.convert.dataset import DatasetLimits
from fogline_hub.convert.handover import ConversionJob, ConversionReport
from tests.trained import bundled


def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """1,797 images as ([rows, 8, 8], digit)."""
    features, target = bundled("digits")
    return (features / 16).astype(np.float32).reshape(-1, 8, 8), target.astype(np.int64)


def save_arrays(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def convert_here(
    framework: str, source: Path, sample: Path, folder: Path, **options: Any
) -> ConversionReport:
    """The child's whole work, in this process; `model.onnx` and the rest are left in `folder`."""
    given: dict[str, Any] = {"holdout": None, "target": None, "season_s": 0.0} | options
    return convert(
        ConversionJob(
            source=str(source),
            framework=framework,
            sample=str(sample),
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            limits=DatasetLimits(),
            **given,
        ),
        folder,
    )


def differing(report: ConversionReport) -> int:
    """Rows that differ, of the sample and of all probes."""
    probes = report.parity.probes.values()
    return report.parity.rows_differing + sum(p.rows_differing for p in probes)
