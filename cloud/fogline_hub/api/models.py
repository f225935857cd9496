"""Models, versions and aliases."""

from typing import Annotated

from msgspec import Meta

from fogline.desired import Digest, target_path
from fogline.ids import ModelRef, parse_ref
from fogline.records import Record
from fogline_hub.api.endpoint import Call, endpoint
from fogline_hub.registry import Alias, Model, Version


class NewVersion(Record, frozen=True, kw_only=True):
    manifest: Digest
    """Of a manifest that stands as a blob, as all files that it lists do."""


class PushedVersion(Record, frozen=True, kw_only=True):
    version: Version
    target: str
    """TUF target path to sign the manifest under."""


class ModelDetails(Record, frozen=True, kw_only=True):
    model: Model
    versions: tuple[Version, ...]


class NewAlias(Record, frozen=True, kw_only=True):
    version: Annotated[int, Meta(ge=1, le=10**9)]


def list_models(call: Call) -> tuple[Model, ...]:
    with call.rooms.catalogue.reading() as connection:
        return call.rooms.registry.models(connection)


def show_model(call: Call) -> ModelDetails:
    name = call.path["name"]
    with call.rooms.catalogue.reading() as connection:
        return ModelDetails(
            model=call.rooms.registry.model(connection, name),
            versions=call.rooms.registry.versions(connection, name),
        )


def show_version(call: Call) -> Version:
    ref: ModelRef = parse_ref(f"{call.path['name']}@{call.path['version']}")
    with call.rooms.catalogue.reading() as connection:
        return call.rooms.registry.resolve(connection, ref)


def push_version(call: Call) -> PushedVersion:
    asked: NewVersion = call.body
    name = call.path["name"]
    version = call.rooms.intake.take(name, asked.manifest, actor=call.caller.actor)
    return PushedVersion(version=version, target=target_path(name, version.number))


def move_alias(call: Call) -> Alias:
    asked: NewAlias = call.body
    with call.rooms.catalogue.transaction() as connection:
        return call.rooms.registry.set_alias(
            connection,
            call.path["name"],
            call.path["alias"],
            asked.version,
            actor=call.caller.actor,
        )


routes = [
    endpoint("GET", "/v1/models", list_models),
    endpoint("GET", "/v1/models/{name}", show_model),
    endpoint("GET", "/v1/models/{name}/versions/{version}", show_version),
    endpoint("POST", "/v1/models/{name}/versions", push_version, body=NewVersion, is_heavy=True),
    endpoint("PUT", "/v1/models/{name}/aliases/{alias}", move_alias, body=NewAlias),
]
