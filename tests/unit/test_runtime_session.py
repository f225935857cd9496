import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnxruntime.capi import onnxruntime_pybind11_state as states

from fogline.clock import wait_until
from fogline.errors import (
    Conflict,
    DeadlineExceeded,
    Exhausted,
    FoglineError,
    InvalidInput,
    NotFound,
    Unavailable,
    Unsupported,
)
from fogline.runtime import Interrupt, ModelPlan, Session, Watchdog, release_memory
from fogline.runtime import session as session_module
from fogline.runtime.memory import held
from fogline.runtime.rehearsal import made_up_rows
from fogline.tensors import DATATYPES
from tests import models, stackable

FOREVER = np.array(10**12, np.int64)


def open_session(path: Path, plan: ModelPlan = ModelPlan()) -> Session:  # noqa: B008
    return Session.open(path, plan, label="m@1")


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_datatype_goes_through_unchanged(tmp_path: Path, datatype: str) -> None:
    session = open_session(models.save_identity(tmp_path / "m.onnx", datatype))
    given: Any = (
        np.array([["a\0\0", ""], ["é", "\0"]], object)
        if datatype == "BYTES"
        else np.array([[0, 1], [1, 0]]).astype(DATATYPES[datatype])
    )
    answer = session.run({"x": given})["y"]
    assert answer.dtype == given.dtype
    assert answer.tolist() == given.tolist()
    (field,) = session.inputs
    assert (field.name, field.datatype, field.shape) == ("x", datatype, (-1, 2))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "save",
    [
        models.save_classifier,
        stackable.save_dense,
        stackable.save_conv,
        stackable.save_forest,
        stackable.save_dynamic_int8,
    ],
)
def test_answers_equal_onnxruntime_bit_for_bit(
    tmp_path: Path, save: Callable[[Path], Path], threads: int
) -> None:
    path = save(tmp_path / "m.onnx")
    session = open_session(path, ModelPlan(threads=threads))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    native = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    rows = next(made_up_rows(session.inputs, 50))
    for i in range(50):
        for deadline_s in (None, 30.0):
            answer = session.run(rows.take(i, 1), deadline_s=deadline_s)
            for name, wanted in zip(answer, native.run(None, rows.take(i, 1)), strict=True):
                assert answer[name].tobytes() == wanted.tobytes()


def test_an_answer_stays_as_it_is_while_the_session_runs_on(tmp_path: Path) -> None:
    session = open_session(models.save_identity(tmp_path / "m.onnx"))
    given = np.ones((4, 2), np.float32)
    first = session.run({"x": given})["y"]
    given[:] = 2
    for value in range(100):
        session.run({"x": np.full((4, 2), value, np.float32)})
    assert first.tolist() == [[1, 1]] * 4
    assert first.flags.writeable
    session.close()
    del session
    release_memory()
    assert first.tolist() == [[1, 1]] * 4


def test_inputs_may_lie_in_memory_as_they_like(tmp_path: Path) -> None:
    session = open_session(models.save_identity(tmp_path / "m.onnx"))
    plain = np.arange(16, dtype=np.float32).reshape(8, 2)
    misaligned = np.frombuffer(b"x" + plain.tobytes(), np.float32, 16, 1).reshape(8, 2)
    assert not misaligned.flags.aligned
    for odd in (plain[::2], np.asfortranarray(plain), plain.astype(">f4"), misaligned):
        assert session.run({"x": odd})["y"].tolist() == odd.tolist()
    scalar = open_session(models.save_identity(tmp_path / "s.onnx", shape=()))
    assert scalar.run({"x": np.array(3, ">f4")})["y"].shape == ()


