"""What the SIP cores raise (L1).

Theory of operation
-------------------
Every defect of a peer is a `RemoteProtocolError`. `SyntaxProblem` is a value that breaks the grammar (the request that
carries it is answered 400); `Unframeable` is input of which no message can be made at all (nothing can be answered).
"""

from __future__ import annotations

from firmware.errors import LocalProtocolError, RemoteProtocolError


class SyntaxProblem(RemoteProtocolError):
    """A header, URI or body breaks its grammar; `what` names it for the reason phrase (never the peer's raw bytes)."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class Unframeable(RemoteProtocolError):
    """The input cannot be cut into a SIP message (no start line, no end, or larger than the cap)."""


class SessionProblem(LocalProtocolError):
    """A command does not fit the state of its session: a bug of ours."""
