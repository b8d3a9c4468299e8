"""Where a request goes when its URI names a host: NAPTR, SRV and addresses, fail-over and memory of failures (L1).

Theory of operation
-------------------
RFC 3263 section 4, RFC 2782 (order of SRV), RFC 2308 (negative answers), RFC 5922 section 4 (whose name a TLS server must prove: that
of the URI, whatever DNS made of it). `targets_of` is the whole procedure as a function of what is known: it gives the targets in the
order in which they are tried, or the questions that must be answered first. `Locator` keeps answers for their time to live, asks each
question once, and knows the targets that failed a moment ago, which go behind those that did not. The shell (`net/dns.py`) takes
`questions()` and brings `answered(...)`; randomness comes from `draw`, so a test decides it.

What may be known without DNS is: a numeric host (its transport and port are those of the URI or the defaults), and a port or a
transport that the URI names shortens the way (section 4.1 and 4.2).
Invariants: nothing here waits or raises for the sake of an answer; each table is bounded, so are the records of an answer and the
targets of a URI; an answer that could not be had is believed for `FAILED_S` only, one that nothing is there for `MAX_NEGATIVE_S`.
While DNS does not answer, what it said last holds (RFC 8767), for a day at most, and nobody waits for the next try: a trunk shall not
die with a name server.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, ip_address
from typing import Literal, NamedTuple

import msgspec

from firmware.sip.flow import Address
from firmware.sip.uri import Uri

Kind = Literal["NAPTR", "SRV", "A", "AAAA"]

MAX_TTL_S = 86_400
MIN_TTL_S = 5                # a carrier with TTL 0 shall not cost a question for each message
MAX_NEGATIVE_S = 300
FAILED_S = 10
STALE_S = 86_400
SET_ASIDE_S = 30             # a target that failed is tried last for so long; 503 with Retry-After says its own time
MAX_SET_ASIDE_S = 600
MAX_ANSWERS = 512
MAX_WAITING = 256
MAX_RECORDS = 16             # of one answer
MAX_TARGETS = 24             # of one URI
MAX_FAILED = 256

#: NAPTR services (RFC 3263 section 4.1) and what they stand for.
SERVICES = {"SIP+D2U": "udp", "SIP+D2T": "tcp", "SIPS+D2T": "tls"}
#: SRV labels of a transport.
LABELS = {"udp": "_sip._udp", "tcp": "_sip._tcp", "tls": "_sips._tcp"}


class Question(NamedTuple):
    """What the shell asks DNS; the name is absolute, without the last dot."""

    name: str
    kind: Kind


class Naptr(msgspec.Struct, frozen=True):
    """RFC 3403; those with a regular expression are of no use here."""

    order: int
    preference: int
    flags: str
    service: str
    replacement: str


class Srv(msgspec.Struct, frozen=True):
    """RFC 2782."""

    priority: int
    weight: int
    port: int
    target: str


class Answer(msgspec.Struct, frozen=True):
    """Records of one question (addresses as text); none at all is an answer, too. `failed`: it could not be had."""

    records: tuple[Naptr | Srv | str, ...] = ()
    ttl_s: int = MAX_NEGATIVE_S
    failed: bool = False


class Target(msgspec.Struct, frozen=True):
    """One place to try: a transport, a literal address, and the name that a TLS peer must prove."""

    transport: str
    host: str
    port: int
    name: str = ""

    @property
    def address(self) -> Address:
        return self.host, self.port


Known = Callable[[Question], Answer | None]
Then = Callable[[list[Target]], None]


def is_numeric(host: str) -> bool:
    """True for an address literal."""
    return ":" in host or (host.count(".") == 3 and host.replace(".", "").isdigit())


@lru_cache(maxsize=1024)
def canonical(host: str) -> str:
    """An address as the sockets know it; an IPv4 address within an IPv6 one is itself. Other text stays as it is."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    mapped = None if isinstance(address, IPv4Address) else address.ipv4_mapped
    return str(mapped if mapped is not None else address)


def fails_over(status: int) -> bool:
    """True where the next target is to be tried after this final answer: 503 (section 4.3), or 430, the end of a flow (RFC 5626)."""
    return status in (430, 503)


def weighted(records: Iterable[Srv], draw: Callable[[], float]) -> list[Srv]:
    """SRV records in the order of trying: by priority, then drawn by weight (RFC 2782; those of weight 0 after the others)."""
    out: list[Srv] = []
    rest = sorted(records, key=lambda one: (one.priority, one.weight))
    while rest:
        group = [one for one in rest if one.priority == rest[0].priority]
        total = sum(one.weight for one in group)
        # The chance of a record is its share of the weights; without weights all are alike.
        point = draw() * total if total else draw() * len(group)
        chosen = group[-1]
        for one in group:
            point -= one.weight if total else 1
            if point < 0:
                chosen = one
                break
        out.append(chosen)
        rest.remove(chosen)
    return out


