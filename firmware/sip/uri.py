"""SIP URIs, name-addr values and their parameters (L1).

Theory of operation
-------------------
RFC 3261 section 19.1 and 25.1 (grammar), RFC 5118 (IPv6 references). A URI of an unknown scheme is kept opaque: whether
it is acceptable is for the validation step to say (416), not for the parser.
Invariants: parsing never raises anything but `SyntaxProblem`; user parts stay escaped as received (escaping is
significant for display only), `user_text` unescapes. What `render` gives parses to an equal value.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv6Address

import msgspec

from firmware.sip import scan
from firmware.sip.errors import SyntaxProblem
from firmware.sip.scan import find_param, render_params

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*\Z")
# Liberal on purpose: real phones send '#' and other unescaped printable characters in the user part.
_USER = re.compile(r"(?:[^\x00-\x20\x7f\"<>@%\\]|%[0-9A-Fa-f]{2})*\Z")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_\-.]*[A-Za-z0-9_.])?\Z")
_TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+\Z")
_QUOTED = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_OUTSIDE = {separator: re.compile(f'["<{separator}]') for separator in ",;"}
_INSIDE = re.compile(r'[">]')
_URI_PARAM = re.compile(r"(?:[^\x00-\x20\x7f\"<>@;=?%,]|%[0-9A-Fa-f]{2})+\Z")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNSAFE = re.compile(r"[^A-Za-z0-9\-_.!~*'()&=+$,;?/#]")
_CACHEABLE = 256

Params = tuple[tuple[str, str | None], ...]


class Uri(msgspec.Struct, frozen=True, gc=False):
    """A URI; for schemes other than sip and sips only `scheme` and `opaque` are filled."""

    scheme: str
    host: str = ""                       # IPv6 without brackets
    user: str = ""                       # escaped, as received
    password: str = ""
    port: int = 0                        # 0: not given
    params: Params = ()
    headers: str = ""                    # what follows "?", escaped
    opaque: str = ""

    @property
    def is_sip(self) -> bool:
        return self.scheme in ("sip", "sips")

    @property
    def user_text(self) -> str:
        """The user part with escapes resolved."""
        return unescape(self.user)

    def param(self, name: str) -> str | None:
        """Value of a parameter, "" when it has none, None when it is absent."""
        return find_param(self.params, name)

    @property
    def transport(self) -> str:
        """The transport that the URI asks for, lower case ("udp" where it does not say); sips makes tcp tls, ws wss (section 26.2.2)."""
        value = self.param("transport")
        if self.scheme == "sips":
            return "wss" if value and value.lower() in ("ws", "wss") else "tls"
        return value.lower() if value else "udp"

    @property
    def default_port(self) -> int:
        """Port where none is given (section 19.1.2)."""
        return 5061 if self.transport == "tls" else 5060

    @property
    def hostport(self) -> str:
        return join_host_port(self.host, self.port)

    def render(self) -> str:
        if not self.is_sip:
            return f"{self.scheme}:{self.opaque}"
        user = f"{self.user}:{self.password}@" if self.password else f"{self.user}@" if self.user else ""
        headers = f"?{self.headers}" if self.headers else ""
        return f"{self.scheme}:{user}{self.hostport}{render_params(self.params)}{headers}"


class NameAddr(msgspec.Struct, frozen=True, gc=False):
    """A From, To, Contact, Route or Record-Route value."""

    uri: Uri
    display: str = ""
    params: Params = ()
    bracketed: bool = True

    def param(self, name: str) -> str | None:
        return find_param(self.params, name)

    @property
    def tag(self) -> str:
        return self.param("tag") or ""

    def render(self) -> str:
        display = quote(self.display) + " " if self.display else ""
        return f"{display}<{self.uri.render()}>{render_params(self.params)}"


def join_host_port(host: str, port: int) -> str:
    text = f"[{host}]" if ":" in host else host
    return f"{text}:{port}" if port else text


def unescape(text: str) -> str:
    """Resolve %HH escapes (bytes above 7F as UTF-8, undecodable ones kept as surrogates)."""
    if "%" not in text:
        return text
    raw = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
    try:
        return raw.encode("latin-1").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return raw


def escape_user(text: str) -> str:
    """Escape text for use as a user part."""
    return _UNSAFE.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogateescape")), text)


def quote(text: str) -> str:
    """Text as a quoted-string; control characters are dropped."""
    clean = "".join(char for char in text if char >= " " and char != "\x7f")
    return '"' + clean.replace("\\", "\\\\").replace('"', '\\"') + '"'


def parse_host_port(text: str) -> tuple[str, int]:
    """Split "host[:port]"; the IPv6 brackets are removed. Port 0 means not given."""
    return _host_port_cached(text) if len(text) <= _CACHEABLE else _host_port(text)


def _host_port(text: str) -> tuple[str, int]:
    if text.startswith("["):
        end = text.find("]")
        if end < 0:
            raise SyntaxProblem("IPv6 reference without ]")
        host, rest = text[1:end], text[end + 1 :]
        try:
            # RFC 5118 section 4.10: three colons came from a bug in the old grammar and are accepted.
            IPv6Address(host.replace(":::", "::"))
        except ValueError:
            raise SyntaxProblem("IPv6 reference") from None
        host = host.replace(":::", "::")
        if rest and not rest.startswith(":"):
            raise SyntaxProblem("text after IPv6 reference")
        port = rest[1:]
        if rest and not port:
            raise SyntaxProblem("port")
    else:
        host, colon, port = text.partition(":")
        if not _HOST.match(host) or (colon and not port):
            raise SyntaxProblem("host")
    if not port:
        return host, 0
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise SyntaxProblem("port")
    return host, int(port)


_host_port_cached = lru_cache(maxsize=256)(_host_port)


def parse_uri(text: str) -> Uri:
    """Parse a URI without surrounding space. Raises SyntaxProblem."""
    return _parse_cached(text) if len(text) <= _CACHEABLE else _parse(text)


def _parse(text: str) -> Uri:
    scheme, colon, rest = text.partition(":")
    if not colon or not _SCHEME.match(scheme):
        raise SyntaxProblem("URI scheme")
    scheme = scheme.lower()
    if any(char <= " " or char == "\x7f" for char in rest):
        raise SyntaxProblem("space in URI")
    if scheme not in ("sip", "sips"):
        if not rest or "<" in rest or ">" in rest:
            raise SyntaxProblem("URI")
        return Uri(scheme=scheme, opaque=rest)
    userinfo, at, tail = rest.rpartition("@")
    if at and (not userinfo or "@" in userinfo):
        raise SyntaxProblem("URI user")
    user, _, password = userinfo.partition(":")
    if not _USER.match(user) or not _USER.match(password) or (at and not user):
        raise SyntaxProblem("URI user")
    tail, _, headers = tail.partition("?")
    if "<" in headers or ">" in headers or '"' in headers:
        raise SyntaxProblem("URI headers")
    hostport, *raw_params = tail.split(";")
    host, port = parse_host_port(hostport)
    params: list[tuple[str, str | None]] = []
    for raw in raw_params:
        key, equals, value = raw.partition("=")
        if not _URI_PARAM.match(key) or (equals and not _URI_PARAM.match(value)):
            raise SyntaxProblem("URI parameter")
        params.append((unescape(key), value if equals else None))
    return Uri(scheme=scheme, host=host, user=user, password=password, port=port, params=tuple(params), headers=headers)


_parse_cached = lru_cache(maxsize=1024)(_parse)


def _quoted_end(text: str, start: int) -> int:
    """Index after the quoted-string that opens at `start`."""
    match = _QUOTED.match(text, start)
    if match is None:
        raise SyntaxProblem("unbalanced quotes")
    return match.end()


def split_outside(text: str, separator: str) -> list[str]:
    """Split at a separator that is neither inside quotes nor inside angle brackets; parts are stripped."""
    if '"' not in text:
        if separator not in text:
            return [text.strip()]
        if "<" not in text:
            return [part.strip() for part in text.split(separator)]
    outside = _OUTSIDE[separator]
    parts: list[str] = []
    start = index = 0
    notable = outside                    # what is looked for: it is another inside angle brackets
    while (match := notable.search(text, index)) is not None:
        index = match.end()
        char = match[0]
        if char == '"':
            index = _quoted_end(text, index - 1)
        elif char == "<":
            notable = _INSIDE
        elif char == ">":
            notable = outside
        else:
            parts.append(text[start : index - 1].strip())
            start = index
    parts.append(text[start:].strip())
    return parts


def parse_params(text: str) -> Params:
    """Parse ";a=b;c" (leading semicolon required unless empty); values keep their quotes."""
    if not text:
        return ()
    usual = scan.params(text)
    return usual if usual is not None else _params(text.strip())


def _params(text: str) -> Params:
    if not text:
        return ()
    if not text.startswith(";"):
        raise SyntaxProblem("header parameters")
    params: list[tuple[str, str | None]] = []
    for raw in split_outside(text[1:], ";"):
        key, equals, value = raw.partition("=")
        key, value = key.strip(), value.strip()
        if not _TOKEN.match(key) or (equals and not value):
            raise SyntaxProblem("header parameter")
        if value and value[0] != '"' and any(char in ' \t",;<>' for char in value):
            raise SyntaxProblem("header parameter value")
        if value and value[0] == '"' and _quoted_end(value, 0) != len(value):
            raise SyntaxProblem("header parameter value")
        params.append((key.lower(), value if equals else None))
    return tuple(params)


def parse_name_addr(text: str) -> NameAddr:
    """Parse a From, To, Contact or Route value. Raises SyntaxProblem."""
    return _name_addr_cached(text) if len(text) <= _CACHEABLE else _name_addr(text)


def _name_addr(text: str) -> NameAddr:
    usual = scan.name_addr(text)
    if usual is not None:
        uri, shown, parameters = usual
        return NameAddr(parse_uri(uri), shown, parameters)
    return _any_name_addr(text)


def _any_name_addr(text: str) -> NameAddr:
    text = text.strip()
    display = ""
    if text.startswith('"'):
        end = _quoted_end(text, 0)
        display = re.sub(r"\\(.)", r"\1", text[1 : end - 1], flags=re.DOTALL)
        rest = text[end:].lstrip()
        if not rest.startswith("<"):
            raise SyntaxProblem("name-addr")
    else:
        opening = text.find("<")
        if opening < 0:
            # addr-spec form: parameters belong to the header, and "?" may not appear (RFC 3261 section 20).
            uri, semicolon, params = text.partition(";")
            parsed = parse_uri(uri.strip())
            if parsed.headers:
                raise SyntaxProblem("URI with headers outside angle brackets")
            return NameAddr(uri=parsed, params=parse_params(semicolon + params), bracketed=False)
        display, rest = text[:opening].strip(), text[opening:]
        # Missing quotes are inferred (many phones send "Müller (Sales)" without), but not over what separates values and parameters.
        if any(char in display for char in '",;'):
            raise SyntaxProblem("display name")
    closing = rest.find(">")
    if closing < 0:
        raise SyntaxProblem("missing >")
    return NameAddr(uri=parse_uri(rest[1:closing]), display=display, params=parse_params(rest[closing + 1 :]))


_name_addr_cached = lru_cache(maxsize=1024)(_name_addr)
