"""Every error that Fogline raises on purpose, as one tree, split by who is at fault.

    FoglineError
    ├── InvalidInput        the caller sent something that cannot be right
    │   ├── NotFound        ... a name that does not exist
    │   ├── Unsupported     ... a thing that this build refuses to do
    │   └── Forbidden       ... without the right to it
    ├── Unavailable         a peer, the network or a child process did not answer
    │   └── DeadlineExceeded    ... in time
    ├── Corrupt             data at rest or on the wire is not what was written
    │   └── Untrusted       ... a signature, digest or authentication code does not match
    ├── Conflict            the state does not allow it now
    └── Exhausted           a stated bound was reached

An error's text says what was wrong, where, and what to do. Transports map classes, never texts,
at their rim: `cli.EXIT_CODES`, the gRPC front and the hub's API each hold one table, and a test
holds each complete.
"""


class FoglineError(Exception):
    """The root; catch it to catch everything that Fogline raises on purpose."""


class InvalidInput(FoglineError):
    """The caller sent something that cannot be right."""


class NotFound(InvalidInput):
    """The caller named something that does not exist."""


class Unsupported(InvalidInput):
    """The caller asked for something that this build refuses to do."""


class Forbidden(InvalidInput):
    """The caller has no right to what it asked for."""


class Unavailable(FoglineError):
    """A peer, the network or a child process did not answer; trying again may help."""


class DeadlineExceeded(Unavailable):
    """The answer did not come in time."""


class Corrupt(FoglineError):
    """Data at rest or on the wire is not what was written."""


class Untrusted(Corrupt):
    """A signature, digest or authentication code does not match."""


class Conflict(FoglineError):
    """The state does not allow it now."""


class Exhausted(FoglineError):
    """A stated bound was reached."""


def internal_error(error: BaseException, where: str = "") -> FoglineError:
    """What a peer is told of a fault of ours: its kind, and nothing of what it says."""
    return FoglineError(f"{where}internal error ({type(error).__name__})")
