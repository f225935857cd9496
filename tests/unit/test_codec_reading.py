"""The fast path and protobuf's give the same request, or the same refusal."""

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.errors import InvalidInput, NotFound, Unsupported
from fogline.schema import Schema
from fogline.tensors import decode_inputs, encode_inputs
from fogline.wire.open_inference_pb2 import ModelInferRequest
from fogline_edge.serving.codec import CodecLimits, ModelCodec, Request, target_of
from fogline_edge.serving.codec.fields import MAX_FIELDS, scan
from tests.codec_messages import SCHEMAS, field, messages, requests

ARRIVED = 1_762_000_000_000_001


def codec_of(schema: Schema, **more: Any) -> ModelCodec:
    return ModelCodec("m", 1, schema, **more)


def outcome(codec: ModelCodec, message: bytes) -> Any:
    """What came of a message; any error but `InvalidInput` and its kinds goes through."""
    try:
        return as_plain(codec.read(message, ARRIVED))
    except InvalidInput as e:
        return type(e), str(e)


def as_plain(request: Request) -> Any:
    parts = [p if isinstance(p, bytes) else p.tolist() for p in request.parts]
    inputs = {n: (a.dtype, a.shape, a.tolist()) for n, a in request.inputs.items()}
    return (
        request.id, request.rows, request.outputs, request.event_us, request.timeout_s,
        request.priority, request.wanted, request.is_marked_final, parts, repr(inputs),
    )  # fmt: skip


def is_fast(codec: ModelCodec, message: bytes) -> bool:
    return codec._layouts.read(message, ARRIVED) is not None


@pytest.fixture(scope="module")
def codecs() -> dict[str, ModelCodec]:
    """Kept from example to example, so that they meet layouts that others have left."""
    return {name: codec_of(schema) for name, schema in SCHEMAS.items()}


@settings(max_examples=400)
@given(st.data(), st.sampled_from(sorted(SCHEMAS)))
def test_both_paths_give_the_same_for_any_message(
    codecs: dict[str, ModelCodec], data: st.DataObject, name: str
) -> None:
    schema = SCHEMAS[name]
    slow = codec_of(schema, limits=CodecLimits(max_layouts=0))
    for message in data.draw(st.lists(messages(schema), min_size=1, max_size=4)):
        expected = outcome(slow, message)
        for _ in range(2):  # before and after its layout is known
            assert outcome(codecs[name], message) == expected


