"""`fogline.v1.Edge`: the true outcomes of predictions, and what runs here."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from fogline import __version__
from fogline.errors import Conflict, Exhausted, FoglineError, Unavailable, internal_error
from fogline.wire.edge_pb2 import FeedbackRequest, FeedbackResponse, StatusResponse
from fogline_edge.serving.control import Reply
from fogline_edge.serving.models import Models

TakeFeedback = Callable[[FeedbackRequest], tuple[int, int]]
"""Stores outcomes; returns how many were new and how many had been given before."""
Describe = Callable[[StatusResponse], None]
"""Fills in what only the agent knows: device, generation, outbox."""


MAX_WRITERS = 16
"""Threads that store outcomes; what comes together is committed together."""
MAX_WAITING = 1024
"""Calls whose outcomes are being stored or wait for that. The front's own bound on open calls is
none on these: one may end long before its outcomes are stored."""

_LOG = logging.getLogger(__name__)


class Edge:
    """Answers for the agent; without one it says so."""

    def __init__(
        self, models: Models, feedback: TakeFeedback | None, describe: Describe | None
    ) -> None:
        self._models = models
        self._feedback = feedback
        self._describe = describe
        self._writers = ThreadPoolExecutor(MAX_WRITERS, "feedback")  # started when needed
        self._free = threading.BoundedSemaphore(MAX_WAITING)

    def feedback(self, message: FeedbackRequest, reply: Reply) -> None:
        """Stores outcomes on a thread of its own: it waits for the disk, and the loop must not.

        Raises:
            Conflict: no agent keeps predictions here.
            Exhausted: too many calls wait for that already.
            Unavailable: the server is stopping.
        """
        if self._feedback is None:
            raise Conflict(
                "this server gives no prediction ids and takes no feedback; an agent does"
            )
        if not self._free.acquire(blocking=False):
            raise Exhausted(f"outcomes of {MAX_WAITING} calls wait to be stored; send again later")
        try:
            stored = self._writers.submit(_store, self._feedback, message, reply)
        except RuntimeError:  # it has been shut down
            self._free.release()
            raise Unavailable("the server is stopping") from None
        stored.add_done_callback(lambda _: self._free.release())

    def close(self) -> None:
        """Ends the threads after what they store now; what waits is not stored, nor confirmed."""
        self._writers.shutdown(cancel_futures=True)

    def status(self) -> StatusResponse:
        response = StatusResponse(agent_version=__version__)
        loaded = {(c.served.name, c.served.version): c for c in self._models.list()}
        for row in self._models.index():
            model = response.models.add(name=row.name, version=str(row.version))
            counts = loaded.get((row.name, row.version))
            if counts is None:
                # READY but not in memory: the next request loads it.
                model.state = "ABSENT" if row.state == "READY" else row.state
                continue
            model.state = "ACTIVE" if row.is_active else "LOADED"
            model.variant, model.digest = counts.served.variant, counts.served.digest
            model.requests, model.failures = counts.requests, counts.failures
        if self._describe is not None:
            self._describe(response)
        return response


def _store(take: TakeFeedback, message: FeedbackRequest, reply: Reply) -> None:
    try:
        accepted, duplicates = take(message)
    except FoglineError as e:
        reply(e)
    except Exception as e:  # a fault of ours must still end the call
        _LOG.exception("feedback failed")
        reply(internal_error(e))
    else:
        reply(FeedbackResponse(accepted=accepted, duplicates=duplicates))
