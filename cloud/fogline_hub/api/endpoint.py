"""One pattern for all JSON endpoints: admit, read within bounds, decode, call, encode.

A module of this package stands for one noun: plain functions `Call -> record`, and a list `routes`
of `endpoint(...)` that names method, path, who may call and what record the body is. Handlers run
in worker threads and raise `fogline.errors`; `app` turns those into answers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import anyio
import anyio.to_thread
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fogline.errors import DeadlineExceeded, Exhausted, InvalidInput
from fogline.records import canonical_json, decode_json
from fogline_hub.api.access import Access, Caller, admit
from fogline_hub.api.rooms import Rooms

MAX_BODY_BYTES: Final = 8 * 1024 * 1024
"""Longest JSON body, in bytes; the largest is TUF targets metadata of at most 5 MB."""
BODY_TIMEOUT_S: Final = 60.0
"""Longest time that a JSON body may take to arrive, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, admitted and decoded."""

    rooms: Rooms
    caller: Caller
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    """An instance of the endpoint's `body`; None where it has none."""

    def integer(self, name: str, default: int, *, low: int, high: int) -> int:
        """A number of the path or query; `InvalidInput` where it is none or out of bounds."""
        text = self.path.get(name, self.query.get(name, str(default)))
        is_number = text.isascii() and text.isdigit() and len(text) <= 19
        if not is_number or not low <= int(text) <= high:
            raise InvalidInput(f"{name}={text[:40]!r} must be a number from {low} to {high}")
        return int(text)


def endpoint(
    method: str,
    path: str,
    handler: Callable[[Call], object],
    *,
    access: Access = Access.OPERATOR,
    body: type[object] | None = None,
    query: tuple[str, ...] = (),
    is_heavy: bool = False,
) -> Route:
    """A route to `handler`.

    Args:
        method: HTTP method.
        path: As Starlette writes it, `/v1/models/{name}`.
        handler: Answers with what msgspec encodes, or with a Starlette response.
        access: Who may call.
        body: The record of the body; `bytes` passes it undecoded; None refuses one.
        query: Names that the query may hold; others are refused.
        is_heavy: One such call runs at a time; the others wait without holding a thread.
    """

    async def serve(request: Request) -> Response:
        rooms = rooms_of(request)
        caller = await run_in_threadpool(admit, rooms, request, access)
        _check_query(request, query)
        content = await _body(request)
        call = Call(
            rooms=rooms,
            caller=caller,
            path=request.path_params,
            query=request.query_params,
            body=_decoded(content, body, f"{method} {request.url.path}"),
        )
        turn = request.app.state.heavy if is_heavy else None
        answer = await anyio.to_thread.run_sync(handler, call, limiter=turn)
        return answer if isinstance(answer, Response) else json_response(answer)

    return Route(path, serve, methods=[method], name=f"{method} {path}")


def rooms_of(request: Request) -> Rooms:
    rooms: Rooms = request.app.state.rooms
    return rooms


def json_response(value: object, status: int = 200) -> Response:
    return Response(canonical_json(value), status, media_type="application/json")


def _check_query(request: Request, known: tuple[str, ...]) -> None:
    unknown = sorted(set(request.query_params) - set(known))
    if unknown:
        raise InvalidInput(
            f"{request.url.path} takes no {unknown[0][:40]!r}; it takes: {', '.join(known) or '-'}"
        )


async def _body(request: Request) -> bytes:
    pieces: list[bytes] = []
    size = 0
    with anyio.move_on_after(BODY_TIMEOUT_S):
        async for piece in request.stream():
            size += len(piece)
            if size > MAX_BODY_BYTES:
                raise Exhausted(f"{request.url.path}: the body is over {MAX_BODY_BYTES} bytes")
            pieces.append(piece)
        return b"".join(pieces)
    raise DeadlineExceeded(f"{request.url.path}: no whole body within {BODY_TIMEOUT_S:g} s")


def _decoded(content: bytes, kind: type[object] | None, what: str) -> object:
    if kind is bytes:
        return content
    if kind is None:
        if content:
            raise InvalidInput(f"{what} takes no body")
        return None
    return decode_json(content, kind, what, fault=InvalidInput)
