"""In which languages a configuration speaks. The stages of calls check besides, at every prompt, that its language is among them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from firmware.call.speech import LANGUAGES
from firmware.call.spoken import group_of, spoken
from firmware.config.schema.calls import Menu, MenuKey, Queue
from firmware.config.schema.ivr import Node
from firmware.config.schema.people import Agent
from firmware.config.schema.system import Site
from firmware.config.schema.tree import Config
from firmware.config.schema.voicemail import Mailbox, Studio

#: Settings of a language: whether prompts are said in it. What is new must be put into `spoken`, or into the second list with its reason.
SAID = {"Site.languages", "MenuKey.language", "Node.language", "Mailbox.language"}
NOT_SAID = {
    "User.language", "Console.language",        # screens of the console
    "Phone.language",                           # screens of telephones
    "MailServer.language",                      # mail
    "Agent.languages", "Queue.language",        # who is offered whom
}  # fmt: skip


def menu(**key: str) -> dict[str, Menu]:
    """A menu with a key."""
    return {"main": Menu(prompt="ivr.main", keys={"1": MenuKey(to="hangup"), "2": msgspec.convert({"to": "hangup", **key}, MenuKey)})}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("zh",)),
        ({"site": Site(languages=["en", "zh"])}, ("en",)),
        ({"site": Site(languages=["en"])}, ("en",)),
        ({"menus": menu(language="en")}, ("en", "zh")),
        ({"menus": menu(language="zh")}, ("zh",)),
        ({"menus": menu()}, ("zh",)),
        ({"ivr": {"words": Node(kind="say", language="en")}}, ("en", "zh")),
        ({"mailboxes": {"201": Mailbox(extensions=["201"], pin="7391", language="en")}}, ("en", "zh")),
        ({"mailboxes": {"201": Mailbox(extensions=["201"], pin="7391")}}, ("zh",)),
        ({"studio": Studio(pin="8264")}, ("en", "zh")),
        ({"studio": Studio(pin="")}, ("zh",)),
    ],
)  # fmt: skip
def test_what_a_configuration_can_ask_for(changes: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert tuple(group for group in spoken(Config(**changes)) if "/" not in group) == expected


BOX, CENTRE = {"vm"}, {"cb", "q", "rate"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, set()),
        ({"mailboxes": {"201": Mailbox(extensions=["201"], pin="7391")}}, BOX),
        ({"studio": Studio(pin="8264")}, BOX),
        ({"queues": {"sales": Queue()}}, CENTRE),
        ({"agents": {"8001": Agent(pin="4711")}}, BOX | CENTRE),
        ({"ivr": {"words": Node(kind="say", prompts=["q.thanks"])}}, {"q"}),
        ({"menus": {"main": Menu(prompt="vm.away", keys={"1": MenuKey(to="hangup")})}}, BOX),
    ],
)
def test_the_parts_that_a_configuration_has(changes: dict[str, Any], expected: set[str]) -> None:
    groups = spoken(Config(**changes))
    assert {group.partition("/")[2] for group in groups} - {""} == expected
    languages = [group for group in groups if "/" not in group]
    assert set(groups) == {*languages, *(f"{language}/{part}" for language in languages for part in expected)}


def structs(kind: Any, seen: set[Any]) -> Iterator[type[msgspec.Struct]]:
    """Every struct below a type."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if kind not in seen:
            seen.add(kind)
            yield kind
            for below in get_type_hints(kind).values():
                yield from structs(below, seen)
        return
    for part in get_args(kind):
        yield from structs(part, seen)


def names(kind: Any) -> set[Any]:
    """The texts that a type allows."""
    return {kind} if isinstance(kind, str) else set().union(*(names(part) for part in get_args(kind)))


def test_every_setting_of_a_language_is_known_here() -> None:
    found = {
        f"{struct.__name__}.{name}"
        for struct in structs(Config, set())
        for name, kind in get_type_hints(struct).items()
        if set(LANGUAGES) <= names(kind) <= {*LANGUAGES, ""} or "language" in name
    }
    assert found == SAID | NOT_SAID


def test_the_group_of_a_clip_is_its_language_or_its_part_of_it() -> None:
    clips = ("zh/q.pos.1", "en/n.1", "en/queue.sales", "en/vm.keys", "zh/vm.bad.pin", "beep", "music.hold", "music/zh", "vm/x@1")
    assert [group_of(name) for name in clips] == ["zh/q", "en", "en", "en/vm", "zh", "", "", "", ""]
