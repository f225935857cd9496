"""Signed metadata: published files for devices, and the way in for what operators signed."""

from starlette.responses import FileResponse, Response

from fogline.trust import TUF_URL
from fogline_hub import audit
from fogline_hub.api.access import Access
from fogline_hub.api.endpoint import Call, endpoint
from fogline_hub.registry import Version


def metadata_file(call: Call) -> Response:
    path = call.rooms.repository.file(call.path["file"])
    return FileResponse(path, media_type="application/json", headers={"Cache-Control": "no-store"})


def current_targets(call: Call) -> Response:
    return Response(call.rooms.repository.current_targets(), media_type="application/json")


def publish_targets(call: Call) -> tuple[Version, ...]:
    rooms = call.rooms
    before = rooms.repository.auto_models()
    published = rooms.publication.publish(call.body, actor=call.caller.actor)
    after = rooms.repository.auto_models()
    if after != before:
        with rooms.catalogue.transaction() as connection:
            details = {"before": before, "after": after}
            audit.record(
                connection,
                call.caller.actor,
                "auto.delegated",
                "targets",
                details,
                at=rooms.clock.now(),
            )
    return published


def auto_models(call: Call) -> tuple[str, ...]:
    return call.rooms.repository.auto_models()


routes = [
    endpoint("GET", TUF_URL + "/{file}", metadata_file, access=Access.FLEET),
    endpoint("GET", "/v1/targets", current_targets),
    endpoint("POST", "/v1/targets", publish_targets, body=bytes),
    endpoint("GET", "/v1/automated", auto_models),
]
