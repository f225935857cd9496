"""KServe's model server with onnxruntime, as its documentation builds one.

    python kserve_server.py PORT HTTP_PORT NAME=MODEL...

Runs in a virtual environment of its own, which has neither this project nor its dependencies.
"""

import sys
from typing import Any

import onnxruntime as ort
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer

NAMES = {"float32": "FP32", "int64": "INT64"}


class OnnxModel(Model):  # type: ignore[misc]
    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        self._path = path
        self.load()

    def load(self) -> bool:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(
            self._path, options, providers=["CPUExecutionProvider"]
        )
        self._outputs = [o.name for o in self._session.get_outputs()]
        self.ready = True
        return True

    def predict(self, payload: InferRequest, *_: Any, **__: Any) -> InferResponse:
        arrays = self._session.run(self._outputs, {i.name: i.as_numpy() for i in payload.inputs})
        outputs = []
        for name, array in zip(self._outputs, arrays, strict=True):
            output = InferOutput(name, list(array.shape), NAMES[str(array.dtype)])
            output.set_data_from_numpy(array, binary_data=True)
            outputs.append(output)
        return InferResponse(payload.id, self.name, outputs)


if __name__ == "__main__":
    port, http_port, *models = sys.argv[1:]
    ModelServer(http_port=int(http_port), grpc_port=int(port)).start(
        [OnnxModel(*m.split("=", 1)) for m in models]
    )
