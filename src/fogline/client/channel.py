"""One gRPC channel: a message out, a message back. Sole importer of grpc on this side."""

from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message

from fogline.addresses import Address
from fogline.errors import Corrupt, Unavailable
from fogline.wire.services import METHODS
from fogline.wire.status import error_of

MAX_MESSAGE_BYTES = 256 * 1024 * 1024
"""Longest answer that is read."""


class Channel:
    """Connects when first used, and again when the connection broke. Any thread may call."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._channel: Any = grpc.insecure_channel(
            str(address),
            options=(
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.enable_http_proxy", 0),
            ),
        )
        self._calls: dict[str, Any] = {}

    def call(self, path: str, message: Message, timeout_s: float) -> Any:
        """Calls one unary method of `METHODS` and returns its response message.

        Raises:
            FoglineError: what the peer's status stands for; `Unavailable` when it does not answer.
            Corrupt: the answer is no such message.
        """
        method = METHODS[path]
        try:
            data = self._stub(path)(message.SerializeToString(), timeout=timeout_s)
            return method.response.FromString(data)
        except grpc.RpcError as e:
            raise error_of(e.code().value[0], f"{self._address}: {e.details()}") from None
        except ValueError as e:  # grpc's word for a closed channel
            raise Unavailable(f"{self._address}: {e}") from None
        except DecodeError:
            raise Corrupt(
                f"{self._address}: the answer to {path} is no {method.response.DESCRIPTOR.name}"
            ) from None

    def close(self) -> None:
        self._channel.close()

    def _stub(self, path: str) -> Any:
        found = self._calls.get(path)
        if found is None:
            found = self._calls[path] = self._channel.unary_unary(path)
        return found
