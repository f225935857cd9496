"""What is told of the server and its models: readiness, metadata, statistics."""

from fogline import __version__
from fogline.errors import NotFound
from fogline.wire.open_inference_pb2 import (
    ModelMetadataRequest,
    ModelMetadataResponse,
    ModelReadyRequest,
    ModelReadyResponse,
    ModelStatistics,
    ModelStatisticsRequest,
    ModelStatisticsResponse,
    ServerMetadataResponse,
    StatisticDuration,
)
from fogline_edge.serving.models import Models
from fogline_edge.serving.statistics import Duration, Statistics, VersionStatistics

EXTENSIONS = (
    "classification",
    "logging",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "schedule_policy",
    "statistics",
    "system_shared_memory",
    "fogline.event_time_us",
    "fogline.prediction_id",
    "fogline.feedback",
)
"""Of the protocol, by Triton's names, and of Fogline."""


class Metadata:
    """Reads; changes nothing."""

    def __init__(self, models: Models, statistics: Statistics) -> None:
        self._models = models
        self._statistics = statistics

    def server_metadata(self) -> ServerMetadataResponse:
        return ServerMetadataResponse(name="fogline", version=__version__, extensions=EXTENSIONS)

    def model_ready(self, message: ModelReadyRequest) -> ModelReadyResponse:
        """A version that is loaded on demand is ready: the next request is answered."""
        return ModelReadyResponse(ready=self._models.is_ready(message.name, message.version))

    def model_metadata(self, message: ModelMetadataRequest) -> ModelMetadataResponse:
        """Raises `NotFound`, and `NotLoaded` where only a load would tell."""
        served = self._models.get(message.name, message.version)
        response = ModelMetadataResponse(
            name=served.name,
            versions=map(str, self._models.versions(served.name)),
            platform=served.platform,
        )
        for fields, tensors in (
            (served.schema.inputs, response.inputs),
            (served.schema.outputs, response.outputs),
        ):
            for field in fields:
                tensors.add(name=field.name, datatype=field.datatype, shape=field.shape)
        return response

    def model_statistics(self, message: ModelStatisticsRequest) -> ModelStatisticsResponse:
        """Of one version, of all versions of a model, or of all models. Raises `NotFound`."""
        found = {(s.name, s.version): s for s in self._statistics.snapshot(message.name)}
        response = ModelStatisticsResponse()
        keys = {(row.name, row.version) for row in self._models.index()}
        # Pipelines' own models too, as Triton tells of those that an ensemble is composed of.
        keys |= {(c.served.name, c.served.version) for c in self._models.list()}
        for key in sorted(keys):
            if message.name not in ("", key[0]) or message.version not in ("", str(key[1])):
                continue
            _fill(response.model_stats.add(), found.get(key) or VersionStatistics(*key))
        if message.name and not response.model_stats:
            raise NotFound(
                f"there is no model {message.name[:80]!r}, or no version {message.version[:80]!r}"
            )
        return response


def _fill(into: ModelStatistics, found: VersionStatistics) -> None:
    into.name, into.version = found.name, str(found.version)
    into.last_inference = found.last_ms
    into.inference_count = found.rows
    into.execution_count = found.runs
    stats = into.inference_stats
    for duration, field in (
        (found.success, stats.success),
        (found.failure, stats.fail),
        (found.queue, stats.queue),
        (found.join, stats.compute_input),
        (found.infer, stats.compute_infer),
        (found.encode, stats.compute_output),
    ):
        _set(field, duration)
    for rows, stack in sorted(found.stacks.items()):
        batch = into.batch_stats.add(batch_size=rows)
        batch.compute_infer.count, batch.compute_infer.ns = stack.runs, stack.ns


def _set(field: StatisticDuration, duration: Duration) -> None:
    field.count, field.ns = duration.count, duration.ns
