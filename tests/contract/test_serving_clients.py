"""Other clients of the protocol: KServe's SDK, and ours in one process with each of them."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import models
from tests.serving import models_of, running, served_model

OURS = "from fogline.wire import edge_pb2, fleet_pb2, health_pb2, open_inference_pb2"
TRITON = "import tritonclient.grpc"
KSERVE = "import kserve"

KSERVE_CLIENT = """
import asyncio, sys
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest

async def main(address):
    client = InferenceGRPCClient(url=address, use_ssl=False)
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("iris")
    for raw in (True, False):
        x = InferInput(name="x", shape=[2, 4], datatype="FP32")
        x.set_data_from_numpy(np.ones((2, 4), np.float32), binary_data=raw)
        answer = await client.infer(InferRequest(model_name="iris", infer_inputs=[x]))
        outputs = {o.name: o.as_numpy() for o in answer.outputs}
        assert outputs["label"].shape == (2,), outputs
        assert outputs["probabilities"].shape == (2, 3), outputs
    await client.close()
    print("done")

asyncio.run(main(sys.argv[1]))
"""


def run(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("other", [TRITON, KSERVE])
def test_our_messages_live_in_one_process_with_another_clients(other: str) -> None:
    use = "open_inference_pb2.ModelInferRequest(model_name='m').SerializeToString()"
    run("\n".join([OURS, other, use]))
    run("\n".join([other, OURS, use]))


def test_kserves_sdk_is_answered(tmp_path: Path) -> None:
    served = served_model(models.save_classifier(tmp_path / "m.onnx"), "iris")
    with running(models_of(served)) as address:
        assert run(KSERVE_CLIENT, address) == "done\n"
