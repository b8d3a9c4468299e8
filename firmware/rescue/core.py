"""The rescue's commands and its one job at a time, for the console and for the tool at the same cable (no I/O of its own).

Theory of operation
-------------------
`ask(name, args)` answers at once or begins a job; a job goes on with each `step`. Console (`menu.py`) and tool (`service.py`) use the same
commands, so there is one rule for each thing. Commands: status, install, hashes, check state, factory reset, restart, logs.
`leave` is what happens when nobody is there: tries again where a slot can be read, and a restart.
"""

from binascii import hexlify

from firmware.rescue import jobs, slots
from firmware.rescue.texts import Refusal, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

RESET_WORD = "RESET"


class Rescue:
    """See above. `board`: `system.Board` or a stand-in."""

    def __init__(self, board: "Any", why: str, version: str) -> None:
        self.board = board
        self.why = why if why in ("failures", "command", "button") else "unknown"
        self.version = version
        self.job = ""
        self.progress: tuple[str, int, int, dict[str, Any]] = ("", 0, 0, {})
        self.ended: list[tuple[str, dict[str, Any] | Refusal]] = []
        """(job, result or refusal) not yet told to who asked."""
        self.restarting = False
        self._steps: Iterator[tuple[str, int, int, dict[str, Any]]] | None = None
        self._out: dict[str, Any] = {}

    # --- commands ----------------------------------------------------------------------------------------------------

    def ask(self, name: str, args: "dict[str, Any]") -> "dict[str, Any] | None":
        """The answer, or None when a job has begun. Refusal."""
        if name == "status":
            return self.status()
        if name == "logs":
            return {"text": self.board.logs()}
        if self.job:
            raise Refusal("busy", what=self.job)
        if name == "install":
            self._begin(name, self._install(str(args.get("source", "")), bool(args.get("older"))))
            return None
        if name == "hashes":
            self._begin(name, jobs.hashes(self.board, self._new()))
            return None
        if name == "check state":
            found: dict[str, Any] = self.board.check_state()
            return found
        if name == "factory reset":
            if args.get("confirm") != RESET_WORD:
                raise Refusal("confirm", word=RESET_WORD)
            self.board.log("factory reset")
            self.board.reset_state()
            return {"reset": True}
        if name == "restart":
            self.leave()
            return {"restarting": True}
        raise Refusal("unknown", what=name[:40])

    def status(self) -> "dict[str, Any]":
        """What a person or a program wants to know first."""
        variables = self.board.variables()
        rows = []
        tried = slots.order(variables)
        for slot in slots.SLOTS:
            rows.append({
                "slot": slot, "version": self.board.version(slot), "compatible": self.board.slot_compatible(slot),
                "tries": slots.left(variables, slot), "first": slot == tried[0],
            })  # fmt: skip
        told: dict[str, Any] = {
            "mode": "rescue", "version": self.version, "compatible": self.board.compatible, "why": self.why, "slots": rows,
            "network": self.board.network(), "job": self.job,
        }  # fmt: skip
        if self.job:
            told["progress"] = [self.progress[0], self.progress[1], self.progress[2]]
        return told

    def leave(self) -> None:
        """Restart into the firmware; where no slot could be started, what can be read gets its tries again."""
        variables = self.board.variables()
        again = slots.leaving(variables, {slot: self.board.version(slot) for slot in slots.SLOTS}, self.board.tries)
        if again:
            self.board.set_variables(again)
        self.restarting = True

    # --- jobs --------------------------------------------------------------------------------------------------------

    def step(self) -> bool:
        """One step of the job; False when there is none."""
        if self._steps is None:
            return False
        try:
            self.progress = next(self._steps)
            return True
        except StopIteration:
            self._end(self._out)
        except Refusal as refusal:
            self.board.log(self.job + ": " + refusal.said("en"))
            self._end(refusal)
        except (OSError, MemoryError) as error:
            self.board.log(self.job + ": " + self.board.reason(error))
            self._end(Refusal("fault", why=self.board.reason(error)))
        return True

    def _new(self) -> "dict[str, Any]":
        self._out = {}
        return self._out

    def _begin(self, name: str, steps: "Iterator[tuple[str, int, int, dict[str, Any]]]") -> None:
        self.job = name
        self.progress = ("", 0, 0, {})
        self._steps = steps

    def _end(self, result: "dict[str, Any] | Refusal") -> None:
        self.ended.append((self.job, result))
        self.job = ""
        self._steps = None

    def _install(self, source: str, older: bool) -> "Iterator[tuple[str, int, int, dict[str, Any]]]":
        board, out = self.board, self._new()
        if source.startswith("http://"):
            fetch = jobs.http(board, source, out)
        elif source.startswith("tftp://"):
            fetch = jobs.tftp(board, source, out)
        elif source == "usb":
            fetch = jobs.stick(board, source, out)
        elif source == "serial":
            out["path"] = board.received()
            if not out["path"]:
                raise Refusal("no_file")
            fetch = iter([])
        elif source == "last" and board.received():  # asked again, for a version that is older
            out["path"] = board.received()
            fetch = iter([])
        else:
            raise Refusal("source", source=source[:80])
        for step in fetch:
            yield step
        board.take(out["path"])
        for step in jobs.install(board, out["path"], older, out):
            yield step


def result_json(name: str, result: "dict[str, Any]") -> "dict[str, Any]":
    """A job's result as a tool gets it."""
    if name == "hashes":
        return {"slots": [{"slot": slot, "sha256": hexlify(digest).decode()} for slot, digest in result["slots"]]}
    return {"slot": result.get("slot", ""), "version": result.get("version", "")}


def status_lines(told: "dict[str, Any]", language: str) -> list[str]:
    """The status for a person."""
    lines = [say("why_" + told["why"], language)]
    for row in told["slots"]:
        content = say("holds", language, row) if row["version"] else say("empty", language)
        first = say("first", language) if row["first"] else ""
        lines.append(say("slot", language, {"slot": row["slot"], "content": content, "left": row["tries"], "first": first}))
    lines.append(say("net_" + told["network"]["how"], language, told["network"]))
    return lines
