"""The calls that steer a server: its models, its shared memory, its settings.

Who may make them is `access`'s to say. Nothing here takes a configuration, a model file or a path
from a caller: what can be loaded is what lies in the repository, and logs go where the process was
started to send them.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol

from google.protobuf.message import DecodeError, Message

from fogline.errors import Conflict, FoglineError, InvalidInput, Unsupported
from fogline.wire.model_config_pb2 import ModelConfig
from fogline.wire.open_inference_pb2 import (
    LogSettingsRequest,
    LogSettingsResponse,
    ModelConfigRequest,
    ModelConfigResponse,
    RepositoryIndexRequest,
    RepositoryIndexResponse,
    RepositoryModelLoadRequest,
    RepositoryModelLoadResponse,
    RepositoryModelUnloadRequest,
    RepositoryModelUnloadResponse,
    SystemSharedMemoryRegisterRequest,
    SystemSharedMemoryRegisterResponse,
    SystemSharedMemoryStatusRequest,
    SystemSharedMemoryStatusResponse,
    SystemSharedMemoryUnregisterRequest,
    SystemSharedMemoryUnregisterResponse,
    TraceSettingRequest,
    TraceSettingResponse,
)
from fogline.wire.services import INFERENCE_SERVICE
from fogline_edge.serving.calls import Call
from fogline_edge.serving.model_config import describe
from fogline_edge.serving.models import Models, NotLoaded, Then
from fogline_edge.serving.shared_memory import Regions
from fogline_edge.serving.versions import VersionStatus

Answer = Callable[[Any], Message]
"""A message's answer, at once; raises a `FoglineError` where there is none."""
Reply = Callable[[Message | FoglineError], None]
LateAnswer = Callable[[Any, Reply], None]
"""A message's answer, given to `Reply` once, later and on any thread; or raises at once."""
Converse = Callable[[Call], None]
"""Answers a whole call, where who calls matters too; or raises at once."""

_LEVELS: Mapping[str, int] = MappingProxyType(
    {"log_info": logging.INFO, "log_warnings": logging.WARNING, "log_errors": logging.ERROR}
)
_LoadRequest = RepositoryModelLoadRequest | RepositoryModelUnloadRequest


def on_demand(models: Models, answer: Answer) -> LateAnswer:
    """An answer about the version that `name` and `version` of a message say; loads it for that."""

    def attempt(message: Any, reply: Reply) -> None:
        try:
            reply(answer(message))
        except FoglineError as e:
            reply(e)

    def begin(message: Any, reply: Reply) -> None:
        def then(error: FoglineError | None) -> None:
            if error is None:
                attempt(message, reply)
            else:
                reply(error)

        try:
            reply(answer(message))
        except NotLoaded:
            models.demand(message.name, message.version, then)

    return begin


class Repository(Protocol):
    """Where models come from when a caller asks for them."""

    def index(self) -> Sequence[VersionStatus]:
        """Every model there is, loaded or not; version 0 where a model has no version."""

    def load(self, name: str, then: Then) -> None:
        """Loads a model, or loads it again as it now lies there; what served goes on until then.

        Raises:
            NotFound: it has no such model.
            Conflict: its models are not a caller's to load.
        """

    def unload(self, name: str, then: Then, *, with_dependents: bool) -> None:
        """Takes a model away when its calls have ended. Raises as `load`."""

    def declared(self, name: str) -> ModelConfig | None:
        """What a model was declared as; None if it was not."""


class FixedModels:
    """A `Repository` of models that came otherwise: from a command line, or from a hub."""

    def __init__(self, models: Models, *, owner: str) -> None:
        """`owner`: who decides which models there are, as a refusal names it."""
        self._models = models
        self._owner = owner

    def index(self) -> Sequence[VersionStatus]:
        return self._models.index()

    def load(self, name: str, then: Then) -> None:  # noqa: ARG002 - the Protocol's
        raise self._refusal(name)

    def unload(self, name: str, then: Then, *, with_dependents: bool) -> None:  # noqa: ARG002
        raise self._refusal(name)

    def declared(self, name: str) -> ModelConfig | None:  # noqa: ARG002
        return None

    def _refusal(self, name: str) -> Conflict:
        return Conflict(
            f"model {name[:80]!r} is not loaded or unloaded by callers: {self._owner} decides "
            "which models there are"
        )


