"""Requests to the world: nonsense is answered by one line with a remedy, never by silence and never by a deed."""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from firmware.sim.control import Control
from tests.sim.chip_box import ChipBox
from tests.sim.stand_in import Box


class Asker:
    """Stands where a connection stands."""

    def __init__(self) -> None:
        self.replies: list[dict[str, Any]] = []

    def send(self, message: dict[str, Any]) -> None:
        self.replies.append(message)


@pytest.fixture
def control(tmp_path: Path) -> Any:
    made = Control(Box().town, tmp_path / "world.sock")
    yield made
    made.close()


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"do": "fly"}, "use one of"),
        ({"do": "phone", "phone": 9, "action": "dial", "number": "102"}, "phones 1 to 4"),
        ({"do": "phone", "phone": 1, "action": "dial", "number": ""}, "name the keys to dial"),
        ({"do": "phone", "phone": 1, "action": "dial", "number": "abz"}, "name the keys to dial"),
        ({"do": "phone", "phone": 1, "action": "dial", "number": "110"}, "--emergency-drill"),
        ({"do": "phone", "phone": 1, "action": "press", "keys": "1"}, "lift it before you press keys"),
        ({"do": "phone", "phone": 1, "action": "flash"}, "lift it before you flash the hook"),
        ({"do": "phone", "phone": 1, "action": "say", "what": "nothing.wav"}, "a WAV file"),
        ({"do": "phone", "phone": 1, "action": "answer", "say": "tone:high"}, "say tone:440"),
        ({"do": "phone", "phone": 1, "action": "fly"}, "off-hook"),
        ({"do": "exchange", "line": 7}, "lines 1 to 4"),
        ({"do": "exchange", "line": 1, "fault": "explode"}, "use cut"),
        ({"do": "call", "from": "abc"}, "no telephone number"),
        ({"do": "call", "from": "110"}, "--emergency-drill"),
        ({"do": "call", "press": "1@never"}, "after @ comes"),
        ({"do": "call", "say": "speech:x"}, "say tone:440"),
        ({"do": "call", "line": 8}, "lines 1 to 4"),
        ({"do": "hang-up", "person": "P9"}, "sim status"),
    ],
)
def test_nonsense_gets_one_line_with_a_remedy(control: Control, request_: dict[str, Any], said: str) -> None:
    asker = Asker()
    control.handle(asker, json.dumps(request_).encode())  # type: ignore[arg-type]
    (reply,) = asker.replies
    assert reply["ok"] is False
    assert said in reply["error"]
    assert "\n" not in reply["error"]
    assert not [person for person in control.town.people.values() if not person.done]


def test_what_is_no_request_is_refused(control: Control) -> None:
    for line in (b"[]", b"{", b"\xff\xfe", b'"call"'):
        asker = Asker()
        control.handle(asker, line)  # type: ignore[arg-type]
        assert asker.replies[0]["ok"] is False


def test_faults_and_the_oracle_of_line_cards_are_asked_by_request(tmp_path: Path) -> None:
    box = ChipBox()
    control = Control(box.town, tmp_path / "world.sock")

    def ask(**request: Any) -> dict[str, Any]:
        asker = Asker()
        control.handle(asker, json.dumps(request).encode())  # type: ignore[arg-type]
        return asker.replies[-1]

    assert ask(do="fault", place="fxs", number="2", fault="short", seconds=0.5)["standing"] == [
        {"place": "fxs", "number": "2", "fault": "short", "value": 1.0}
    ]
    assert "use reset, silent" in ask(do="fault", place="fxs", number="2", fault="wet")["error"]
    box.off_hook(0)
    box.run(1_000)
    assert ask(do="status")["card_faults"] == []
    seen = ask(do="oracle")
    assert seen["seizures"] == {"fxo 1": 1}
    assert {span["jack"] for span in seen["open"]} == {"fxo 1"}
    assert {span["jack"] for span in seen["spans"] if span["what"] == "loop"} == {"fxs 2", "fxo 1"}
    assert ask(do="oracle", since=1_000_000, history=seen["next_history"])["history"] == []
    control.close()


def test_a_reply_that_is_longer_than_the_socket_holds_arrives_whole(tmp_path: Path) -> None:
    box = ChipBox()
    control = Control(box.town, tmp_path / "world.sock")
    for count in range(20_000):
        box.town.world.observe("noise", count=count)
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(str(tmp_path / "world.sock"))
        link.sendall(b'{"do": "observations"}\n')
        link.setblocking(False)
        got = bytearray()
        for _ in range(400):
            box.run(10)
            box.town.world.serve(0.0)
            with contextlib.suppress(BlockingIOError):
                got += link.recv(1 << 16)
            if got.endswith(b"\n"):
                break
    assert [note["count"] for note in json.loads(got)["seen"] if note["what"] == "noise"][-1] == 19_999
    control.close()
