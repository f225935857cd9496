"""`fogline pipeline check` and `fogline pipeline convert`."""

from pathlib import Path

from fogline import console
from fogline.errors import FoglineError, InvalidInput
from fogline.pipeline import (
    Component,
    component_path,
    definition_file,
    index_steps,
    pipeline_misfit,
    read_pipeline,
    topological_order,
)
from fogline.records import Record, pretty_json, to_plain
from fogline.schema import Schema


class PartReport(Record, frozen=True, kw_only=True):
    """What is known of one component."""

    part: str
    component: str
    state: str
    """`there`, `not looked at`, or what is wrong."""


class CheckReport(Record, frozen=True, kw_only=True):
    """What `fogline pipeline check` found."""

    pipeline: str
    steps: tuple[str, ...]
    """In an order in which they may run."""
    components: tuple[PartReport, ...]
    problem: str
    """The first thing that does not fit; empty if all does."""


def check(argv: list[str]) -> int:
    """Checks a definition and what can be seen of its components; 1 if it cannot be served here."""
    parser = console.parser(
        "fogline pipeline check",
        "Check a pipeline's definition: its graph, the Python steps that it needs, and whether the "
        "models that lie beside it fit together. Models of a device are not looked at.",
        "fogline pipeline check pipeline.toml",
        "fogline pipeline check folder/ --json",
    )
    parser.add_argument("definition", type=Path, help="a .toml or .json file, or its folder")
    given = parser.parse_args(argv)
    report = _report(given.definition)
    console.emit(report, _text(report), as_json=given.json)
    return 1 if report.problem else 0


def convert(argv: list[str]) -> int:
    """Prints the definition that a Triton ensemble comes to."""
    parser = console.parser(
        "fogline pipeline convert",
        "Print the definition of a pipeline that does what a Triton ensemble does. Its models are "
        "those of the same names in the repository, or on the device.",
        "fogline pipeline convert models/ensemble/config.pbtxt > models/ensemble/pipeline.json",
    )
    parser.add_argument("config", type=Path, help="the ensemble's config.pbtxt")
    given = parser.parse_args(argv)
    from fogline_edge.serving.pipelines.ensemble import pipeline_of_ensemble
    from fogline_edge.serving.repository.config_file import read_config

    message = read_config(given.config).message
    if not message.name:
        message.name = given.config.resolve().parent.name
    pipeline = pipeline_of_ensemble(message)
    console.emit(pipeline, pretty_json(to_plain(pipeline)), as_json=given.json)
    return 0


def _report(path: Path) -> CheckReport:
    file = definition_file(path)
    pipeline = read_pipeline(file)
    schemas: dict[str, Schema] = {}
    parts, problem = [], ""
    for key, component in pipeline.components.items():
        state = "not looked at"
        try:
            schema = _schema(file, key, component)
        except FoglineError as e:
            state = str(e)
            problem = problem or f"component {key!r}: {e}"
        else:
            if schema is not None:
                schemas[key], state = schema, "there"
        parts.append(PartReport(part=key, component=component.ref, state=state))
    return CheckReport(
        pipeline=pipeline.name,
        steps=topological_order(index_steps(pipeline.steps)),
        components=tuple(parts),
        problem=problem or pipeline_misfit(pipeline, schemas, is_complete=False),
    )


def _schema(file: Path, key: str, component: Component) -> Schema | None:
    """What a component takes and gives; None of a model that the device is to have."""
    from fogline.runtime.prove import prove
    from fogline.runtime.qualification import ProofRequest
    from fogline_edge.serving.steps import find_step

    if component.step:
        step = find_step(component.step, component.options)
        return Schema(inputs=tuple(step.inputs), outputs=tuple(step.outputs))
    if not component.path:
        return None
    path = component_path(file, key, component)
    with console.step(f"proving {path} in a limited process"):
        found = prove(ProofRequest(model=str(path), choose=False))
    if not found.is_accepted:
        raise InvalidInput(f"{path}: {found.reason}: {found.detail}")
    return Schema(inputs=found.inputs, outputs=found.outputs)


def _text(report: CheckReport) -> str:
    rows = [{"part": p.part, "component": p.component, "state": p.state} for p in report.components]
    verdict = f"cannot be served: {report.problem}" if report.problem else "fits"
    return "\n".join(
        [
            console.table(rows, ("part", "component", "state")),
            f"steps: {' -> '.join(report.steps)}",
            f"{report.pipeline}: {console.printable(verdict)}",
        ]
    )