class Control:
    """The handlers by the method's path, in three tables.

    `answers` are given at once, `late_answers` when something is done, and `conversations` look at
    the call itself.
    """

    def __init__(
        self,
        models: Models,
        repository: Repository,
        logger: logging.Logger,
        regions: Regions | None = None,
    ) -> None:
        """Makes the tables.

        Args:
            models: What is served.
            repository: Where models come from that a caller asks for.
            logger: Whose level the log settings are; the root logger as a rule.
            regions: Shared memory; none may be registered without.
        """
        self._models = models
        self._repository = repository
        self._logger = logger
        self._regions = regions
        self.answers: Mapping[str, Answer] = _by_path(
            RepositoryIndex=self.repository_index,
            TraceSetting=trace_setting,
            LogSettings=self.log_settings,
            SystemSharedMemoryStatus=self.memory_status,
            SystemSharedMemoryUnregister=self.unregister_memory,
            CudaSharedMemoryStatus=_no_cuda,
            CudaSharedMemoryRegister=_no_cuda,
            CudaSharedMemoryUnregister=_no_cuda,
        )
        self.late_answers: Mapping[str, LateAnswer] = _by_path(
            ModelConfig=on_demand(models, self.model_config),
            RepositoryModelLoad=self.load,
            RepositoryModelUnload=self.unload,
        )
        self.conversations: Mapping[str, Converse] = _by_path(
            SystemSharedMemoryRegister=self.register_memory
        )

    def model_config(self, message: ModelConfigRequest) -> ModelConfigResponse:
        """Raises `NotFound`, or `NotLoaded` where only a load would tell."""
        served = self._models.get(message.name, message.version)
        return ModelConfigResponse(config=describe(served, self._repository.declared(served.name)))

    def repository_index(self, message: RepositoryIndexRequest) -> RepositoryIndexResponse:
        _check_repository(message.repository_name)
        response = RepositoryIndexResponse()
        for row in self._repository.index():
            if message.ready and row.state != "READY":
                continue
            version = str(row.version) if row.version else ""
            response.models.add(name=row.name, version=version, state=row.state, reason=row.reason)
        return response

    def load(self, message: RepositoryModelLoadRequest, reply: Reply) -> None:
        for key in message.parameters:
            if key == "config" or key.startswith("file:"):
                raise Unsupported(
                    f"the parameter {key[:80]!r} is refused: a model is loaded as it lies in the "
                    "repository, and a caller's configuration or file never replaces that"
                )
            raise Unsupported(f"the parameter {key[:80]!r} of a load is not served")
        then = partial(_told, reply, RepositoryModelLoadResponse())
        self._repository.load(_model_name(message), then)

    def unload(self, message: RepositoryModelUnloadRequest, reply: Reply) -> None:
        for key in message.parameters:
            if key != "unload_dependents":
                raise Unsupported(f"the parameter {key[:80]!r} of an unload is not served")
        name, then = _model_name(message), partial(_told, reply, RepositoryModelUnloadResponse())
        with_dependents = message.parameters["unload_dependents"].bool_param
        self._repository.unload(name, then, with_dependents=with_dependents)

    def register_memory(self, call: Call) -> None:
        """Raises `InvalidInput`, and as `Regions.register`."""
        try:
            message = SystemSharedMemoryRegisterRequest.FromString(call.message)
        except DecodeError:
            raise InvalidInput(f"{call.method}: the message is no such request") from None
        self._memory().register(
            message.name, message.key, message.offset, message.byte_size, call.peer.uid
        )
        call.finish(SystemSharedMemoryRegisterResponse().SerializeToString())

    def unregister_memory(
        self, message: SystemSharedMemoryUnregisterRequest
    ) -> SystemSharedMemoryUnregisterResponse:
        self._memory().unregister(message.name)
        return SystemSharedMemoryUnregisterResponse()

    def memory_status(
        self, message: SystemSharedMemoryStatusRequest
    ) -> SystemSharedMemoryStatusResponse:
        response = SystemSharedMemoryStatusResponse()
        for region in self._memory().status(message.name):
            status = response.regions[region.name]
            status.name, status.key = region.name, region.key
            status.offset, status.byte_size = region.offset, region.byte_size
        return response

    def _memory(self) -> Regions:
        if self._regions is None:
            raise Unsupported("this server takes no shared memory")
        return self._regions

    def log_settings(self, message: LogSettingsRequest) -> LogSettingsResponse:
        """Reads the log settings, after taking those that are given."""
        if message.settings:
            level = self._logger.getEffectiveLevel()
            self._logger.setLevel(_level(level, message))
        level = self._logger.getEffectiveLevel()
        response = LogSettingsResponse()
        for name, least in _LEVELS.items():
            response.settings[name].bool_param = level <= least
        response.settings["log_verbose_level"].uint32_param = int(level <= logging.DEBUG)
        response.settings["log_file"].string_param = ""
        response.settings["log_format"].string_param = "json"
        return response


