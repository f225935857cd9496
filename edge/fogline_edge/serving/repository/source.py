"""A version of a repository's model: its own source, and what its declaration changes of it."""

import dataclasses
from collections.abc import Hashable
from hashlib import sha256

import msgspec

from fogline.errors import InvalidInput
from fogline.records import canonical_json
from fogline.runtime.plan import ModelPlan
from fogline.schema import Field, Schema
from fogline_edge.serving.repository.declaration import Declaration, DeclaredTensor
from fogline_edge.serving.repository.folder import Found
from fogline_edge.serving.repository.runner import DeclaredRunner
from fogline_edge.serving.repository.shapes import Fitted, fit
from fogline_edge.serving.repository.warmup import warm_up
from fogline_edge.serving.residency.room import Need
from fogline_edge.serving.residency.source import Source
from fogline_edge.serving.served import ServedModel


class DeclaredSource:
    """A `Source` of one version."""

    def __init__(self, inner: Source, found: Found) -> None:
        self._inner = inner
        self._found = found
        said = canonical_json(found.declaration) + canonical_json(dict(found.labels))
        self._said = sha256(said).digest()

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def version(self) -> int:
        return self._inner.version

    @property
    def stamp(self) -> Hashable:
        return self._inner.stamp, self._said

    @property
    def need(self) -> Need | None:
        return self._inner.need

    def prove(self) -> None:
        self._inner.prove()

    def open(self) -> ServedModel:
        """As the inner source's.

        Raises:
            InvalidInput: declaration and model do not agree, or a warm-up run fails.
        """
        served = self._inner.open()
        try:
            return self._declared(served)
        except BaseException:
            served.runner.close()
            raise

    def _declared(self, served: ServedModel) -> ServedModel:
        found = self._found
        own = Schema(inputs=served.runner.inputs, outputs=served.runner.outputs)
        fitted = fit(found.declaration, own, found.labels, served.label)
        runner = served.runner
        if _changes(fitted, own):
            runner = DeclaredRunner(served.runner, fitted, served.label)
        made = dataclasses.replace(
            served,
            schema=fitted.schema,
            runner=runner,
            plan=plan_of(found.declaration, served.plan),
            queue=found.declaration.queue,
        )
        warm_up(made, found.declaration.warmups, found.folder)
        return made


def plan_before(declaration: Declaration, plan: ModelPlan) -> ModelPlan:
    """How a model is to be opened and measured, where its declaration says so."""
    said = {
        "threads": declaration.threads,
        "arena": declaration.arena,
        "optimize": declaration.optimize,
    }
    return msgspec.structs.replace(plan, **{k: v for k, v in said.items() if v is not None})


def plan_of(declaration: Declaration, measured: ModelPlan) -> ModelPlan:
    """How a model is run: as it was measured, within what its declaration allows."""
    stack = measured.max_stack
    if declaration.max_stack is not None:
        stack = min(stack, declaration.max_stack)
    # Without stacks there is nothing to wait for.
    delay_us = declaration.max_delay_us if stack > 1 else 0
    return msgspec.structs.replace(measured, max_stack=stack, max_delay_us=delay_us)


def bounded_schema(declaration: Declaration, label: str) -> Schema | None:
    """The model's own tensors as far as declared, for a proof within bounds; None without bounds.

    A graph that needs bounds is not loaded without them, so they must stand in a whole schema.

    Raises:
        InvalidInput: values are bounded, and not all tensors are declared.
    """
    if not declaration.bounds:
        return None
    if not declaration.inputs or not declaration.outputs:
        raise InvalidInput(
            f"{label}: bounds are declared, so all inputs and outputs of the model must be too"
        )
    rows = (-1,) if declaration.max_batch_size else ()
    unknown = declaration.bounds.keys() - {t.name for t in declaration.inputs}
    if unknown:
        raise InvalidInput(f"{label}: bounds of the inputs {sorted(unknown)[:16]}: there are none")
    try:
        return Schema(
            inputs=tuple(_own(t, rows, declaration) for t in declaration.inputs),
            outputs=tuple(_own(t, rows, declaration) for t in declaration.outputs),
        )
    except ValueError as e:
        raise InvalidInput(f"{label}: {e}") from None


def _own(tensor: DeclaredTensor, rows: tuple[int, ...], declaration: Declaration) -> Field:
    least, greatest = declaration.bounds.get(tensor.name, (None, None))
    return Field(
        name=tensor.name,
        datatype=tensor.datatype,
        shape=rows + (tensor.dims if tensor.reshape is None else tensor.reshape),
        minimum=least,
        maximum=greatest,
    )


def _changes(fitted: Fitted, own: Schema) -> bool:
    """Whether requests differ from what the model itself takes and gives."""
    return (
        fitted.changes_shapes
        or fitted.max_rows is not None
        or {f.name for f in fitted.schema.outputs} != {f.name for f in own.outputs}
    )
