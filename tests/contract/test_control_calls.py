"""The calls that steer a server, as messages in and messages out."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytest

from fogline.errors import Conflict, FoglineError, InvalidInput, NotFound, Unsupported
from fogline.runtime import ModelPlan
from fogline.wire.model_config_pb2 import DataType, ModelConfig
from fogline.wire.open_inference_pb2 import (
    LogSettingsRequest,
    ModelConfigRequest,
    RepositoryIndexRequest,
    RepositoryModelLoadRequest,
    RepositoryModelUnloadRequest,
    TraceSettingRequest,
)
from fogline_edge.serving.control import Control, FixedModels, trace_setting
from fogline_edge.serving.edge import Edge
from fogline_edge.serving.model_config import describe
from fogline_edge.serving.models import Models, Then
from fogline_edge.serving.versions import VersionState, VersionStatus
from tests import models
from tests.serving import models_of, served_model


class Shelf:
    """A repository that notes what it is asked for, and tells the outcome it was made with."""

    def __init__(self, outcome: FoglineError | None = None) -> None:
        self.outcome = outcome
        self.asked: list[tuple[Any, ...]] = []

    def index(self) -> tuple[VersionStatus, ...]:
        return (
            VersionStatus(name="a", version=2, state="READY", is_active=True),
            VersionStatus(name="b", version=1, state="UNAVAILABLE", reason="unloaded"),
            VersionStatus(name="c", version=0, state="UNAVAILABLE", reason="no versions"),
        )

    def load(self, name: str, then: Then) -> None:
        self.asked.append(("load", name))
        then(self.outcome)

    def unload(self, name: str, then: Then, *, with_dependents: bool) -> None:
        self.asked.append(("unload", name, with_dependents))
        then(self.outcome)

    def declared(self, name: str) -> ModelConfig | None:
        return ModelConfig(max_batch_size=8) if name == "declared" else None


@pytest.fixture
def logger() -> logging.Logger:
    made = logging.Logger("of this test")
    made.setLevel(logging.INFO)
    return made


def control(repository: Any = None, known: Models | None = None) -> Control:
    return Control(known or Models(), repository or Shelf(), logging.Logger("x"))


def test_the_index_says_state_and_reason_and_can_leave_out_what_is_not_ready() -> None:
    answer = control().repository_index(RepositoryIndexRequest())
    assert [(m.name, m.version, m.state, m.reason) for m in answer.models] == [
        ("a", "2", "READY", ""),
        ("b", "1", "UNAVAILABLE", "unloaded"),
        ("c", "", "UNAVAILABLE", "no versions"),
    ]
    ready = control().repository_index(RepositoryIndexRequest(ready=True))
    assert [m.name for m in ready.models] == ["a"]
    with pytest.raises(InvalidInput, match="one repository, without a name; 'other'"):
        control().repository_index(RepositoryIndexRequest(repository_name="other"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        # KServe's field of the model is where Triton's is the repository's.
        ("m", RepositoryModelLoadRequest(model_name="m")),
        ("m", RepositoryModelLoadRequest(repository_name="m")),
    ],
)
def test_a_load_is_told_when_it_is_done(name: str, message: RepositoryModelLoadRequest) -> None:
    shelf, replies = Shelf(), list[Any]()
    control(shelf).load(message, replies.append)
    assert shelf.asked == [("load", name)]
    assert [type(r).__name__ for r in replies] == ["RepositoryModelLoadResponse"]
    failed = NotFound("no such file")
    control(Shelf(failed)).load(message, replies.append)
    assert replies[1] is failed


def test_dependents_are_unloaded_on_demand() -> None:
    shelf, replies = Shelf(), list[Any]()
    message = RepositoryModelUnloadRequest(model_name="m")
    control(shelf).unload(message, replies.append)
    message.parameters["unload_dependents"].bool_param = True
    control(shelf).unload(message, replies.append)
    assert shelf.asked == [("unload", "m", False), ("unload", "m", True)]
    assert len(replies) == 2


@pytest.mark.parametrize("key", ["config", "file:1/model.onnx", "other"])
def test_nothing_that_a_caller_sends_is_loaded(key: str) -> None:
    shelf, replies = Shelf(), list[Any]()
    message = RepositoryModelLoadRequest(model_name="m")
    message.parameters[key].string_param = "{}"
    with pytest.raises(Unsupported, match=key):
        control(shelf).load(message, replies.append)
    gone = RepositoryModelUnloadRequest(model_name="m")
    gone.parameters[key].string_param = "{}"
    with pytest.raises(Unsupported, match=key):
        control(shelf).unload(gone, replies.append)
    assert (shelf.asked, replies) == ([], [])


def test_a_load_names_a_model_and_no_foreign_repository() -> None:
    with pytest.raises(InvalidInput, match="names no model"):
        control().load(RepositoryModelLoadRequest(), print)
    message = RepositoryModelLoadRequest(model_name="m", repository_name="/etc")
    with pytest.raises(InvalidInput, match="one repository"):
        control().load(message, print)


def test_models_that_are_not_a_callers_say_whose_they_are() -> None:
    known = Models()
    known.know("m", 3, VersionState.FAILED, "no such operator")
    fixed = control(FixedModels(known, owner="the hub"), known)
    answer = fixed.repository_index(RepositoryIndexRequest())
    assert [(m.name, m.version, m.state, m.reason) for m in answer.models] == [
        ("m", "3", "UNAVAILABLE", "no such operator")
    ]
    with pytest.raises(Conflict, match="the hub decides"):
        fixed.load(RepositoryModelLoadRequest(model_name="m"), print)
    with pytest.raises(Conflict, match="the hub decides"):
        fixed.unload(RepositoryModelUnloadRequest(model_name="m"), print)


def test_the_configuration_is_that_of_the_version_as_it_runs(tmp_path: Path) -> None:
    served = served_model(models.save_classifier(tmp_path / "m.onnx"), "iris", 3)
    config = control(known=models_of(served)).model_config(ModelConfigRequest(name="iris")).config
    assert (config.name, config.platform, config.backend) == (
        "iris",
        "onnxruntime_onnx",
        "onnxruntime",
    )
    assert config.max_batch_size == 0
    assert [(i.name, i.data_type, list(i.dims)) for i in config.input] == [
        ("x", DataType.TYPE_FP32, [-1, 4])
    ]
    assert [(o.name, list(o.dims)) for o in config.output] == [
        ("label", [-1]),
        ("probabilities", [-1, 3]),
    ]
    assert not config.HasField("dynamic_batching")
    assert config.parameters["fogline.max_stack"].string_value == str(served.plan.max_stack)
    with pytest.raises(NotFound, match="nobody"):
        control().model_config(ModelConfigRequest(name="nobody"))


def test_stacking_is_said_in_tritons_words_where_its_rules_allow(tmp_path: Path) -> None:
    served = served_model(models.save_identity(tmp_path / "m.onnx", "BYTES"))
    plan = ModelPlan(placement="loop", max_stack=32, max_delay_us=500)
    config = describe(dataclasses.replace(served, plan=plan))
    assert config.max_batch_size == 32
    assert list(config.input[0].dims) == [2]
    assert config.input[0].data_type == DataType.TYPE_STRING
    assert config.dynamic_batching.max_queue_delay_microseconds == 500
    # A declaration stays what it says, where it is in force.
    declared = ModelConfig(max_batch_size=8)
    declared.dynamic_batching.max_queue_delay_microseconds = 1
    said = describe(served, declared)
    assert said.max_batch_size == 8
    assert not said.HasField("dynamic_batching")


def test_settings_say_what_is_so(logger: logging.Logger) -> None:
    made = Control(Models(), Shelf(), logger)
    settings = made.log_settings(LogSettingsRequest()).settings
    assert (settings["log_file"].string_param, settings["log_format"].string_param) == ("", "json")
    shown = {name: settings[name].bool_param for name in ("log_info", "log_warnings", "log_errors")}
    assert shown == {"log_info": True, "log_warnings": True, "log_errors": True}
    assert settings["log_verbose_level"].uint32_param == 0
    trace = trace_setting(TraceSettingRequest()).settings
    assert {name: list(s.value) for name, s in trace.items()} == {"trace_level": ["OFF"]}


@pytest.mark.parametrize(
    ("given", "level"),
    [
        ({"log_info": False}, logging.WARNING),
        ({"log_info": False, "log_warnings": False}, logging.ERROR),
        ({"log_info": False, "log_warnings": False, "log_errors": False}, logging.CRITICAL),
        ({"log_verbose_level": 1}, logging.DEBUG),
        ({"log_info": True}, logging.INFO),
    ],
)
def test_what_is_logged_can_be_changed(
    given: dict[str, Any], level: int, logger: logging.Logger
) -> None:
    Control(Models(), Shelf(), logger).log_settings(log_request(given))
    assert logger.level == level


def log_request(given: dict[str, Any]) -> LogSettingsRequest:
    message = LogSettingsRequest()
    for name, value in given.items():
        if isinstance(value, bool):
            message.settings[name].bool_param = value
        elif isinstance(value, int):
            message.settings[name].uint32_param = value
        else:
            message.settings[name].string_param = value
    return message


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"log_file": "/etc/cron.d/x"}, Unsupported),
        ({"log_file": ""}, Unsupported),
        ({"log_format": "ISO8601"}, Unsupported),
        ({"log_warnings": False}, InvalidInput),
        ({"log_info": False, "log_verbose_level": 2}, InvalidInput),
    ],
)
def test_a_log_setting_that_cannot_be_changes_nothing(
    given: dict[str, Any], kind: type[Exception], logger: logging.Logger
) -> None:
    with pytest.raises(kind, match="log"):
        Control(Models(), Shelf(), logger).log_settings(log_request(given))
    assert logger.level == logging.INFO


@pytest.mark.parametrize(
    ("name", "value", "is_taken"),
    [
        ("trace_level", ["OFF"], True),
        ("trace_level", [], True),
        ("trace_level", ["TIMESTAMPS"], False),
        ("trace_file", ["/etc/passwd"], False),
        ("trace_file", [], False),
        ("trace_rate", ["1"], False),
    ],
)
def test_traces_stay_off(name: str, value: list[str], is_taken: bool) -> None:
    message = TraceSettingRequest()
    message.settings[name].value.extend(value)
    if is_taken:
        assert trace_setting(message).settings["trace_level"].value == ["OFF"]
    else:
        with pytest.raises(Unsupported, match=name):
            trace_setting(message)


def test_the_status_tells_of_versions_that_are_not_in_memory_too(tmp_path: Path) -> None:
    known = models_of(served_model(models.save_identity(tmp_path / "m.onnx"), "a", 2))
    known.know("b", 1, VersionState.ABSENT)
    known.know("c", 1, VersionState.FAILED, "no such operator")
    rows = Edge(known, None, None).status().models
    assert [(m.name, m.version, m.state) for m in rows] == [
        ("a", "2", "ACTIVE"),
        ("b", "1", "ABSENT"),
        ("c", "1", "UNAVAILABLE"),
    ]