def test_a_missing_input_is_named_and_never_taken_for_an_optional_one(tmp_path: Path) -> None:
    node = helper.make_node("Clip", ["x", "least"], ["y"])
    sides = [models.tensor(n, "FP32", s) for n, s in (("x", (None, 2)), ("least", ()))]
    path = models.save_graph(
        tmp_path / "m.onnx", [node], sides, [models.tensor("y", "FP32", (None, 2))]
    )
    session = open_session(path)
    x = np.full((1, 2), -1, np.float32)
    assert session.run({"x": x, "least": np.array(0, np.float32)})["y"].tolist() == [[0, 0]]
    with pytest.raises(InvalidInput, match="expected the inputs 'x', 'least': missing 'least'"):
        session.run({"x": x})
    with pytest.raises(InvalidInput, match="missing 'least'"):
        session.run({"x": x, "other": x})


def test_runs_that_ended_late_leave_no_stop_to_later_ones(tmp_path: Path) -> None:
    session = open_session(models.save_slow_loop(tmp_path / "m.onnx"))
    once = {"n": np.array(1, np.int64)}
    for _ in range(5):
        session.run(once, deadline_s=30)
        with pytest.raises(DeadlineExceeded):
            session.run({"n": FOREVER}, deadline_s=0.01)
        session.run(once, deadline_s=30)


def test_many_threads_with_deadlines_end_only_what_is_late(tmp_path: Path) -> None:
    session = open_session(models.save_slow_loop(tmp_path / "m.onnx"))
    late, wrong = [], []

    def work(seed: int) -> None:
        for i in range(40):
            is_late = (i + seed) % 8 == 0
            try:
                session.run(
                    {"n": FOREVER if is_late else np.array(1, np.int64)},
                    deadline_s=0.005 if is_late else 60,
                )
                if is_late:
                    wrong.append("a late run answered")
            except DeadlineExceeded:
                late.append(seed)
                if not is_late:
                    wrong.append("a run in time was ended")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(late) == 20


def test_only_the_outputs_asked_for_come_back_in_that_order(tmp_path: Path) -> None:
    session = open_session(models.save_two_inputs(tmp_path / "m.onnx"))
    arrays = {"x": np.ones((2, 3), np.float32), "scale": np.full((2, 1), 3, np.float32)}
    assert list(session.run(arrays)) == ["product", "total"]
    assert list(session.run(arrays, ["total"])) == ["total"]
    assert list(session.run(arrays, ["total", "product"])) == ["total", "product"]


def test_a_run_ends_at_its_deadline_and_the_next_one_answers(tmp_path: Path) -> None:
    session = open_session(models.save_slow_loop(tmp_path / "m.onnx"))
    with pytest.raises(DeadlineExceeded, match="m@1"):
        session.run({"n": FOREVER}, deadline_s=0.05)
    with pytest.raises(DeadlineExceeded):
        session.run({"n": FOREVER}, deadline_s=0)
    assert session.run({"n": np.array(1, np.int64)}, deadline_s=30)["y"].shape == (64, 64)


def test_a_short_deadline_wakes_a_watchdog_that_sleeps_towards_a_long_one(tmp_path: Path) -> None:
    watchdog = Watchdog()
    session = Session.open(
        models.save_slow_loop(tmp_path / "m.onnx"), ModelPlan(), watchdog=watchdog
    )
    session.run({"n": np.array(1, np.int64)}, deadline_s=3600)
    watchdog.begin(Interrupt(), 3600)
    with pytest.raises(DeadlineExceeded):
        session.run({"n": FOREVER}, deadline_s=0.05)
    watchdog.close()


def test_a_run_is_ended_by_its_interrupt(tmp_path: Path) -> None:
    session = open_session(models.save_slow_loop(tmp_path / "m.onnx"))
    interrupt = Interrupt()
    timer = threading.Timer(0.05, interrupt.trigger)
    timer.start()
    with pytest.raises(Unavailable, match="cancelled"):
        session.run({"n": FOREVER}, interrupt=interrupt)
    with pytest.raises(Unavailable, match="cancelled"):
        session.run({"n": FOREVER}, interrupt=interrupt)
    timer.join()


