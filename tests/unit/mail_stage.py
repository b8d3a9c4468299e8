"""The call stage with message boxes: takes are recorded, kept and played as `core/voicemail.py` does, in virtual time."""

from __future__ import annotations

from typing import Any

import msgspec

from firmware.call import actions as do
from firmware.call import voicemail_actions as vm
from firmware.call.mailroom import OWN, MailRoom, Message
from firmware.call.switchboard import Switchboard
from firmware.config.schema.calls import InboundRoute
from firmware.config.schema.ivr import Node
from firmware.config.schema.tree import Config
from firmware.config.schema.voicemail import Mailbox, Studio
from tests.unit.call_stage import PROMPT_MS, Stage, config

WALL = 0                        # Unix ms at engine 0: the stage has no other clock


def mail_config(**changes: Any) -> Config:
    """Boxes of a person, a colleague and the night."""
    base: dict[str, Any] = {
        "mailboxes": {
            "101": Mailbox(extensions=["101"], pin="7391"),
            "202": Mailbox(extensions=["202"], pin="4826", choice=False, answer_h=0),
            "night": Mailbox(number="900", extensions=["101", "201"], pin="5173"),
        },
        "studio": Studio(pin="8264"),
        "inbound": [InboundRoute(to="voicemail/night", greeting=False, notice=False)],
    }
    return config(**(base | changes))


def ivr_config(start: str, **nodes: Node) -> Config:
    """A branch whose callers begin at a node."""
    return mail_config(ivr=nodes, inbound=[InboundRoute(to=start, greeting=False, notice=False)])


class MailStage(Stage):
    """See the module docstring. `takes`: token -> (take, begun, ms or -1, what was asked for)."""

    def __init__(self, conf: Config | None = None, *, restart: bool = False) -> None:
        self.room = MailRoom()
        self.takes: dict[int, list[Any]] = {}
        self.kept: list[vm.KeepTake] = []
        self.dropped: list[vm.DropTake] = []
        self.listening: dict[str, bool] = {}
        super().__init__(conf or mail_config(), restart=restart)

    def _new_board(self) -> Switchboard:
        board = super()._new_board()
        board.mail = self.room
        return board

    def say_something(self, leg: str, ms: int) -> None:
        """Speech on a leg, told as the engine tells it."""
        start = self.now
        self.at(60, lambda: self.give(vm.Voice(leg, self.now, True, start)) if self.listening.get(leg) else None)
        self.at(ms + 200, lambda: self.give(vm.Voice(leg, start + ms, False, start)) if self.listening.get(leg) else None)

    def left(self, box: str) -> list[Message]:
        return self.room.of(box)

    def put(self, box: str, number: str = "13800000001", ms: int = 4000, age_ms: int = 60_000) -> Message:
        self.serial += 1
        message = Message(f"m{self.serial}", box, WALL + self.now - age_ms, ms, number)
        self.room.add(message)
        return message

    def _end(self, leg: str, *rest: Any) -> None:
        was = leg in self.legs
        super()._end(leg, *rest)
        for token, take in list(self.takes.items()) if was else ():
            if take[0].leg == leg:
                self._closed(token)

    def _closed(self, token: int) -> None:
        take = self.takes[token]
        if take[2] >= 0:
            return
        take[2] = self.now - take[1]
        self.at(20, lambda: self.give(vm.TakeRecorded(take[0].leg, self.now, token, take[2])))
        self._finish(token)

    def _finish(self, token: int) -> None:
        start, _, ms, keep = self.takes[token]
        if ms < 0 or keep is None:
            return
        if start.take.kind == "message" and ms - keep.trim_ms >= keep.least_ms:
            take = start.take
            self.room.add(Message(take.key, take.name, WALL + self.now, ms - keep.trim_ms, take.number, take.caller, take.contact))
        elif start.take.kind == "greeting":
            self.room.greetings.add(start.take.name)
        elif OWN in start.take.name:
            self.room.own.add(start.take.name.replace(OWN, ""))

    def _act(self, contact: str, action: do.Action) -> None:
        match action:
            case vm.StartTake():
                assert action.leg not in self.playing, "never record our own words"
                self.takes[action.token] = [action, self.now, -1, None]
            case do.StopRecording() if action.token in self.takes:
                self.at(20, lambda: self._closed(action.token))
            case vm.KeepTake():
                self.kept.append(action)
                self.takes[action.token][3] = action
                self._finish(action.token)
            case vm.DropTake():
                self.dropped.append(action)
            case vm.Listen():
                self.listening[action.leg] = action.on
            case vm.PlayFile():
                words = [*(say.prompt for say in action.before), f"file {action.file}", *(say.prompt for say in action.after)]
                self.heard.setdefault(action.leg, []).extend(words)
                self.playing[action.leg] = (action.token, "keys" if action.keys else "")
                self.at(PROMPT_MS * len(words), lambda: self._file_over(action))
            case vm.MessageCopied():
                message = self.room.find(action.box, action.message)
                assert message is not None
                self.room.add(msgspec.structs.replace(message, id=message.id + "c", box=action.to, heard=0, origin=action.box))
        super()._act(contact, action)

    def _file_over(self, action: vm.PlayFile) -> None:
        if self.playing.get(action.leg, (0, ""))[0] == action.token:
            del self.playing[action.leg]
            self.give(do.Played(action.leg, self.now, action.token, True))
