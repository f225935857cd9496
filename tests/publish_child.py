"""Publishes one version and kills itself at the n-th thing that it asks the signer to sign."""

import os
import signal
import sys
from pathlib import Path

from fogline.clock import SystemClock
from fogline_hub.delivery import Repository, load_operator, sign_target
from fogline_hub.signer.desk import Desk
from fogline_hub.signer.trust import open_desk


class FatalSigner:
    """The real desk; a power cut at one of its signatures."""

    def __init__(self, desk: Desk, fatal: int) -> None:
        self._desk = desk
        self._left = fatal

    def sign_online(self, role: str, unsigned: bytes) -> bytes:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return self._desk.sign_online(role, unsigned)

    def sign_auto(self, approval: bytes) -> bytes:
        return self._desk.sign_auto(approval)

    def renew_auto(self) -> bytes:
        return self._desk.renew_auto()


def main() -> None:
    """Arguments: the hub's folder, the target path, and which signature is fatal (0: none)."""
    folder, path, fatal = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    clock = SystemClock()
    signer = FatalSigner(open_desk(folder, clock), fatal)
    repository = Repository(folder / "tuf", signer, clock)
    operator = load_operator(folder / "operator")
    current = repository.current_targets()
    repository.publish_targets(sign_target(current, operator, path, b"manifest", now=clock.now()))


if __name__ == "__main__":
    main()
