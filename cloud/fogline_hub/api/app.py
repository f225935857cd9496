"""The ASGI application: all routes, and errors as answers."""

import logging
import time

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fogline.errors import FoglineError
from fogline.http_errors import ErrorBody, body_of, error_from, status_of
from fogline_hub.api import (
    automation,
    blobs,
    devices,
    enrolment,
    health,
    models,
    retrainings,
    rollouts,
    samples,
    signing,
    status,
    verdicts,
)
from fogline_hub.api.endpoint import json_response
from fogline_hub.api.rooms import Rooms

ROUTES = (
    *health.routes,
    *enrolment.routes,
    *blobs.routes,
    *signing.routes,
    *models.routes,
    *devices.routes,
    *rollouts.routes,
    *automation.routes,
    *verdicts.routes,
    *retrainings.routes,
    *samples.routes,
    *status.routes,
)

_log = logging.getLogger(__name__)


def make_app(rooms: Rooms) -> Starlette:
    """The API over these rooms; serve it with `server.ApiServer`."""
    app = Starlette(
        routes=ROUTES,
        middleware=[Middleware(_RequestLog)],
        exception_handlers={
            FoglineError: _fogline_error,
            HTTPException: _http_error,
            ClientDisconnect: _client_gone,
            Exception: _unexpected,
        },
    )
    app.state.rooms = rooms
    app.state.heavy = anyio.CapacityLimiter(1)
    return app


async def _fogline_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, FoglineError):
        return await _unexpected(request, error)
    status = status_of(error)
    if status >= 500:
        _log.warning("request failed", extra={"path": request.url.path[:200], "reason": str(error)})
    return json_response(body_of(error), status)


async def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's own refusals (no such path, wrong method) and 401, in the one form."""
    if not isinstance(error, HTTPException):
        return await _unexpected(request, error)
    kind = body_of(error_from(error.status_code, b"", "")).error
    what = f"{request.method} {request.url.path[:200]}: {error.detail}"
    response = json_response(ErrorBody(error=kind, message=what), error.status_code)
    response.headers.update(error.headers or {})
    return response


async def _client_gone(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return Response(status_code=400)


async def _unexpected(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """A mistake of ours: Starlette raises it again after the answer, and uvicorn logs it."""
    message = "the hub failed at this request; its log says why"
    return json_response(ErrorBody(error="fogline_error", message=message), 500)


class _RequestLog:
    """One line a request: method, path, status, milliseconds. No query, header or body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        status = 0

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            _log.info(
                "request",
                extra={
                    "method": scope["method"],
                    "path": scope["path"][:200],
                    "status": status,
                    "ms": round(1000 * (time.monotonic() - began), 1),
                },
            )