class _Way(NamedTuple):
    """A transport and where its servers are: an SRV name, or a host with a port."""

    transport: str
    service: str
    host: str = ""
    port: int = 0


def _default_port(transport: str) -> int:
    return 5061 if transport == "tls" else 5060


def targets_of(
    uri: Uri,
    known: Known,
    draw: Callable[[], float],
    *,
    transports: Sequence[str] = ("tls", "tcp", "udp"),
    families: Sequence[Kind] = ("A",),
) -> tuple[list[Target], list[Question]]:
    """Targets in order, or the questions that stand in the way; both empty: there is nowhere to go.

    `transports` are those that we speak, the one liked best first: it decides where DNS leaves the choice to us. `families`: "A",
    "AAAA" or both, the one liked best first.
    """
    host = (uri.param("maddr") or uri.host).rstrip(".").lower()
    secure = uri.scheme == "sips"
    usable = [one for one in transports if one in LABELS and (one == "tls" or not secure)]
    asked = uri.transport if secure or uri.param("transport") is not None else ""
    if not host or not usable or (asked and asked not in usable):
        return [], []
    plain = asked or ("tls" if secure else "udp" if "udp" in usable else usable[0])
    if is_numeric(host):
        return [Target(plain, canonical(host), uri.port or _default_port(plain), uri.host)], []
    direct = _Way(plain, "", host, uri.port or _default_port(plain))
    if uri.port:
        return _reach([direct], known, draw, families, host)
    named = uri.param("transport") is not None
    ways, missing = _services([asked] if named else usable, host, known, ask_naptr=not named)
    if missing:
        return [], missing
    targets, missing = _reach(ways, known, draw, families, host)
    if missing or ways:
        return targets, missing
    return _reach([direct], known, draw, families, host)


def _services(usable: Sequence[str], host: str, known: Known, *, ask_naptr: bool) -> tuple[list[_Way], list[Question]]:
    """SRV names that have records, in the order of trying (section 4.1)."""
    names: list[_Way] = []
    if ask_naptr:
        answer = known(Question(host, "NAPTR"))
        if answer is None:
            return [], [Question(host, "NAPTR")]
        found = [one for one in answer.records if isinstance(one, Naptr) and one.flags.lower() == "s" and one.replacement]
        for one in sorted(found, key=lambda one: (one.order, one.preference)):
            transport = SERVICES.get(one.service.upper(), "")
            if transport in usable:
                names.append(_Way(transport, one.replacement.rstrip(".").lower()))
    names = names or [_Way(transport, f"{LABELS[transport]}.{host}") for transport in usable]
    questions = [Question(way.service, "SRV") for way in names]
    answers = [known(question) for question in questions]
    missing = [question for question, answer in zip(questions, answers, strict=True) if answer is None]
    if missing:
        return [], missing
    return [way for way, answer in zip(names, answers, strict=True) if answer is not None and answer.records], []


def _reach(
    ways: Sequence[_Way], known: Known, draw: Callable[[], float], families: Sequence[Kind], name: str
) -> tuple[list[Target], list[Question]]:
    """Addresses of services and hosts."""
    hosts: list[tuple[str, list[Srv]]] = []
    for way in ways:
        if way.service:
            answer = known(Question(way.service, "SRV"))
            records = [one for one in (answer.records if answer is not None else ()) if isinstance(one, Srv)]
        else:
            records = [Srv(0, 0, way.port, way.host)]
        # A target "." says that the service is decidedly not there (RFC 2782).
        hosts.append((way.transport, [one for one in records if one.target not in ("", ".") and 0 < one.port <= 65535]))
    wanted = {one.target.rstrip(".").lower() for _, records in hosts for one in records}
    questions = [Question(host, family) for host in sorted(wanted) if not is_numeric(host) for family in families]
    missing = [question for question in questions if known(question) is None]
    if missing:
        return [], missing
    targets: list[Target] = []
    for transport, records in hosts:
        for one in weighted(records, draw) if len(records) > 1 else records:
            for address in _addresses(one.target.rstrip(".").lower(), known, families):
                targets.append(Target(transport, address, one.port, name))
    return list(dict.fromkeys(targets))[:MAX_TARGETS], []