def test_one_interrupt_ends_all_runs_that_share_it(tmp_path: Path) -> None:
    session = open_session(models.save_slow_loop(tmp_path / "m.onnx"))
    interrupt = Interrupt()
    session.run({"n": np.array(1, np.int64)}, interrupt=interrupt)
    begun, ended = [], []

    def work() -> None:
        begun.append(True)
        with pytest.raises(Unavailable, match="cancelled"):
            session.run({"n": FOREVER}, interrupt=interrupt)
        ended.append(True)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert wait_until(lambda: len(begun) == 3, timeout_s=20)
    interrupt.trigger()
    for thread in threads:
        thread.join(20)
    assert ended == [True] * 3


def test_a_failed_node_is_named_without_values(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    session = open_session(models.save_gather(tmp_path / "m.onnx"))
    with pytest.raises(InvalidInput, match="m@1: the Gather node 'pick' failed") as caught:
        session.run({"x": np.zeros(4, np.float32), "i": np.array([123457])})
    assert "123457" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_text_that_is_no_str_is_refused_and_not_served_as_its_repr(tmp_path: Path) -> None:
    session = open_session(models.save_identity(tmp_path / "m.onnx", "BYTES"))
    with pytest.raises(InvalidInput, match="'x': expected str elements, got bytes"):
        session.run({"x": np.array([[b"a", b"b"]], object)})
    assert session.run({"x": np.array([["a", "b"]])})["y"].tolist() == [["a", "b"]]


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"x": np.zeros((1, 2))},
        {"x": np.zeros((1, 3), np.float32)},
        {"x": np.zeros(2, np.float32)},
        {"x": np.zeros((1, 2), np.float32), "z": np.zeros(1)},
        {"x": np.array([[{}, None]], object)},
    ],
)
def test_inputs_that_do_not_fit_are_invalid(tmp_path: Path, arrays: dict[str, Any]) -> None:
    session = open_session(models.save_identity(tmp_path / "m.onnx"))
    with pytest.raises(InvalidInput, match="m@1"):
        session.run(arrays)


def test_a_closed_session_says_so(tmp_path: Path) -> None:
    session = open_session(models.save_identity(tmp_path / "m.onnx"))
    session.close()
    with pytest.raises(Conflict, match="closed"):
        session.run({"x": np.zeros((1, 2), np.float32)})


def test_zero_rows_give_empty_outputs_where_the_graph_allows_it(tmp_path: Path) -> None:
    session = open_session(models.save_two_inputs(tmp_path / "m.onnx"))
    empty = {"x": np.zeros((0, 3), np.float32), "scale": np.zeros((0, 1), np.float32)}
    assert session.run(empty)["total"].shape == (0, 3)
    session = open_session(models.save_classifier(tmp_path / "m.onnx"))
    with pytest.raises(InvalidInput, match="m@1: the ArrayFeatureExtractor node"):
        session.run({"x": np.zeros((0, 4), np.float32)})


def test_files_that_are_no_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(NotFound, match=r"m\.onnx: no such file"):
        open_session(path)
    for data in (b"", b"not a model" * 9):
        path.write_bytes(data)
        with pytest.raises(InvalidInput, match="m@1: onnxruntime cannot load it"):
            open_session(path)


def test_what_cannot_be_served_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(Unsupported, match=r"m@1: an operator.*example\.custom:Magic"):
        open_session(models.save_custom_domain(path))
    with pytest.raises(Unsupported, match=r"m@1: input 'x' is a tensor\(bfloat16\)"):
        open_session(models.save_bfloat16(path))
    with pytest.raises(Unsupported, match=r"output 'output_probability'.*zipmap=False"):
        open_session(models.save_classifier(path, zipmap=True))


def test_every_error_of_onnxruntime_is_mapped() -> None:
    found = {k for k in vars(states).values() if isinstance(k, type) and issubclass(k, Exception)}
    ignored = {getattr(states, "DeviceReset", None)}  # of devices that are not used
    assert found - ignored == set(session_module._ERRORS)
    for kind in found:
        assert isinstance(session_module._run_error("m@1", kind("x")), FoglineError)


