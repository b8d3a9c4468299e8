"""Questions of the call graph to services elsewhere: handed to management, answers given back to their callers (L5).

Theory of operation. Core neither opens connections to the outside nor waits: a question is kept here, `LookupWaits` tells management that
there is one, which takes it (`lookup questions`) and answers it (`lookup answer`). At most MOST are kept; a further one is answered at
once with a failure. A question whose caller is gone, or went on because his time was over, is dropped when it is answered or when room is
needed. The alarm "lookup:NODE" stands while the latest question of a node failed, so a dead service is seen before callers complain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware.call.events import CallEvent
from firmware.call.lookup_actions import MOST_TEXT, LookedUp, LookUp
from firmware.control.gate import Gate
from firmware.control.lookup_commands import LookupAnswer, LookupQuestions, Noted, Question

if TYPE_CHECKING:
    from firmware.core.calls import Calls

MOST = 64


class LookupWaits(CallEvent, frozen=True):
    """A question waits for management; `number` of the latest."""

    number: int


class Lookups:
    """See the theory of operation."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._number = 0
        self._asked: dict[int, LookUp] = {}
        self._fresh: list[int] = []
        calls.executors[LookUp] = self._ask

    def attach(self, gate: Gate) -> None:
        """Register the handlers."""
        gate.handle(LookupQuestions, lambda command: self.questions())
        gate.handle(LookupAnswer, self._answer)

    def _ask(self, contact: str, action: LookUp) -> None:
        board = self._calls.board
        for number in [number for number, one in self._asked.items() if not board.contact_of(one.leg)]:
            self._drop(number)
        if len(self._asked) >= MOST:
            self._calls.clock.call_later(0, lambda: self._tell(action, {}, "too many questions wait"))
            return
        self._number += 1
        self._asked[self._number] = action
        self._fresh.append(self._number)
        self._calls.bus.publish(LookupWaits(self._calls.clock.now(), self._number))

    def _drop(self, number: int) -> None:
        self._asked.pop(number, None)
        if number in self._fresh:
            self._fresh.remove(number)

    def questions(self) -> list[Question]:
        """Questions nobody has taken yet; they count as taken now."""
        taken, self._fresh = self._fresh, []
        return [Question(number, self._asked[number].node, self._asked[number].ask) for number in taken if number in self._asked]

    def _answer(self, command: LookupAnswer) -> Noted:
        action = self._asked.get(command.number)
        if action is None:
            return Noted(False)
        self._drop(command.number)
        values = {name: "".join(text.split("\n"))[:MOST_TEXT] for name, text in command.values.items()}
        self._tell(action, values, command.why)
        return Noted(True)

    def _tell(self, action: LookUp, values: dict[str, str], why: str) -> None:
        name = f"lookup:{action.node}"
        if why:
            zh = f"节点 {action.node} 的查询服务无应答：{why}"
            self._calls.alarms.raise_(name, f"the service of node {action.node} does not answer: {why}", zh)
        else:
            self._calls.alarms.clear(name)
        self._calls.take(LookedUp(action.leg, self._calls.clock.now(), action.token, not why, values, why))
