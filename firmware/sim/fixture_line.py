"""The simulated fixture's serial line: what stands in the fixture's own processor.

Theory of operation. Lines `PAYLOAD*HH`, HH = exclusive or of the payload; requests `N COMMAND ARGUMENTS`, replies `N OK VALUES` or
`N ERR CODE TEXT`. Written on its own after the table in docs/factory.md, so that a mistake of the tester's side is not made twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

from firmware.errors import HardwareError


class FixtureLine:
    """Bytes in, bytes out."""

    def __init__(self, fixture: Any) -> None:
        self._rest = b""
        self.requests: list[str] = []
        f = fixture
        self._commands: dict[str, tuple[str, Callable[..., Any]]] = {
            "*IDN?": ("", lambda: f.identify().replace(" ", "_")), "SYST:RES": ("", f.reset), "SUPP:STAT": ("b", f.supply),
            "SUPP:CURR?": ("", f.supply_milliamps), "SUPP:VOLT?": ("s", f.rail_volts), "SUPP:CYCL": ("n", f.power_cycle),
            "RES:ARM": ("", f.watch_reset), "RES:TIME?": ("", f.reset_seen), "FEED": ("snnn", f.feed), "RING": ("snn", f.ring),
            "LOAD": ("snn", f.load), "MEAS:VOLT?": ("s", f.volts), "MEAS:CURR?": ("s", f.milliamps), "MEAS:RING?": ("s", f.ringing),
            "MEAS:RES?": ("ss", f.ohms), "ROUT:JOIN": ("ssb", f.join), "ROUT:PART": ("", f.part), "TONE": ("snn", f.send_tone),
            "TONE?": ("sn", f.tone_level), "COUN?": ("s", f.hertz),
        }  # fmt: skip

    def feed(self, data: bytes) -> bytes:
        """Serve the requests that are whole; the replies."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return b"".join(self._serve(line) for line in lines)

    def _serve(self, line: bytes) -> bytes:
        payload, _, sum_text = line.rpartition(b"*")
        if sum_text != b"%02X" % reduce(lambda a, b: a ^ b, payload, 0):
            return b""
        number, command, *words = payload.decode("ascii").split()
        self.requests.append(command)
        kinds, action = self._commands.get(command, ("", None)) if command in self._commands else ("", None)
        if action is None:
            return _reply(f"{number} ERR 113 no such command")
        if len(kinds) != len(words):
            return _reply(f"{number} ERR 115 {len(kinds)} arguments are wanted")
        try:
            result = action(*(_argument(kind, word) for kind, word in zip(kinds, words, strict=True)))
        except (HardwareError, ValueError) as error:
            return _reply(f"{number} ERR 200 {error}")
        values = result if isinstance(result, tuple) else () if result is None else (result,)
        return _reply(" ".join([number, "OK", *(_shown(value) for value in values)]))


def _argument(kind: str, word: str) -> object:
    if kind == "s":
        return word
    if kind == "b":
        return word == "1"
    return math.inf if word == "INF" else float(word)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return "NAN" if math.isnan(value) else f"{value:.6g}"
    return str(value)


def _reply(payload: str) -> bytes:
    data = payload.encode("ascii", "replace")
    return data + b"*%02X\n" % reduce(lambda a, b: a ^ b, data, 0)
