"""What a device loads: an import budget."""

import subprocess
import sys

import pytest

HEAVY = {
    "bcrypt", "deltalake", "fogline_hub", "matplotlib", "onnx", "pandas", "pyarrow", "scipy",
    "skl2onnx", "sklearn", "sqlalchemy", "starlette", "tritonclient", "uvicorn",
}  # fmt: skip


@pytest.mark.parametrize(
    ("modules", "forbidden"),
    [
        ("fogline_edge.serving, fogline_edge.serving.loading, fogline_edge.cli.serving", HEAVY),
        ("fogline_edge.capture, fogline_edge.serving.front.loop", HEAVY | {"grpc"}),
        ("fogline.client", HEAVY | {"onnxruntime", "fogline_edge"}),
        ("fogline.tensors, fogline.schema, fogline.addresses, fogline.wire.status",
         HEAVY | {"onnxruntime", "fogline_edge", "grpc"}),
    ],
)  # fmt: skip
def test_a_device_loads_nothing_of_the_hub(modules: str, forbidden: set[str]) -> None:
    code = f"import sys, {modules}; sys.exit(', '.join({forbidden!r} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