@settings(max_examples=200)
@given(st.data(), st.sampled_from(["rows", "several", "bounded"]))
def test_a_changed_byte_never_passes_for_what_it_was(data: st.DataObject, name: str) -> None:
    schema = SCHEMAS[name]
    fast, slow = codec_of(schema), codec_of(schema, limits=CodecLimits(max_layouts=0))
    message = data.draw(requests(schema)).SerializeToString()
    outcome(fast, message)
    changed = bytearray(message)
    changed[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    assert outcome(fast, bytes(changed)) == outcome(slow, bytes(changed))


@settings(max_examples=200)
@given(st.data(), st.sampled_from(sorted(SCHEMAS)))
def test_what_is_read_is_what_protobuf_and_the_tensors_say(
    codecs: dict[str, ModelCodec], data: st.DataObject, name: str
) -> None:
    message = data.draw(requests(SCHEMAS[name]))
    try:
        request = codecs[name].read(message.SerializeToString(), ARRIVED)
    except InvalidInput:
        return
    assert request.id == message.id
    expected = decode_inputs(message)
    assert request.inputs.keys() == expected.keys()
    for key, array in request.inputs.items():
        assert array.dtype == expected[key].dtype
        assert (
            array.tobytes() == expected[key].tobytes() or array.tolist() == expected[key].tolist()
        )
        assert array.shape == expected[key].shape


@settings(max_examples=100)
@given(st.data(), st.sampled_from(["rows", "several", "text"]))
def test_joined_requests_are_their_inputs_one_below_the_other(
    codecs: dict[str, ModelCodec], data: st.DataObject, name: str
) -> None:
    codec = codecs[name]
    forms: dict[int, list[Request]] = {}
    for message in data.draw(st.lists(requests(SCHEMAS[name]), min_size=1, max_size=6)):
        try:
            request = codec.read(message.SerializeToString(), ARRIVED)
        except InvalidInput:
            continue
        forms.setdefault(id(request.form), []).append(request)
    for alike in forms.values():
        joined = codec.join(alike)
        for key, array in joined.items():
            expected = np.concatenate([r.inputs[key] for r in alike])
            assert array.dtype == expected.dtype
            assert array.shape == expected.shape
            assert array.tolist() == expected.tolist() or array.tobytes() == expected.tobytes()


@given(st.binary(max_size=60))
def test_any_bytes_have_a_target_or_are_refused(data: bytes) -> None:
    try:
        name, version = target_of(data)
    except InvalidInput:
        return
    assert isinstance(name, str)
    assert isinstance(version, str)


@settings(max_examples=200)
@given(st.data())
def test_the_target_is_the_models_name_or_the_message_is_refused(
    codecs: dict[str, ModelCodec], data: st.DataObject
) -> None:
    message = data.draw(messages(SCHEMAS["rows"]))
    try:
        target = target_of(message)
        codecs["rows"].read(message, ARRIVED)
    except InvalidInput:
        return
    parsed = ModelInferRequest.FromString(message)
    assert target == (parsed.model_name, parsed.model_version)


# -------------------------------------------------------------------------- the fast path is used


def message_of(ident: str = "", rows: int = 1, /, **numbers: int) -> ModelInferRequest:
    message = ModelInferRequest(model_name="m", id=ident)
    rng = np.random.default_rng(rows + len(ident))
    encode_inputs(message, {"x": rng.normal(size=(rows, 3)).astype(np.float32)})
    for name, value in numbers.items():
        message.parameters[name].int64_param = value
    return message


def test_other_ids_numbers_and_contents_of_a_known_layout_are_fast() -> None:
    codec = codec_of(SCHEMAS["rows"])
    codec.read(message_of("first").SerializeToString(), ARRIVED)
    for message in (
        message_of("another"),
        message_of(),
        message_of("é" * 40),
        message_of("x" * 127),
        message_of("x", event_time_us=1_762_000_000_000_000),
        message_of("x", event_time_us=0, timeout=1, priority=2),
        message_of("x", timeout=2**55),
    ):
        data = message.SerializeToString()
        assert is_fast(codec, data), message
        assert outcome(codec, data) == outcome(
            codec_of(SCHEMAS["rows"], limits=CodecLimits(max_layouts=0)), data
        )
    versioned = message_of("x")
    versioned.model_version = "1"
    assert is_fast(codec, versioned.SerializeToString())


def test_several_inputs_are_fast_in_any_order() -> None:
    codec = codec_of(SCHEMAS["several"])
    arrays = {
        "c": np.ones((2, 4), np.uint8),
        "a": np.array([[1, 2], [3, 4]]),
        "b": np.array([True, False]),
    }
    message = ModelInferRequest(model_name="m")
    encode_inputs(message, arrays)
    codec.read(message.SerializeToString(), ARRIVED)
    message.id = "other"
    data = message.SerializeToString()
    assert is_fast(codec, data)
    for name, array in codec.read(data, ARRIVED).inputs.items():
        assert np.array_equal(array, arrays[name])


def test_layouts_are_forgotten_oldest_first() -> None:
    codec = codec_of(SCHEMAS["rows"], limits=CodecLimits(max_layouts=3))
    datas = [message_of("id", rows).SerializeToString() for rows in range(1, 6)]
    for data in datas:
        codec.read(data, ARRIVED)
    assert [is_fast(codec, d) for d in datas] == [False, False, True, True, True]


def test_layouts_of_equal_length_are_kept_apart() -> None:
    schema = Schema(inputs=(field("x", "UINT8", -1, -1),), outputs=(field("y", "FP32", -1),))
    codec = codec_of(schema)
    sides = [(a, 64 // a) for a in (1, 2, 4, 8, 16, 32, 64)]
    datas = []
    for side in sides:
        message = ModelInferRequest(model_name="m")
        encode_inputs(message, {"x": np.zeros(side, np.uint8)})
        datas.append(message.SerializeToString())
        codec.read(datas[-1], ARRIVED)
    assert all(is_fast(codec, d) for d in datas)
    assert [codec.read(d, ARRIVED).inputs["x"].shape for d in datas] == sides


# ------------------------------------------------------------------------------------ stacking


def test_requests_of_other_rows_share_a_form_and_of_other_outputs_do_not() -> None:
    codec = codec_of(SCHEMAS["rows"])
    one, two, other = message_of("", 1), message_of("", 5), message_of("", 1)
    other.outputs.add(name="label")
    forms = [codec.read(m.SerializeToString(), ARRIVED).form for m in (one, two, other)]
    assert forms[0] is forms[1]
    assert forms[2] is not forms[0]
    assert forms[2].outputs == ("label",)


def test_what_has_no_rows_is_never_stacked() -> None:
    codec = codec_of(SCHEMAS["scalar"])
    message = ModelInferRequest(model_name="m")
    encode_inputs(message, {"x": np.float32(1.5), "k": np.array([1, 2], np.int32)})  # type: ignore[dict-item]
    first, second = (codec.read(message.SerializeToString(), ARRIVED) for _ in range(2))
    assert first.form is not second.form
    assert codec.join((first,))["x"] == np.float32(1.5)


# ----------------------------------------------------------------------------------- parameters


def read(message: ModelInferRequest, schema: str = "rows") -> Request:
    return codec_of(SCHEMAS[schema]).read(message.SerializeToString(), ARRIVED)


def test_parameters_say_when_how_long_and_how_urgent() -> None:
    request = read(message_of(event_time_us=7, timeout=1500, priority=1))
    assert (request.event_us, request.timeout_s, request.priority) == (7, 0.0015, 1)
    request = read(message_of(timeout=0, priority=0))
    assert (request.event_us, request.timeout_s, request.priority) == (ARRIVED, None, 0)
    message = message_of()
    message.parameters["priority"].uint64_param = 3
    assert read(message).priority == 3


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("event_time_us", -1, "Unix microseconds, 1970 to 9999"),
        ("event_time_us", 2**62, "Unix microseconds"),
        ("timeout", -5, "microseconds from 0"),
        ("priority", -1, "from 1"),
    ],
)
def test_a_number_that_cannot_be_right_is_refused(name: str, value: int, text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        read(message_of(**{name: value}))


def test_sequences_are_refused_and_unknown_parameters_passed_over() -> None:
    for name in ("sequence_id", "sequence_start", "sequence_end"):
        with pytest.raises(Unsupported, match=f"{name}.*keep no state"):
            read(message_of(**{name: 1}))
    message = message_of(own=1)
    message.parameters["binary_data_output"].bool_param = True
    message.inputs[0].parameters["binary_data_size"].int64_param = 12
    message.outputs.add(name="y").parameters["binary_data"].bool_param = True
    assert read(message).wanted is None


def test_a_parameter_of_another_type_is_refused() -> None:
    message = message_of()
    message.parameters["timeout"].string_param = "1"
    with pytest.raises(InvalidInput, match="'timeout' must be an int64_param, got string_param"):
        read(message)


# -------------------------------------------------------------------------------------- refusals


def test_an_unknown_output_and_one_wanted_twice_are_refused() -> None:
    message = message_of()
    message.outputs.add(name="z")
    with pytest.raises(NotFound, match="model m@1 has no output 'z'; it has 'y', 'label'"):
        read(message)
    message.outputs[0].name = "y"
    message.outputs.add(name="y")
    with pytest.raises(InvalidInput, match="'y' is wanted twice"):
        read(message)


def test_values_outside_of_declared_bounds_are_refused_on_both_paths() -> None:
    codec = codec_of(SCHEMAS["bounded"])
    for values, is_right in (([5, -5], True), ([6, 0], False), ([0, -6], False), ([5, 5], True)):
        message = ModelInferRequest(model_name="m")
        encode_inputs(message, {"x": np.array(values), "s": np.zeros(2, np.float16)})
        data = message.SerializeToString()
        if is_right:
            codec.read(data, ARRIVED)
        else:
            with pytest.raises(InvalidInput, match="'x': expected values from -5 to 5"):
                codec.read(data, ARRIVED)


def test_a_model_that_is_named_again_further_on_is_refused() -> None:
    data = message_of().SerializeToString() + b"\n\x05other"
    assert target_of(data) == ("m", "")
    with pytest.raises(InvalidInput, match="twice"):
        codec_of(SCHEMAS["rows"]).read(data, ARRIVED)


def test_what_is_no_message_is_refused() -> None:
    for data in (b"", b"\xff", b"\n\x05m", b"\n\x01m\x3a\x7f"):
        with pytest.raises(InvalidInput):
            codec_of(SCHEMAS["rows"]).read(data, ARRIVED)


# ------------------------------------------------------------------- every byte is looked at once

BYTES = (0, 1, 2, 3, 0x0A, 0x10, 0x12, 0x1A, 0x20, 0x22, 0x28, 0x32, 0x3A, 0x7F, 0x80, 0xFF)


def known_messages() -> dict[str, tuple[Schema, ModelInferRequest]]:
    several = ModelInferRequest(model_name="m", id="id", model_version="1")
    encode_inputs(
        several,
        {
            "a": np.array([[1, 2], [3, 4]]),
            "b": np.array([True, False]),
            "c": np.ones((2, 4), np.uint8),
        },
    )
    several.outputs.add(name="y")
    bounded = ModelInferRequest(model_name="m")
    encode_inputs(bounded, {"x": np.array([5, -5]), "s": np.zeros(2, np.float16)})
    numbers = message_of("é", 2, event_time_us=1_762_000_000_000_000, timeout=300, priority=1)
    numbers.parameters["priority"].uint64_param = 200
    event = message_of("id", 1, event_time_us=1_762_000_000_000_000)
    classes = message_of()
    classes.outputs.add(name="label").parameters["classification"].int64_param = 2
    return {
        "several": (SCHEMAS["several"], several),
        "bounded": (SCHEMAS["bounded"], bounded),
        "numbers": (SCHEMAS["rows"], numbers),
        "event time": (SCHEMAS["rows"], event),
        "classes": (SCHEMAS["rows"], classes),
    }


@pytest.mark.parametrize("name", sorted(known_messages()))
def test_no_byte_of_a_known_message_can_change_unseen(name: str) -> None:
    schema, message = known_messages()[name]
    fast, slow = codec_of(schema), codec_of(schema, limits=CodecLimits(max_layouts=0))
    data = message.SerializeToString()
    fast.read(data, ARRIVED)
    assert is_fast(fast, data)
    for at in range(len(data)):
        for byte in (*BYTES, data[at] ^ 1, data[at] ^ 0x80, data[at] ^ 0x40):
            changed = data[:at] + bytes([byte]) + data[at + 1 :]
            assert outcome(fast, changed) == outcome(slow, changed), (at, byte)
        for changed in (data[:at], data[at:], data[:at] + data[at + 1 :], data[:at] + data):
            assert outcome(fast, changed) == outcome(slow, changed), at


@pytest.mark.parametrize("name", sorted(known_messages()))
def test_fields_before_and_behind_a_known_message_are_seen(name: str) -> None:
    schema, message = known_messages()[name]
    data = message.SerializeToString()
    extra = ModelInferRequest(model_name="m", model_version="1", id="other")
    extra.parameters["timeout"].int64_param = 5
    extra.parameters["own"].int64_param = 5
    extra.outputs.add(name="y")
    extra.raw_input_contents.append(b"ab")
    parts = [data[s.start : s.end] for s in scan(data)]
    others = [extra.SerializeToString()[s.start : s.end] for s in scan(extra.SerializeToString())]
    fast, slow = codec_of(schema), codec_of(schema, limits=CodecLimits(max_layouts=0))
    fast.read(data, ARRIVED)
    for one in (*others, *parts, b"\xfa\x07\x00", b"\xf8\x07\x01", b"\x1a\x81\x00x"):
        for at in range(len(parts) + 1):
            changed = b"".join((*parts[:at], one, *parts[at:]))
            for _ in range(2):
                assert outcome(fast, changed) == outcome(slow, changed), (one, at)
    for a in range(len(parts)):
        for b in range(a):
            swapped = list(parts)
            swapped[a], swapped[b] = swapped[b], swapped[a]
            changed = b"".join(swapped)
            for _ in range(2):
                assert outcome(fast, changed) == outcome(slow, changed), (a, b)


# ---------------------------------------------------------------------------------------- bounds


def test_texts_and_typed_contents_are_bounded_before_anything_is_made_of_them() -> None:
    codec = codec_of(SCHEMAS["text"], limits=CodecLimits(max_texts=3, max_typed=4))
    message = ModelInferRequest(model_name="m")
    for name, datatype in (("t", "BYTES"), ("x", "FP64")):
        message.inputs.add(name=name, datatype=datatype, shape=[3])
    message.inputs[0].contents.bytes_contents.extend([b"a"] * 3)
    message.inputs[1].contents.fp64_contents.extend([1.0] * 3)
    assert codec.read(message.SerializeToString(), ARRIVED).rows == 3
    message.inputs[0].shape[0] = 4
    with pytest.raises(InvalidInput, match=r"'t': 4 elements in this form, at most 3.*fewer rows"):
        codec.read(message.SerializeToString(), ARRIVED)
    message.inputs[0].shape[0] = 3
    message.inputs[1].shape[0] = 5
    with pytest.raises(InvalidInput, match=r"'x': 5 elements in this form, at most 4.*raw con"):
        codec.read(message.SerializeToString(), ARRIVED)


def test_long_messages_of_every_form_are_read() -> None:
    """What is looked through before it is parsed is still a message like any other."""
    raw, typed = ModelInferRequest(model_name="m"), ModelInferRequest(model_name="m")
    texts = np.array(["B" * 20] * 6000, object)
    encode_inputs(raw, {"t": texts, "x": np.zeros(6000)})
    for name, datatype in (("t", "BYTES"), ("x", "FP64")):
        typed.inputs.add(name=name, datatype=datatype, shape=[6000])
    typed.inputs[0].contents.bytes_contents.extend([b"B" * 20] * 6000)
    typed.inputs[1].contents.fp64_contents.extend([0.0] * 6000)
    for message in (raw, typed):
        data = message.SerializeToString()
        assert len(data) > MAX_FIELDS
        request = codec_of(SCHEMAS["text"]).read(data, ARRIVED)
        assert request.inputs["t"].tolist() == texts.tolist()
        assert request.rows == 6000


def test_arrays_begin_where_numpys_own_do_on_both_paths() -> None:
    codec = codec_of(SCHEMAS["rows"])
    for ident in ("", "a", "ab", "abc"):
        data = message_of(ident, 3).SerializeToString()
        requests_ = [codec.read(data, ARRIVED) for _ in range(3)]
        for some in (requests_[:1], requests_):
            assert codec.join(some)["x"].ctypes.data % 16 == 0


def test_threads_share_a_codec_whose_layouts_come_and_go() -> None:
    codec = codec_of(SCHEMAS["rows"], limits=CodecLimits(max_layouts=4))
    datas = [message_of("x" * (rows % 5), rows).SerializeToString() for rows in range(1, 17)]
    expected = [outcome(codec_of(SCHEMAS["rows"]), data) for data in datas]
    wrong: list[object] = []

    def work(seed: int) -> None:
        order = np.random.default_rng(seed).integers(0, len(datas), 1500)
        try:
            wrong.extend(i for i in order if outcome(codec, datas[i]) != expected[i])
        except Exception as e:
            wrong.append(e)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert codec._layouts._count == sum(len(v) for v in codec._layouts._by_size.values()) <= 4
