"""Python steps of pipelines: code that is installed on the device, never shipped in a bundle.

A package makes its steps known as entry points of the group `fogline.steps`:

    [project.entry-points."fogline.steps"]
    read-boxes = "my_package.boxes:ReadBoxes"

What the entry point names has a whole number `version`, and is called once for each pipeline that
uses it, with the component's options as keywords; it returns a `PythonStep`. Several versions of a
step may be installed under one name.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from fogline.errors import FoglineError, InvalidInput, NotFound
from fogline.pipeline import split_version
from fogline.schema import Field, Schema
from fogline.tensors import Array

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "fogline.steps"


@runtime_checkable
class PythonStep(Protocol):
    """One step, ready to run; `run` may be called by several threads at once."""

    @property
    def inputs(self) -> tuple[Field, ...]: ...

    @property
    def outputs(self) -> tuple[Field, ...]: ...

    def run(self, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
        """Computes every output from every input.

        Args:
            arrays: Read-only; they may be returned, or views of them.

        Returns:
            Arrays that nobody writes to any more.

        Raises:
            FoglineError: `InvalidInput` where the inputs cannot be right; its text reaches the
                caller, so it holds no values. Whatever else is raised is a fault of the step.
        """


def find_step(ref: str, options: Mapping[str, Any]) -> PythonStep:
    """The installed step `NAME@VERSION`, made with `options`.

    Raises:
        NotFound: it is not installed, or not in this version; the text says what is.
        InvalidInput: it does not take these options, or is no step.
    """
    # Here and below, so that a pipeline of models alone does not load what parses metadata.
    from importlib.metadata import entry_points

    name, version = split_version(ref)
    there = []
    for made_by, factory in _factories(name):
        found = getattr(factory, "version", None)
        if found == int(version) and not isinstance(found, bool):
            return _made(ref, made_by, factory, options)
        there.append(f"{name}@{found} of {made_by.value}")
    known = "; ".join(there) or ", ".join(sorted({e.name for e in entry_points(group=GROUP)})[:32])
    raise NotFound(
        f"the Python step {ref} is not installed; installed are: {known or 'none'}. A package "
        f"brings it as an entry point of the group {GROUP!r}"
    )


def _factories(name: str) -> Iterator[tuple["EntryPoint", Any]]:
    from importlib.metadata import entry_points

    for entry in entry_points(group=GROUP, name=name):
        try:
            yield entry, entry.load()
        except Exception as e:  # whatever the package's own import raises
            raise InvalidInput(
                f"the Python step {name!r} cannot be imported from {entry.value}: "
                f"{type(e).__name__}: {str(e)[:400]}"
            ) from e


def _made(ref: str, entry: "EntryPoint", factory: Any, options: Mapping[str, Any]) -> PythonStep:
    try:
        step = factory(**options)
        Schema(inputs=tuple(step.inputs), outputs=tuple(step.outputs))
    except FoglineError:
        raise
    except Exception as e:  # an option that it does not know, or a fault of the package
        raise InvalidInput(
            f"the Python step {ref} ({entry.value}) cannot be made with the options "
            f"{sorted(options)}: {type(e).__name__}: {str(e)[:400]}"
        ) from e
    if not isinstance(step, PythonStep):
        raise InvalidInput(f"{entry.value} makes no step: it needs inputs, outputs and run")
    return step
