from fogline import errors
from fogline.wire import open_inference_pb2
from fogline.wire.services import METHODS
from fogline.wire.status import ERROR_OF, STATUS_OF, Status, error_of, status_of


def all_subclasses(kind: type[Exception]) -> set[type[Exception]]:
    """Of the tree itself; a room's own refinement of an error has its parent's row."""
    known = [k for k in kind.__subclasses__() if k.__module__ == errors.__name__]
    return {kind}.union(*(all_subclasses(k) for k in known))


def test_methods_are_those_of_the_descriptors() -> None:
    infer = METHODS["/inference.GRPCInferenceService/ModelInfer"]
    assert infer.request is open_inference_pb2.ModelInferRequest
    assert not infer.streams_responses
    assert METHODS["/grpc.health.v1.Health/Watch"].streams_responses
    assert "/fogline.v1.Edge/Feedback" in METHODS


def test_every_error_has_a_status_row_of_its_own() -> None:
    assert set(STATUS_OF) == all_subclasses(errors.FoglineError)


def test_status_rows_stand_before_their_parents() -> None:
    rows = list(STATUS_OF)
    for i, kind in enumerate(rows):
        assert not any(issubclass(later, kind) for later in rows[i + 1 :])


def test_an_error_comes_back_as_it_went_out() -> None:
    for kind in set(STATUS_OF) - {errors.Untrusted}:
        assert type(error_of(status_of(kind("text")), "text")) is kind


def test_every_other_status_is_an_error_too() -> None:
    for status in set(Status) - set(ERROR_OF):
        assert type(error_of(status, "text")) is errors.FoglineError
    assert type(error_of(999, "text")) is errors.FoglineError
