"""Who acts, as text and back."""

from __future__ import annotations

import pytest

from backup_pipeline.core.scope import (
    CATCH_UP,
    DAGSTER,
    NOBODY,
    PROGRAM,
    SCHEDULE,
    Actor,
    ActorKind,
    as_people_read,
    command_line,
    parse_actor,
)

_ALL = (SCHEDULE, CATCH_UP, DAGSTER, PROGRAM, NOBODY)


@pytest.mark.parametrize("text", ["rahim", "uid 1000", "করিম", "schedule", "catch-up", "dagster", "backup_pipeline"])
def test_the_texts_of_earlier_ledgers_are_read_and_written_as_they_were(text: str) -> None:
    assert str(parse_actor(text)) == text


def test_a_bare_name_is_a_user_of_the_operating_system() -> None:
    assert parse_actor("rahim") == command_line("rahim")


@pytest.mark.parametrize("kind", ActorKind)
@pytest.mark.parametrize("name", ["rahim", "schedule", "dagster", "unknown", "person:rahim", "", "a b", ":"])
def test_every_actor_is_read_back_from_its_text(kind: ActorKind, name: str) -> None:
    actor = Actor(kind, name)
    assert parse_actor(str(actor)) == actor


@pytest.mark.parametrize("actor", _ALL)
def test_no_user_of_the_operating_system_passes_for_the_program(actor: Actor) -> None:
    assert str(command_line(actor.name)) == f"command_line:{actor.name}"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("held by person:karim@example.com", "held by karim@example.com"),
        ("person:a, person:b", "a, b"),
        ("a person: who", "a person: who"),
        ("salesperson:7", "salesperson:7"),
        ("key:portal", "key:portal"),
    ],
)
def test_people_are_read_by_their_names_alone(text: str, read: str) -> None:
    assert as_people_read(text) == read
    assert Actor(ActorKind.PERSON, "karim").for_people == "karim"
    assert Actor(ActorKind.KEY, "portal").for_people == "key:portal"
