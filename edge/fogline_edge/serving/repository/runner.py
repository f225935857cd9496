"""A model that is asked in one shape and answers in another, and only so many rows at once."""

from collections.abc import Mapping, Sequence

from fogline.errors import InvalidInput
from fogline.runtime.interrupt import Interrupt
from fogline.schema import Field
from fogline.tensors import Array
from fogline_edge.serving.repository.shapes import Fitted
from fogline_edge.serving.served import Runner


class DeclaredRunner:
    """A `Runner` around the model's own; arrays are reshaped in place, without a copy."""

    def __init__(self, inner: Runner, fitted: Fitted, label: str) -> None:
        self._inner = inner
        self._fitted = fitted
        self._label = label
        self._names = [f.name for f in fitted.schema.outputs]
        self._batched = fitted.schema.inputs[0].name if fitted.schema.inputs else ""

    @property
    def inputs(self) -> tuple[Field, ...]:
        return self._fitted.schema.inputs

    @property
    def outputs(self) -> tuple[Field, ...]:
        return self._fitted.schema.outputs

    def run(
        self,
        arrays: Mapping[str, Array],
        outputs: Sequence[str] | None = None,
        deadline_s: float | None = None,
        interrupt: Interrupt | None = None,
    ) -> dict[str, Array]:
        """As `fogline.runtime.Session.run`.

        Raises:
            InvalidInput: also for more rows than `max_batch_size`. Stacks are never made larger
                than that, so this is one request's own fault.
        """
        fitted = self._fitted
        most = fitted.max_rows
        if most is not None and len(arrays[self._batched]) > most:
            raise InvalidInput(
                f"{self._label}: {len(arrays[self._batched])} rows, at most {most} are taken "
                "(max_batch_size)"
            )
        given = dict(arrays)
        for name, reshape in fitted.reshape_inputs.items():
            array = given[name]
            given[name] = array.reshape(reshape.apply(array.shape))
        wanted = self._names if outputs is None else outputs
        answers = self._inner.run(given, wanted, deadline_s, interrupt)
        for name, reshape in fitted.reshape_outputs.items():
            if name in answers:
                array = answers[name]
                answers[name] = array.reshape(reshape.apply(array.shape))
        return answers

    def close(self) -> None:
        self._inner.close()
