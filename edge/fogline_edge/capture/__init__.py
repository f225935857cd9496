"""What was served: summarised in full, sampled with known probability, joined with outcomes."""

from fogline_edge.capture.config import CaptureConfig
from fogline_edge.capture.service import Capture

__all__ = ["Capture", "CaptureConfig"]
