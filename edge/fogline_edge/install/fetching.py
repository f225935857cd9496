"""Runs the fetching child and reads its answer; nothing it does can raise into the agent."""

import sys

from fogline.errors import FoglineError
from fogline.records import canonical_json, decode_json
from fogline.sandbox import Limits, run_child
from fogline_edge.install.fetch.messages import FetchRequest, Refused, Result
from fogline_edge.install.records import InstallConfig

_MODULE = "fogline_edge.install.fetch"


def run_fetch(request: FetchRequest, config: InstallConfig) -> Result:
    """Fetches in a limited child; a child that fails in any way is a refusal that may pass."""
    limits = Limits(memory_bytes=config.fetch_memory_bytes, timeout_s=config.fetch_timeout_s)
    try:
        # -P: the working folder must not decide what is imported.
        outcome = run_child(
            [sys.executable, "-P", "-m", _MODULE], limits=limits, stdin=canonical_json(request)
        )
        if outcome.is_success:
            return decode_json(outcome.stdout, Result, "the fetching child's answer")  # type: ignore[arg-type]
        text = f"fetching {outcome.describe()}: {outcome.last_words()}"
    except FoglineError as e:
        text = f"fetching: {e}"
    return Refused(fault="Unavailable", text=text, is_final=False)
