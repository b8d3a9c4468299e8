"""The rescue's loop: one serial line, shared by a person and the tool; one job; and an end when nobody is there.

Started by the rescue's init as `micropython -m firmware.rescue.main FACTS WHY`. Bytes go to the menu until the tool calls
(`firmware/wire/detect.py`); then to the protocol until its session ends. When nobody types, calls or has a job running for `wait_s`,
the box restarts as `Rescue.leave` says: a box in a cupboard does not wait for ever for a person.
"""

import select
import sys

from firmware.rescue.core import Rescue
from firmware.rescue.menu import Menu
from firmware.rescue.service import Service
from firmware.rescue.system import Board, load
from firmware.rescue.texts import Refusal
from firmware.wire import tlv
from firmware.wire.detect import Detector
from firmware.wire.device import Device

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_select: "Any" = select
TURN_MS = 20
STEPS_MS = 60  # of a job between two looks at the line
LOOK_MS = 2000


class Loop:
    """See above."""

    def __init__(self, facts: "dict[str, Any]", why: str) -> None:
        self.board = Board(facts)
        self.rescue = Rescue(self.board, why, facts["version"])
        self._wait_ms: int = facts["wait_s"] * 1000
        self._tty = self.board.open_line()
        self._menu = Menu(facts["wait_s"] // 60)
        self._detector: Detector | None = Detector()
        identity = [(tlv.PRODUCT, b"BranchPBX"), (tlv.MODEL, self.board.compatible.encode()), (tlv.SERIAL, b""), (tlv.MODE, b"rescue")]
        self._device = Device(identity, self.board.random, 115200, facts["baud_most"])
        self._service = Service(self.rescue, self._device)
        self._heard = 0
        self._network = ""
        self._look_at = 0
        self._mine = ""  # the job that the person began
        self._poll = _select.poll()
        self._poll.register(self._tty, _select.POLLIN)

    def run(self) -> None:
        """Until the board restarts."""
        self.board.log("rescue, why: " + self.rescue.why)
        self._menu.greet(self.rescue.status())
        while not self.rescue.restarting:
            self.turn()
        for _ in range(50):  # the last answer goes over the line
            self.turn()
        self.board.restart()

    def turn(self) -> None:
        """Once around."""
        board, now = self.board, self.board.now()
        busy = bool(self.rescue.job)
        data = b""
        if self._poll.poll(0 if busy else TURN_MS):
            data = self._tty.read(4096) or b""
        if data:
            self._heard = now
        self._line(data, now)
        for wish in self._menu.wishes():
            self._wish(wish[0], wish[1])
        begun = board.now()
        while board.now() - begun < STEPS_MS and (self._service.step(now) or self.rescue.step()):
            self._heard = now
        for job, result in self.rescue.ended:
            self._told(job, result, now)
        self.rescue.ended = []
        if self._mine and self.rescue.job:
            self._menu.progress(self.rescue.progress, now)
        if now >= self._look_at:
            self._look_at = now + LOOK_MS
            self._look()
        self._service.act(now)
        self._transmit(now)
        if self._wait_ms and now - self._heard > self._wait_ms and not self.rescue.restarting:
            board.log("nobody is there")
            self.rescue.leave()

    def _line(self, data: bytes, now: int) -> None:
        if self._detector is not None:
            typed = self._detector.receive(data, now) if data else self._detector.expire(now)
            if typed:
                self._menu.receive(typed)
            if not self._detector.found:
                return
            data, self._detector = self._detector.rest, None
        if data:
            self._device.receive(data, now)
        due = self._device.deadline()
        if due is not None and now >= due:
            self._device.expire(now)
        if not self._device.open and not data and now - self._heard > 3000:
            self._detector = Detector()
            self._menu.greet(self.rescue.status())

    def _transmit(self, now: int) -> None:
        out = self._menu.output()
        if self._detector is not None and out:
            self._tty.write(out)
        while True:
            out = self._device.output()
            if not out:
                break
            self._tty.write(out)
            self._service.act(now)

    def _wish(self, name: str, args: "dict[str, Any]") -> None:
        if name == "greet":
            self._menu.greet(self.rescue.status())
            return
        try:
            answer = self.rescue.ask(name, args)
        except Refusal as refusal:
            self._menu.refused(refusal)
            return
        except OSError as error:
            self._menu.refused(Refusal("fault", why=self.board.reason(error)))
            return
        if answer is None:
            self._mine = name
        else:
            self._menu.answer(name, answer)

    def _told(self, job: str, result: "dict[str, Any] | Refusal", now: int) -> None:
        if self._mine != job:
            self._service.told(job, result, now)
            return
        self._mine = ""
        if isinstance(result, Refusal):
            self._menu.refused(result)
        else:
            self._menu.answer(job, result)

    def _look(self) -> None:
        """Tell a new address."""
        found = self.board.network()
        text = found["how"] + found["address"]
        if text != self._network:
            if self._network or found["how"] != "none":
                self._menu.say("net_" + found["how"], **found)
            self._network = text


if __name__ == "__main__":
    Loop(load(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "unknown").run()
