"""`fogline.v1.Edge`: the true outcomes of predictions, and what runs here."""

from collections.abc import Callable

from fogline import __version__
from fogline.errors import Conflict
from fogline.wire.edge_pb2 import FeedbackRequest, FeedbackResponse, StatusResponse
from fogline_edge.serving.models import Models

TakeFeedback = Callable[[FeedbackRequest], tuple[int, int]]
"""Stores outcomes; returns how many were new and how many had been given before."""
Describe = Callable[[StatusResponse], None]
"""Fills in what only the agent knows: device, generation, outbox."""


class Edge:
    """Answers for the agent; without one it says so."""

    def __init__(
        self, models: Models, feedback: TakeFeedback | None, describe: Describe | None
    ) -> None:
        self._models = models
        self._feedback = feedback
        self._describe = describe

    def feedback(self, message: FeedbackRequest) -> FeedbackResponse:
        """Raises `Conflict` where no agent keeps predictions, else as the agent's handler."""
        if self._feedback is None:
            raise Conflict(
                "this server gives no prediction ids and takes no feedback; an agent does"
            )
        accepted, duplicates = self._feedback(message)
        return FeedbackResponse(accepted=accepted, duplicates=duplicates)

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
