"""Via and CSeq: the two header values of which nearly every decision about a message is made (L1).

RFC 3261 sections 20.42 and 20.16. The usual writing is read natively (`scan.pyx`), the rest of the grammar here.
"""

from __future__ import annotations

import re

import msgspec

from firmware.sip import scan
from firmware.sip.errors import SyntaxProblem
from firmware.sip.scan import find_param
from firmware.sip.uri import Params, parse_host_port, parse_params

MAX_CSEQ = 2**31
_VIA = re.compile(
    r"(?P<name>[^\s/]+)\s*/\s*(?P<version>[^\s/]+)\s*/\s*(?P<transport>[A-Za-z0-9\-.!%*_+`'~]+)\s+"
    r"(?P<by>\[[^\]]*\][^;]*|[^;\[\]]+)(?P<rest>.*)\Z",
    re.DOTALL,
)
_CSEQ = re.compile(r"([0-9]{1,20})\s+(\S+)\Z")


class Via(msgspec.Struct, frozen=True, gc=False):
    """One Via value."""

    transport: str                       # lower case
    host: str
    port: int                            # 0: not given
    params: Params = ()
    version: str = "2.0"

    def param(self, name: str) -> str | None:
        return find_param(self.params, name)

    @property
    def branch(self) -> str:
        return self.param("branch") or ""

    def with_params(self, **changes: str) -> Via:
        """Copy with parameters set (in place where present, appended otherwise)."""
        return Via(self.transport, self.host, self.port, scan.with_params(self.params, changes), self.version)

    def render(self) -> str:
        return scan.render_via(self.version, self.transport, self.host, self.port, self.params)


class CSeq(msgspec.Struct, frozen=True, gc=False):
    """Sequence number and method."""

    number: int
    method: str


def parse_via(text: str) -> Via:
    """Parse one Via value. Raises SyntaxProblem."""
    usual = scan.via(text)
    return Via(*usual) if usual is not None else _any_via(text)


def _any_via(text: str) -> Via:
    match = _VIA.match(text.strip())
    if match is None or match["name"].upper() != "SIP":
        raise SyntaxProblem("Via")
    try:
        host, port = parse_host_port("".join(match["by"].split()))
        # `received` may be an IPv6 address with or without brackets (RFC 5118 section 4.5), which the token rule would accept anyway.
        return Via(match["transport"].lower(), host, port, parse_params(match["rest"]), match["version"])
    except SyntaxProblem:
        raise SyntaxProblem("Via") from None


def parse_cseq(text: str) -> CSeq:
    """Parse a CSeq value; the number must be below 2**31. Raises SyntaxProblem."""
    usual = scan.cseq(text)
    return CSeq(*usual) if usual is not None else _any_cseq(text)


def _any_cseq(text: str) -> CSeq:
    match = _CSEQ.match(text.strip())
    if match is None or int(match[1]) >= MAX_CSEQ:
        raise SyntaxProblem("CSeq")
    return CSeq(int(match[1]), match[2])
