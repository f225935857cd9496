"""Who may call what.

Whoever reaches a listener may read, infer and give feedback. What changes the server for others
(its models, its memory, its settings) is for a Unix socket's peer whose user is in a list, or for
the holder of a token that has the right. A verified client certificate opens the connection and
grants nothing more: certificates name devices, and a device is not an operator.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from msgspec import Meta

from fogline.clock import Clock, SystemClock
from fogline.errors import Forbidden, Unsupported
from fogline.records import Record
from fogline.wire.services import EDGE_SERVICE, HEALTH_SERVICE, INFERENCE_SERVICE
from fogline_edge.serving.calls import Call
from fogline_edge.serving.tokens import Right, Token, holder_of, read_tokens

OVERFLOW_UID = 65534
"""What the kernel calls every user that this user namespace does not know (user_namespaces(7))."""

_METHODS: Mapping[str, Mapping[Right, str]] = MappingProxyType(
    {
        INFERENCE_SERVICE: {
            Right.READ: "ServerLive ServerReady ModelReady ServerMetadata ModelMetadata "
            "ModelConfig ModelStatistics",
            Right.INFER: "ModelInfer ModelStreamInfer",
            Right.REPOSITORY: "RepositoryIndex RepositoryModelLoad RepositoryModelUnload",
            Right.MEMORY: "SystemSharedMemoryStatus SystemSharedMemoryRegister "
            "SystemSharedMemoryUnregister CudaSharedMemoryStatus CudaSharedMemoryRegister "
            "CudaSharedMemoryUnregister",
            Right.SETTINGS: "TraceSetting LogSettings",
        },
        HEALTH_SERVICE: {Right.READ: "Check Watch"},
        EDGE_SERVICE: {Right.READ: "Status", Right.FEEDBACK: "Feedback"},
        "grpc.reflection.v1.ServerReflection": {Right.READ: "ServerReflectionInfo"},
        "grpc.reflection.v1alpha.ServerReflection": {Right.READ: "ServerReflectionInfo"},
    }
)
RIGHT_OF: Mapping[str, Right] = MappingProxyType(
    {
        f"/{service}/{method}": right
        for service, rights in _METHODS.items()
        for right, methods in rights.items()
        for method in methods.split()
    }
)
"""What each method asks, by its path. A method that is not here is not served to anybody."""


Uid = Annotated[int, Meta(ge=0, lt=2**32 - 1)]


class AccessConfig(Record, frozen=True, kw_only=True):
    """Who is trusted."""

    control_uids: Annotated[frozenset[Uid], Meta(max_length=64)] | None = None
    """Users that may do everything over a Unix socket; None: this process's own, and root."""
    tokens: Annotated[str, Meta(max_length=4096)] = ""
    """The file of the applications' tokens, with mode 0600; empty: there are none."""
    require_token_for_infer: bool = False
    """Whether inference and feedback too ask for such a user or a token."""

    def __post_init__(self) -> None:
        if OVERFLOW_UID in (self.control_uids or ()):
            raise ValueError(
                f"control_uids: {OVERFLOW_UID} stands for every user of other user namespaces"
            )


def open_access(config: AccessConfig, clock: Clock) -> "Access":
    """Reads the file of tokens, if there is one. Raises as `read_tokens`."""
    tokens = read_tokens(Path(config.tokens)) if config.tokens else ()
    return Access(config, tokens, clock=clock)


class Access:
    """Judges each call once, before it is decoded. Safe to use from any thread."""

    def __init__(
        self,
        config: AccessConfig | None = None,
        tokens: tuple[Token, ...] = (),
        *,
        clock: Clock | None = None,
    ) -> None:
        given = config or AccessConfig()
        uids = given.control_uids
        self._uids = frozenset({os.geteuid(), 0} - {OVERFLOW_UID}) if uids is None else uids
        self._tokens = tokens
        self._clock = clock or SystemClock()
        open_to_all = {Right.READ}
        if not given.require_token_for_infer:
            open_to_all |= {Right.INFER, Right.FEEDBACK}
        self._open = frozenset(path for path, right in RIGHT_OF.items() if right in open_to_all)

    def check(self, call: Call) -> None:
        """Lets the call pass, or raises.

        Raises:
            Unsupported: no such method.
            Forbidden: the peer lacks the right.
        """
        method = call.method
        if method in self._open:  # nearly every call, and nothing else of it is looked at
            return
        right = RIGHT_OF.get(method)
        if right is None:
            raise Unsupported(f"the method {method[:200]!r} is not served")
        self.require(call, right)

    def require(self, call: Call, right: Right) -> None:
        """Lets the call pass if its peer has a right, whatever its method asks for.

        Raises:
            Forbidden: it has not.
        """
        uid = call.peer.uid
        if uid is not None and uid in self._uids:
            return
        self._check_token(call, right)

    def _check_token(self, call: Call, right: Right) -> None:
        authorization = call.metadata.get("authorization")
        needs = f"{call.method} needs the right {right.value!r}"
        if authorization is None:
            raise Forbidden(
                f"{needs}: connect to the Unix socket as a user who is trusted there, or send a "
                "token that has it, as the metadata 'authorization: Bearer TOKEN'"
            )
        try:
            token = holder_of(authorization, self._tokens, self._clock.now())
        except Forbidden as e:
            raise Forbidden(f"{needs}: {e}") from None
        if right not in token.rights:
            raise Forbidden(f"{needs}, which the token of {token.name!r} does not have")
