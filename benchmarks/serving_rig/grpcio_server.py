"""The server that one writes first: grpcio's, with threads, protobuf and onnxruntime.

    python -m benchmarks.serving_rig.grpcio_server PORT NAME=MODEL... [--tls CERTIFICATE KEY]

No validation beyond what a right request needs, no statistics, no capture.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnxruntime as ort

from fogline.wire.open_inference_pb2 import ModelInferRequest, ModelInferResponse

DTYPES = {"FP32": np.float32, "INT32": np.int32}
NAMES = {np.dtype(np.float32): "FP32", np.dtype(np.int64): "INT64"}
THREADS = 10


class Infer(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, models: dict[str, Path]) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._sessions = {
            name: ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            for name, path in models.items()
        }
        self._outputs = {
            name: [o.name for o in session.get_outputs()]
            for name, session in self._sessions.items()
        }

    def service(self, details: Any) -> Any:
        if details.method != "/inference.GRPCInferenceService/ModelInfer":
            return None
        return grpc.unary_unary_rpc_method_handler(
            self._infer, ModelInferRequest.FromString, ModelInferResponse.SerializeToString
        )

    def _infer(self, request: ModelInferRequest, _: Any) -> ModelInferResponse:
        inputs = {
            tensor.name: np.frombuffer(data, DTYPES[tensor.datatype]).reshape(tuple(tensor.shape))
            for tensor, data in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        response = ModelInferResponse(model_name=request.model_name, id=request.id)
        names = self._outputs[request.model_name]
        outputs = self._sessions[request.model_name].run(names, inputs)
        for name, array in zip(names, outputs, strict=True):
            response.outputs.add(name=name, datatype=NAMES[array.dtype], shape=array.shape)
            response.raw_output_contents.append(array.tobytes())
        return response


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--tls", nargs=2, type=Path)
    given = parser.parse_args()
    models = dict(m.split("=", 1) for m in given.models)
    server = grpc.server(
        ThreadPoolExecutor(THREADS), handlers=(Infer({n: Path(p) for n, p in models.items()}),)
    )
    address = f"127.0.0.1:{given.port}"
    if given.tls:
        certificate, key = (p.read_bytes() for p in given.tls)
        server.add_secure_port(address, grpc.ssl_server_credentials([(key, certificate)]))
    else:
        server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
