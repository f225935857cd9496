import threading
from hashlib import sha256

import pytest

from fogline.errors import InvalidInput, NotFound
from fogline.ids import ModelRef
from fogline_hub import audit
from fogline_hub.catalogue import Catalogue
from fogline_hub.registry import Registry, State, Version
from tests.hub_rooms import catalogue, clock, registry

__all__ = ["catalogue", "clock", "registry"]


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def push(catalogue: Catalogue, registry: Registry, name: str, content: str) -> Version:
    with catalogue.transaction() as connection:
        return registry.add_version(
            connection, name, digest(content), actor="operator:a", size_bytes=10, verified=True
        )


def test_versions_count_per_model_and_a_digest_keeps_its_number(
    catalogue: Catalogue, registry: Registry
) -> None:
    assert [push(catalogue, registry, "rain", c).number for c in "aba"] == [1, 2, 1]
    assert push(catalogue, registry, "snow", "a").number == 1
    with catalogue.reading() as connection:
        assert [v.number for v in registry.versions(connection, "rain")] == [2, 1]
        assert [m.name for m in registry.models(connection)] == ["rain", "snow"]
        assert [r.subject for r in audit.list(connection)] == ["rain@1", "rain@2", "snow@1"]


def test_a_hundred_concurrent_pushes_get_a_hundred_numbers(
    catalogue: Catalogue, registry: Registry
) -> None:
    numbers: list[int] = []
    threads = [
        threading.Thread(
            target=lambda n=n: numbers.append(push(catalogue, registry, "rain", f"v{n}").number)
        )
        for n in range(100)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 101))
    with catalogue.reading() as connection:
        assert len({v.manifest for v in registry.versions(connection, "rain")}) == 100
        assert audit.last(connection)[0] == 100


def test_publishing_is_audited_once(catalogue: Catalogue, registry: Registry) -> None:
    assert push(catalogue, registry, "rain", "a").state is State.PENDING
    for _ in range(2):
        with catalogue.transaction() as connection:
            published = registry.publish(connection, "rain", 1, actor="operator:a")
    assert published.state is State.PUBLISHED
    assert published.published_at is not None
    with catalogue.reading() as connection:
        assert [r.action for r in audit.list(connection)] == ["version.pushed", "version.published"]


def test_an_alias_moves_and_resolves(catalogue: Catalogue, registry: Registry) -> None:
    for content in "ab":
        push(catalogue, registry, "rain", content)
    for number in (1, 2, 2):
        with catalogue.transaction() as connection:
            registry.set_alias(connection, "rain", "champion", number, actor="operator:a")
    with catalogue.reading() as connection:
        assert registry.resolve(connection, ModelRef("rain", alias="champion")).number == 2
        assert registry.resolve(connection, ModelRef("rain", version=1)).number == 1
        assert registry.model(connection, "rain").aliases == {"champion": 2}
        moves = [r.details for r in audit.list(connection) if r.action == "alias.moved"]
    assert moves == [{"from": None, "to": 1}, {"from": 1, "to": 2}]


@pytest.mark.parametrize(
    ("ref", "says"),
    [
        (ModelRef("sun", version=1), "no model 'sun'"),
        (ModelRef("rain", version=9), "no version rain@9"),
        (ModelRef("rain", alias="champion"), "there are: none"),
    ],
)
def test_what_is_not_there_is_named(
    catalogue: Catalogue, registry: Registry, ref: ModelRef, says: str
) -> None:
    push(catalogue, registry, "rain", "a")
    with catalogue.reading() as connection, pytest.raises(NotFound, match=says):
        registry.resolve(connection, ref)


@pytest.mark.parametrize("alias", ["7", "", "a/b", "-x"])
def test_an_alias_that_cannot_be_written_after_the_at_sign_is_refused(
    catalogue: Catalogue, registry: Registry, alias: str
) -> None:
    push(catalogue, registry, "rain", "a")
    with pytest.raises(InvalidInput), catalogue.transaction() as connection:
        registry.set_alias(connection, "rain", alias, 1, actor="operator:a")
