"""Content-addressed files in and out, streamed; no body is ever whole in memory."""

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from fogline.errors import DeadlineExceeded, NotFound
from fogline.records import Record
from fogline.trust import BLOBS_URL
from fogline_hub import audit
from fogline_hub.api.access import Access, Caller, admit
from fogline_hub.api.endpoint import json_response, rooms_of
from fogline_hub.api.rooms import Rooms

CHUNK_BYTES = 1024 * 1024
"""How much of a blob is read or written at a time, bytes."""
CHUNK_TIMEOUT_S = 30.0
"""Longest silence of a sender in the middle of a blob, seconds."""


class _BlobResponse(FileResponse):
    chunk_size = CHUNK_BYTES


class StoredBlob(Record, frozen=True, kw_only=True):
    sha256: str
    size_bytes: int


async def get_blob(request: Request) -> Response:
    """GET and HEAD, with `Range`; what a digest names never changes, so it may be cached."""
    rooms = rooms_of(request)
    await run_in_threadpool(admit, rooms, request, Access.FLEET)
    digest = request.path_params["digest"]
    if await run_in_threadpool(rooms.blobs.size, digest) is None:
        raise NotFound(f"there is no blob {digest}")
    return _BlobResponse(
        rooms.blobs.path(digest),
        media_type="application/octet-stream",
        headers={"ETag": f'"{digest}"', "Cache-Control": "private, immutable, max-age=31536000"},
    )


async def put_blob(request: Request) -> Response:
    rooms = rooms_of(request)
    caller = await run_in_threadpool(admit, rooms, request, Access.OPERATOR)
    digest = request.path_params["digest"]
    size = await run_in_threadpool(rooms.blobs.size, digest)
    if size is None:
        size = await _receive(rooms, request, digest)
        await run_in_threadpool(_note, rooms, caller, digest, size)
    return json_response(StoredBlob(sha256=digest, size_bytes=size))


async def _receive(rooms: Rooms, request: Request, digest: str) -> int:
    writer = await run_in_threadpool(rooms.blobs.writing, digest)
    pieces = request.stream().__aiter__()
    gathered = bytearray()
    try:
        while (piece := await _next_piece(pieces, request)) is not None:
            gathered += piece
            if len(gathered) >= CHUNK_BYTES:
                await run_in_threadpool(writer.write, bytes(gathered))
                gathered.clear()
        await run_in_threadpool(writer.write, bytes(gathered))
        return await run_in_threadpool(writer.finish)
    finally:
        writer.discard()


async def _next_piece(pieces: object, request: Request) -> bytes | None:
    with anyio.move_on_after(CHUNK_TIMEOUT_S):
        return await anext(pieces, None)  # type: ignore[call-overload, no-any-return]
    raise DeadlineExceeded(f"{request.url.path}: nothing came for {CHUNK_TIMEOUT_S:g} s")


def _note(rooms: Rooms, caller: Caller, digest: str, size: int) -> None:
    with rooms.catalogue.transaction() as connection:
        details = {"size_bytes": size}
        at = rooms.clock.now()
        audit.record(connection, caller.actor, "blob.stored", digest, details, at=at)


routes = [
    Route(BLOBS_URL + "/{digest}", get_blob, methods=["GET"]),
    Route(BLOBS_URL + "/{digest}", put_blob, methods=["PUT"]),
]
