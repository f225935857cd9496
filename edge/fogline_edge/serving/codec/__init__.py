"""ModelInfer messages <-> arrays: a fast path for the common message beside protobuf for all."""

from fogline_edge.serving.codec.codec import ModelCodec
from fogline_edge.serving.codec.limits import CodecLimits
from fogline_edge.serving.codec.request import Form, Request
from fogline_edge.serving.codec.target import target_of

__all__ = ["CodecLimits", "Form", "ModelCodec", "Request", "target_of"]