def _addresses(host: str, known: Known, families: Sequence[Kind]) -> list[str]:
    if is_numeric(host):
        return [canonical(host)]
    answers = [known(Question(host, family)) for family in families]
    found = [canonical(one) for answer in answers if answer is not None for one in answer.records if isinstance(one, str)]
    return [one for one in found if is_numeric(one)]


class _Kept(msgspec.Struct):
    answer: Answer
    until: int
    said: int            # when DNS said so
    stale: bool = False  # it does not answer any more


class _Waiting(msgspec.Struct):
    uri: Uri
    then: Then
    transports: tuple[str, ...]


class Locator:
    """See the theory of operation above. `draw()` gives numbers from 0 up to 1; times are engine ms."""

    def __init__(
        self, draw: Callable[[], float], *, transports: Sequence[str] = ("tls", "tcp", "udp"), families: Sequence[Kind] = ("A",)
    ) -> None:
        self._draw = draw
        self._transports = tuple(transports)
        self._families = tuple(families)
        self._answers: OrderedDict[Question, _Kept] = OrderedDict()
        self._waiting: list[_Waiting] = []
        self._asked: set[Question] = set()
        self._questions: list[Question] = []
        self._failed: OrderedDict[tuple[str, Address], int] = OrderedDict()
        self.refused = 0

    def locate(self, uri: Uri, now: int, then: Then, *, transports: Sequence[str] = ()) -> None:
        """Give `then` the targets of a URI, at once where they are known; none where there is nowhere to go.

        `transports` narrows, and orders, what may be used for this one.
        """
        one = _Waiting(uri, then, tuple(transports) or self._transports)
        if self._try(one, now):
            return
        if len(self._waiting) >= MAX_WAITING:
            self.refused += 1
            then([])
            return
        self._waiting.append(one)

    def questions(self) -> list[Question]:
        """What the shell has to ask now; each is given once and must be answered."""
        out, self._questions = self._questions, []
        return out

    def answered(self, question: Question, answer: Answer, now: int) -> None:
        """Take what DNS said, or that it said nothing."""
        records = answer.records[:MAX_RECORDS]
        seconds = FAILED_S if answer.failed else min(max(answer.ttl_s, MIN_TTL_S), MAX_TTL_S if records else MAX_NEGATIVE_S)
        self._asked.discard(question)
        said, stale, old = now, False, self._answers.pop(question, None)
        if answer.failed and old is not None and old.answer.records and now - old.said < STALE_S * 1000:
            records, said, stale = tuple(old.answer.records), old.said, True
        while len(self._answers) >= MAX_ANSWERS:
            self._answers.popitem(last=False)
        self._answers[question] = _Kept(msgspec.structs.replace(answer, records=records), now + seconds * 1000, said, stale)
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not self._try(one, now):
                self._waiting.append(one)

    def failed(self, target: Target, now: int, retry_after_s: int = 0) -> None:
        """A target did not answer, could not be reached, or asked to be left alone for a while."""
        key = (target.transport, target.address)
        self._failed.pop(key, None)
        while len(self._failed) >= MAX_FAILED:
            self._failed.popitem(last=False)
        self._failed[key] = now + min(max(retry_after_s, SET_ASIDE_S), MAX_SET_ASIDE_S) * 1000

    def works(self, target: Target) -> None:
        """A target answered."""
        self._failed.pop((target.transport, target.address), None)

    def forget(self) -> None:
        """Everything that DNS said may be different now (another network, other servers)."""
        self._answers.clear()

    def statistics(self) -> dict[str, int]:
        """Answers kept, URIs that wait, targets set aside, URIs refused."""
        return {"answers": len(self._answers), "waiting": len(self._waiting), "set_aside": len(self._failed), "refused": self.refused}

    # --- inner --------------------------------------------------------------------------------------------------------

    def _try(self, one: _Waiting, now: int) -> bool:
        def known(question: Question) -> Answer | None:
            kept = self._answers.get(question)
            if kept is None or kept.until > now:
                return kept.answer if kept is not None else None
            if not kept.stale or now - kept.said >= STALE_S * 1000:
                return None
            self._ask(question)
            return kept.answer

        targets, missing = targets_of(one.uri, known, self._draw, transports=one.transports, families=self._families)
        if missing:
            for question in missing:
                self._ask(question)
            return False
        # sorted() is stable: among those that work, and among those that failed, the order of DNS holds.
        one.then(sorted(targets, key=lambda target: self._failed.get((target.transport, target.address), 0) > now))
        return True

    def _ask(self, question: Question) -> None:
        if question not in self._asked:
            self._asked.add(question)
            self._questions.append(question)