@pytest.mark.parametrize(
    "plan",
    [ModelPlan(threads=2), ModelPlan(arena=False), ModelPlan(prepack=False, optimize=False)],
)
def test_every_plan_answers(tmp_path: Path, plan: ModelPlan) -> None:
    session = open_session(models.save_classifier(tmp_path / "m.onnx"), plan)
    assert session.run({"x": np.ones((3, 4), np.float32)})["label"].shape == (3,)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("fogline.runtime.plan", ("numpy", "onnxruntime", "google.protobuf")),
        ("fogline.runtime.interrupt", ("numpy", "onnxruntime")),
        ("fogline.runtime.prove", ("onnxruntime",)),
        ("fogline.runtime.memory", ("numpy", "onnxruntime")),
    ],
)
def test_planning_and_proving_do_without_onnxruntime(module: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print([n for n in {absent} if n in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def save_wide_loop(path: Path) -> Path:
    """`y` after `n` rounds over 8 MiB; a round takes some milliseconds."""
    size = [2**21]
    body = helper.make_graph(
        [
            helper.make_node("Tanh", ["state"], ["next"]),
            helper.make_node("Identity", ["go"], ["go_on"]),
        ],
        "round",
        [models.tensor(n, d, s) for n, d, s in
         (("round", "INT64", ()), ("go", "BOOL", ()), ("state", "FP32", size))],
        [models.tensor("go_on", "BOOL", ()), models.tensor("next", "FP32", size)],
    )  # fmt: skip
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["start"]),
        helper.make_node("Loop", ["n", "true", "start"], ["y"], body=body),
    ]
    constants = [
        helper.make_tensor("size", TensorProto.INT64, [1], size),
        helper.make_tensor("true", TensorProto.BOOL, [], [True]),
    ]
    sides = [models.tensor("n", "INT64", ())], [models.tensor("y", "FP32", size)]
    return models.save_graph(path, nodes, *sides, constants)


def test_runs_that_were_ended_give_their_memory_back(tmp_path: Path) -> None:
    session = open_session(save_wide_loop(tmp_path / "m.onnx"))

    def end_one() -> None:
        with pytest.raises(DeadlineExceeded):
            session.run({"n": FOREVER}, deadline_s=0.02)

    for _ in range(3):
        end_one()
    release_memory()
    before = held().anonymous
    for _ in range(20):
        end_one()
    release_memory()
    assert held().anonymous - before < 8 * 2**20  # a run takes at least 16


def test_closing_a_session_leaves_its_runs_their_model(tmp_path: Path) -> None:
    session = open_session(models.save_slow_loop(tmp_path / "m.onnx"))
    stop = Interrupt()
    errors: list[Exception] = []

    def run() -> None:
        try:
            session.run({"n": FOREVER}, interrupt=stop)
        except Unavailable as e:
            errors.append(e)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert wait_until(lambda: len(stop._attached) == 3, timeout_s=10)
    session.close()
    release_memory()
    with pytest.raises(Conflict):
        session.run({"n": FOREVER})
    assert all(thread.is_alive() for thread in threads)
    stop.trigger()
    for thread in threads:
        thread.join(10)
    assert len(errors) == 3


def test_no_run_with_a_deadline_begins_that_nothing_would_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    session = open_session(models.save_slow_loop(tmp_path / "m.onnx"))
    stop = Interrupt()
    with monkeypatch.context() as without_threads:
        without_threads.setattr(threading.Thread, "start", refuse)
        for interrupt in (None, stop):
            with pytest.raises(Exhausted, match="no thread"):
                session.run({"n": np.array(1, np.int64)}, deadline_s=30, interrupt=interrupt)
    assert stop._attached == []
    with pytest.raises(DeadlineExceeded):
        session.run({"n": FOREVER}, deadline_s=0.01)