def trace_setting(message: TraceSettingRequest) -> TraceSettingResponse:
    """Says that nothing is traced. Raises `Unsupported` where it is asked to be otherwise."""
    for name, setting in message.settings.items():
        if name == "trace_file":
            raise Unsupported("'trace_file' is refused: no caller names a file of this machine")
        if list(setting.value) not in ([], ["OFF"]) or name != "trace_level":
            raise Unsupported(
                f"the trace setting {name[:80]!r} cannot be changed: there are no traces; the "
                "statistics and metrics say how long requests waited and ran"
            )
    response = TraceSettingResponse()
    response.settings["trace_level"].value.append("OFF")
    return response


def _no_cuda(_: Message) -> Message:
    raise Unsupported("CUDA shared memory is not served: models run on the CPU")


def _by_path(**handlers: Any) -> Mapping[str, Any]:
    return MappingProxyType({f"/{INFERENCE_SERVICE}/{n}": h for n, h in handlers.items()})


def _told(reply: Reply, response: Message, error: FoglineError | None) -> None:
    reply(response if error is None else error)


def _check_repository(name: str) -> None:
    if name:
        raise InvalidInput(f"there is one repository, without a name; {name[:80]!r} is none")


def _model_name(message: _LoadRequest) -> str:
    """The model that is meant.

    KServe's messages have the model's name where Triton's have the repository's, which is empty
    as a rule: whichever of the two is given alone is the model.
    """
    if message.model_name:
        _check_repository(message.repository_name)
    name = message.model_name or message.repository_name
    if not name:
        raise InvalidInput("the request names no model")
    return name


def _level(level: int, message: LogSettingsRequest) -> int:
    """The level of the logger that the settings ask for, over the one it has."""
    wanted = {name: level <= least for name, least in _LEVELS.items()}
    verbose = level <= logging.DEBUG
    for name, setting in message.settings.items():
        if name == "log_file":
            raise Unsupported("'log_file' is refused: no caller names a file of this machine")
        if name == "log_verbose_level":
            verbose = setting.uint32_param > 0
        elif name in wanted:
            wanted[name] = setting.bool_param
        else:
            raise Unsupported(f"the log setting {name[:80]!r} cannot be changed")
    chosen = [least for name, least in _LEVELS.items() if wanted[name]]
    lowest = min(chosen, default=logging.CRITICAL)
    if any(least >= lowest and not wanted[name] for name, least in _LEVELS.items()):
        raise InvalidInput("log settings: what is logged at a level is logged at the graver ones")
    if verbose and lowest != logging.INFO:
        raise InvalidInput("log settings: verbose messages come with all others")
    return logging.DEBUG if verbose else lowest
