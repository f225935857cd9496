"""Kills a publishing process between its files; what devices see is the state before or after."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fogline.errors import NotFound
from fogline_edge.install.fetch.origin import Origin
from fogline_edge.install.fetch.signed import signed_manifest
from tests.signed_hubs import API_SECRET, SignedHub, make_hub, serving

FIRST, SECOND = "models/rain/1/manifest.json", "models/rain/2/manifest.json"


def publish(hub: SignedHub, path: str, fatal: int = 0) -> int:
    argv = [sys.executable, "-m", "tests.publish_child", str(hub.folder), path, str(fatal)]
    done = subprocess.run(argv, capture_output=True, timeout=60, check=False)
    assert done.returncode in (0, -9), done.stderr.decode()
    return done.returncode


def sees(hub: SignedHub, device: Path, path: str) -> bool:
    """Whether a device that follows TUF's rules finds the target."""
    origin = Origin(hub.url, secret=API_SECRET)
    try:
        signed_manifest(
            origin, path, root=hub.root, folder=device, time_floor=datetime(2000, 1, 1, tzinfo=UTC)
        )
    except NotFound:
        return False
    finally:
        origin.close()
    return True


@pytest.mark.parametrize("fatal", [1, 2], ids=["before the snapshot", "before the timestamp"])
def test_a_kill_between_files_leaves_the_state_before(tmp_path: Path, fatal: int) -> None:
    with serving(make_hub(tmp_path / "hub")) as hub:
        device = tmp_path / "tuf"
        assert publish(hub, FIRST) == 0
        assert sees(hub, device, FIRST)
        assert publish(hub, SECOND, fatal) == -9
        assert sees(hub, device, FIRST)
        assert not sees(hub, device, SECOND)
        assert publish(hub, SECOND) == 0
        assert sees(hub, device, SECOND)
        assert sees(hub, device, FIRST)
