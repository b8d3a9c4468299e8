"""Tells a program from a person on the same serial line (L0).

Theory of operation
-------------------
A program calls with `ATTENTION`, an "application program command" of ECMA-48: ESC _ text ESC \\. Nobody types that by accident, terminals
show nothing of it, it holds no CR or LF, so a console that does not know it executes nothing. `Detector` stands before the console: it
passes on everything that is not the call. Bytes that may be its beginning (at least each ESC) are held until the next byte decides, at most
`hold_ms` after the last one, so that the Escape key and arrow keys work. When the call is complete, `found` is True and `rest` is what
followed it; make a new detector afterwards.
"""

ATTENTION = b"\x1b_BPXWIRE1\x1b\\"


class Detector:
    """See the theory of operation above. Times are in ms of one steady clock."""

    def __init__(self, hold_ms: int = 100) -> None:
        self._hold_ms = hold_ms
        self._held = b""
        self._until: int | None = None
        self.found = False
        self.rest = b""

    def receive(self, data: bytes, now: int) -> bytes:
        """What the console gets of `data`."""
        if self.found:
            self.rest += data
            return b""
        data = self._held + data
        at = data.find(ATTENTION)
        if at >= 0:
            self.found = True
            self.rest = data[at + len(ATTENTION) :]
            self._held = b""
            self._until = None
            return data[:at]
        keep = min(len(data), len(ATTENTION) - 1)
        while keep and data[len(data) - keep :] != ATTENTION[:keep]:
            keep -= 1
        self._held = data[len(data) - keep :]
        self._until = now + self._hold_ms if keep else None
        return data[: len(data) - keep]

    def deadline(self) -> int | None:
        """When `expire` wants to be called."""
        return self._until

    def expire(self, now: int) -> bytes:
        """What was held and is for the console now."""
        if self._until is None or now < self._until:
            return b""
        held = self._held
        self._held = b""
        self._until = None
        return held
