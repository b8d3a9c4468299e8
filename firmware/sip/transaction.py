"""The four transaction machines (L1).

Theory of operation
-------------------
RFC 3261 section 17 with RFC 6026 (Accepted state, timers L and M). Each machine is one literal table
`(state, input) -> (next state, actions)`; pairs not in a table are ignored, as the RFC wants of the network. Unreliable
transports retransmit (A, E, G) and linger (D, I, J, K); on reliable ones those timers are zero.
A request within a dialog that is too large for a datagram goes over TCP first (`streams.py`): one that fails or stays unanswered there is
sent again as a datagram by the same transaction, with the same branch.
Invariants: a server transaction keeps the bytes of its last answer and nothing of the request; the table of transactions
is bounded (`room`); every transaction ends by a timer at the latest, except a client INVITE in Proceeding and a server
INVITE before its final answer, which their session bounds. Keys hold Call-ID and CSeq number instead of the sent-by of
the RFC: equal for all retransmissions, and a CANCEL or ACK that a NAT or proxy sends from another sent-by still matches.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

import msgspec

from firmware.sip.envelope import server_key
from firmware.sip.errors import SessionProblem
from firmware.sip.flow import Flow, Outgoing
from firmware.sip.headers import Headers
from firmware.sip.message import Request, Response
from firmware.sip.streams import MOST_UDP, STREAM_PATIENCE_MS, Streamless, stream_way

MAGIC = "z9hG4bK"


class Timers(msgspec.Struct, frozen=True):
    """RFC 3261 table 4, in ms."""

    t1: int = 500
    t2: int = 4000
    t4: int = 5000
    d: int = 32_000

    @property
    def limit(self) -> int:
        """64*T1: timers B, F, H, J, L, M."""
        return 64 * self.t1


class State(StrEnum):
    """States of all four machines."""

    CALLING = "calling"
    TRYING = "trying"
    PROCEEDING = "proceeding"
    ACCEPTED = "accepted"
    COMPLETED = "completed"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


class Kind(StrEnum):
    """The four machines."""

    CLIENT_INVITE = "client-invite"
    CLIENT = "client"
    SERVER_INVITE = "server-invite"
    SERVER = "server"


S = State
Table = dict[tuple[State, str], tuple[State, tuple[str, ...]]]

TABLES: dict[Kind, Table] = {
    # figure 5 of RFC 3261 as amended by figure 3 of RFC 6026
    Kind.CLIENT_INVITE: {
        (S.CALLING, "1xx"): (S.PROCEEDING, ("quiet", "deliver")),
        (S.CALLING, "2xx"): (S.ACCEPTED, ("quiet", "deliver", "linger")),
        (S.CALLING, "final"): (S.COMPLETED, ("quiet", "deliver", "ack", "linger-d")),
        (S.CALLING, "retransmit"): (S.CALLING, ("resend", "double")),
        (S.CALLING, "timeout"): (S.TERMINATED, ("timed-out",)),
        (S.CALLING, "error"): (S.TERMINATED, ("failed",)),
        (S.CALLING, "abandon"): (S.TERMINATED, ()),
        (S.PROCEEDING, "1xx"): (S.PROCEEDING, ("deliver",)),
        (S.PROCEEDING, "2xx"): (S.ACCEPTED, ("deliver", "linger")),
        (S.PROCEEDING, "final"): (S.COMPLETED, ("deliver", "ack", "linger-d")),
        (S.PROCEEDING, "error"): (S.PROCEEDING, ()),
        (S.PROCEEDING, "abandon"): (S.TERMINATED, ()),
        (S.ACCEPTED, "2xx"): (S.ACCEPTED, ("deliver",)),
        (S.ACCEPTED, "timeout"): (S.TERMINATED, ()),
        (S.COMPLETED, "final"): (S.COMPLETED, ("ack",)),
        (S.COMPLETED, "error"): (S.TERMINATED, ()),
        (S.COMPLETED, "timeout"): (S.TERMINATED, ()),
    },
    # figure 6
    Kind.CLIENT: {
        (S.TRYING, "1xx"): (S.PROCEEDING, ("slow", "deliver")),
        (S.TRYING, "2xx"): (S.COMPLETED, ("quiet", "deliver", "linger-k")),
        (S.TRYING, "final"): (S.COMPLETED, ("quiet", "deliver", "linger-k")),
        (S.TRYING, "retransmit"): (S.TRYING, ("resend", "double-t2")),
        (S.TRYING, "timeout"): (S.TERMINATED, ("timed-out",)),
        (S.TRYING, "error"): (S.TERMINATED, ("failed",)),
        (S.PROCEEDING, "1xx"): (S.PROCEEDING, ("deliver",)),
        (S.PROCEEDING, "2xx"): (S.COMPLETED, ("quiet", "deliver", "linger-k")),
        (S.PROCEEDING, "final"): (S.COMPLETED, ("quiet", "deliver", "linger-k")),
        (S.PROCEEDING, "retransmit"): (S.PROCEEDING, ("resend", "slow")),
        (S.PROCEEDING, "timeout"): (S.TERMINATED, ("timed-out",)),
        (S.PROCEEDING, "error"): (S.TERMINATED, ("failed",)),
        (S.COMPLETED, "timeout"): (S.TERMINATED, ()),
        (S.COMPLETED, "error"): (S.TERMINATED, ()),
    },
    # figure 7 as amended by figure 1 of RFC 6026
    Kind.SERVER_INVITE: {
        (S.PROCEEDING, "request"): (S.PROCEEDING, ("resend",)),
        (S.PROCEEDING, "send-1xx"): (S.PROCEEDING, ("send",)),
        (S.PROCEEDING, "send-2xx"): (S.ACCEPTED, ("send", "linger")),
        (S.PROCEEDING, "send-final"): (S.COMPLETED, ("send", "start-g", "linger")),
        (S.PROCEEDING, "error"): (S.PROCEEDING, ()),
        (S.PROCEEDING, "abandon"): (S.TERMINATED, ()),
        (S.ACCEPTED, "request"): (S.ACCEPTED, ()),
        (S.ACCEPTED, "send-2xx"): (S.ACCEPTED, ("send",)),
        (S.ACCEPTED, "ack"): (S.ACCEPTED, ()),
        (S.ACCEPTED, "timeout"): (S.TERMINATED, ()),
        (S.COMPLETED, "request"): (S.COMPLETED, ("resend",)),
        (S.COMPLETED, "retransmit"): (S.COMPLETED, ("resend", "double-t2")),
        (S.COMPLETED, "ack"): (S.CONFIRMED, ("quiet", "linger-i")),
        (S.COMPLETED, "timeout"): (S.TERMINATED, ("unacknowledged",)),
        (S.COMPLETED, "error"): (S.COMPLETED, ()),
        (S.CONFIRMED, "timeout"): (S.TERMINATED, ()),
        (S.CONFIRMED, "ack"): (S.CONFIRMED, ()),
        (S.CONFIRMED, "request"): (S.CONFIRMED, ()),
    },
    # figure 8
    Kind.SERVER: {
        (S.TRYING, "request"): (S.TRYING, ()),
        (S.TRYING, "send-1xx"): (S.PROCEEDING, ("send",)),
        (S.TRYING, "send-2xx"): (S.COMPLETED, ("send", "linger-j")),
        (S.TRYING, "send-final"): (S.COMPLETED, ("send", "linger-j")),
        (S.PROCEEDING, "request"): (S.PROCEEDING, ("resend",)),
        (S.PROCEEDING, "send-1xx"): (S.PROCEEDING, ("send",)),
        (S.PROCEEDING, "send-2xx"): (S.COMPLETED, ("send", "linger-j")),
        (S.PROCEEDING, "send-final"): (S.COMPLETED, ("send", "linger-j")),
        (S.COMPLETED, "request"): (S.COMPLETED, ("resend",)),
        (S.COMPLETED, "timeout"): (S.TERMINATED, ()),
        (S.COMPLETED, "error"): (S.COMPLETED, ()),
    },
}

Key = tuple[str, ...]


class Transaction:
    """One transaction. `owner` is whatever the user of the layer hung on it."""

    __slots__ = ("data", "fallback", "flow", "interval", "key", "kind", "method", "owner", "request", "retransmit_at", "state",
                 "timeout_at")  # fmt: skip

    def __init__(self, kind: Kind, key: Key, state: State, flow: Flow, method: str, owner: object = None) -> None:
        self.kind = kind
        self.key = key
        self.state = state
        self.flow = flow
        self.method = method
        self.owner = owner
        self.data = b""                              # last message sent
        self.request: Request | None = None          # client only: for ACK and CANCEL
        self.fallback: tuple[Request, Flow] | None = None     # client only: what is tried where the stream fails
        self.interval = 0
        self.retransmit_at: int | None = None
        self.timeout_at: int | None = None


class Delivered(NamedTuple):
    """A response for the owner of a client transaction."""

    transaction: Transaction
    response: Response


class Ended(NamedTuple):
    """A transaction ended without the answer or ACK that it waited for: "timed-out", "failed" or "unacknowledged"."""

    transaction: Transaction
    why: str


def build_ack(request: Request, response: Response) -> Request:
    """ACK for a final answer other than 2xx (section 17.1.1.3): the INVITE's branch, the answer's To."""
    headers = Headers()
    headers.add("Via", request.via.render())
    for value in request.headers.get_all("route"):
        headers.add("Route", value)
    headers.add("Max-Forwards", "70")
    headers.add("From", request.headers.get("from"))
    headers.add("To", response.headers.get("to"))
    headers.add("Call-ID", request.call_id)
    headers.add("CSeq", f"{request.cseq.number} ACK")
    return Request("ACK", request.uri, headers)


def build_cancel(request: Request) -> Request:
    """CANCEL of an INVITE (section 9.1): same Request-URI, top Via, From, To, Call-ID, CSeq number and Route."""
    headers = Headers()
    headers.add("Via", request.via.render())
    for value in request.headers.get_all("route"):
        headers.add("Route", value)
    headers.add("Max-Forwards", "70")
    headers.add("From", request.headers.get("from"))
    headers.add("To", request.headers.get("to"))
    headers.add("Call-ID", request.call_id)
    headers.add("CSeq", f"{request.cseq.number} CANCEL")
    return Request("CANCEL", request.uri, headers)


def _class(status: int) -> str:
    return "1xx" if status < 200 else "2xx" if status < 300 else "final"


def _begins(transaction: Transaction) -> bool:
    """True for a request outside of a dialog that has another way, or comes again by itself."""
    if transaction.kind is Kind.CLIENT_INVITE:
        return transaction.request is not None and not transaction.request.to.tag
    return transaction.kind is Kind.CLIENT and transaction.method in ("REGISTER", "OPTIONS")


class TransactionLayer:
    """All transactions of an endpoint. Drain `output` and `events` after each call."""

    def __init__(self, timers: Timers | None = None, *, limit: int = 20_000) -> None:
        self.timers = timers or Timers()
        self.limit = limit
        self.output: list[Outgoing] = []
        self.events: list[Delivered | Ended] = []
        self.streamless = Streamless()
        self.trace: Callable[[object, Flow, bytes], None] | None = None       # told owner, flow, bytes of what is sent
        self._table: dict[Key, Transaction] = {}
        self._heap: list[tuple[int, int, Transaction]] = []
        self._order = 0

    def __len__(self) -> int:
        return len(self._table)

    @property
    def room(self) -> bool:
        """False when no new transaction may begin."""
        return len(self._table) < self.limit

    # --- client -------------------------------------------------------------------------------------------------------

    def request(self, request: Request, flow: Flow, owner: object, now: int) -> Transaction:
        """Send a request (its top Via is ours) in a new client transaction."""
        invite = request.method == "INVITE"
        kind = Kind.CLIENT_INVITE if invite else Kind.CLIENT
        state = S.CALLING if invite else S.TRYING
        transaction = Transaction(kind, self._client_key(request.via.branch, request.method), state, flow, request.method, owner)
        transaction.request = request if invite else None
        transaction.data = request.render()
        transaction.timeout_at = now + self.timers.limit
        stream = stream_way(request, flow, len(transaction.data)) if len(transaction.data) > MOST_UDP and request.to.tag else None
        if stream is not None and not self.streamless.has(flow.remote, now):
            transaction.fallback, transaction.flow = (request, flow), stream
            self._carry(transaction, request, "tcp")
            transaction.retransmit_at = now + STREAM_PATIENCE_MS
        elif not flow.reliable:
            transaction.interval = self.timers.t1
            transaction.retransmit_at = now + self.timers.t1
        self._table[transaction.key] = transaction
        self._arm(transaction)
        self._transmit(transaction)
        return transaction

    def resume_client(self, request: Request, flow: Flow, owner: object) -> Transaction:
        """A client INVITE transaction in Proceeding that an earlier process began."""
        transaction = Transaction(Kind.CLIENT_INVITE, self._client_key(request.via.branch, "INVITE"), S.PROCEEDING, flow, "INVITE", owner)
        transaction.request = request
        transaction.data = request.render()
        self._table[transaction.key] = transaction
        return transaction

    def find_client(self, response: Response) -> Transaction | None:
        """The transaction that a response answers."""
        return self._table.get(self._client_key(response.via.branch, response.cseq.method))

    def receive_response(self, transaction: Transaction, response: Response, now: int) -> None:
        """Give a response to its transaction."""
        self._step(transaction, _class(response.status), now, response)

    def abandon(self, transaction: Transaction, now: int) -> None:
        """End an INVITE transaction that its session gives up (after CANCEL and 64*T1)."""
        self._step(transaction, "abandon", now)

    # --- server -------------------------------------------------------------------------------------------------------

    def absorb(self, request: Request, now: int) -> bool:
        """True when the request is a retransmission or an ACK that a transaction has taken."""
        transaction = self._table.get(server_key(request))
        if transaction is None:
            return False
        if request.method == "ACK":
            # the ACK of a 2xx is a request of the dialog, also where a client wrongly reuses the branch
            taken = transaction.state in (S.COMPLETED, S.CONFIRMED)
            if taken:
                self._step(transaction, "ack", now)
            return taken
        self._step(transaction, "request", now)
        return True

    def find_invite(self, request: Request) -> Transaction | None:
        """The server INVITE transaction that a CANCEL names."""
        key = server_key(request)
        position = 3 if key[0] else 5
        return self._table.get((*key[:position], "INVITE", *key[position + 1 :]))

    def unanswered(self, request: Request) -> Transaction | None:
        """The server transaction of a request other than INVITE that nobody has answered yet."""
        transaction = self._table.get(server_key(request))
        return transaction if transaction is not None and transaction.kind is Kind.SERVER and transaction.state is S.TRYING else None

    def accept(self, request: Request, flow: Flow, owner: object) -> Transaction:
        """Begin a server transaction for a new request; `flow.remote` is where answers go."""
        invite = request.method == "INVITE"
        kind = Kind.SERVER_INVITE if invite else Kind.SERVER
        transaction = Transaction(kind, server_key(request), S.PROCEEDING if invite else S.TRYING, flow, request.method, owner)
        self._table[transaction.key] = transaction
        return transaction

    def respond(self, transaction: Transaction, response: Response, now: int) -> None:
        """Send an answer. Raises SessionProblem when the transaction already has a final one."""
        step = "send-" + _class(response.status)
        if (transaction.state, step) not in TABLES[transaction.kind]:
            raise SessionProblem(f"{response.status} in state {transaction.state} of a {transaction.kind} transaction")
        transaction.data = response.render()
        self._step(transaction, step, now)

    # --- time and transport -------------------------------------------------------------------------------------------

    def transport_error(self, transport: str, remote: tuple[str, int], now: int) -> None:
        """The transport could not deliver to this destination.

        What ICMP says over UDP passes, or may be a lie: only what begins something is given up at once, the rest is sent again.
        """
        hit = [t for t in self._table.values() if t.flow.transport == transport and t.flow.remote == remote]
        for transaction in hit if transport != "udp" else filter(_begins, hit):
            if not self._fall_back(transaction, now):
                self._step(transaction, "error", now)

    def deadline(self) -> int | None:
        """When `expire` wants to be called next."""
        heap = self._heap
        while heap:
            at, _, transaction = heap[0]
            if transaction.timeout_at == at or transaction.retransmit_at == at:      # as `_current`, without a call
                return at
            heapq.heappop(heap)
        return None

    def expire(self, now: int) -> None:
        """Run the timers that are due."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            entry = heapq.heappop(heap)
            if not self._current(entry):
                continue
            at, _, transaction = entry
            if transaction.timeout_at == at:
                transaction.timeout_at = None
                self._step(transaction, "timeout", now)
            elif transaction.retransmit_at == at:
                transaction.retransmit_at = None
                if not self._fall_back(transaction, now):
                    self._step(transaction, "retransmit", now)

    def _fall_back(self, transaction: Transaction, now: int) -> bool:
        """Nobody answers over the stream: the same as a datagram. False for a transaction that has no such way, or has an answer."""
        if transaction.fallback is None or transaction.state not in (S.CALLING, S.TRYING):
            return False
        (request, flow), transaction.fallback = transaction.fallback, None
        self.streamless.add(flow.remote, now)
        before = (transaction.retransmit_at, transaction.timeout_at)
        transaction.flow = flow
        self._carry(transaction, request, flow.transport)
        transaction.interval = self.timers.t1
        transaction.retransmit_at = now + self.timers.t1
        self._arm(transaction, before)
        self._transmit(transaction)
        return True

    @staticmethod
    def _carry(transaction: Transaction, request: Request, transport: str) -> None:
        """Write into the top Via what the request goes over (section 18.1.1)."""
        request.set_top_via(msgspec.structs.replace(request.via, transport=transport))
        transaction.data = request.render()

    # --- inner --------------------------------------------------------------------------------------------------------

    @staticmethod
    def _client_key(branch: str, method: str) -> Key:
        return ("client", branch, method)

    @staticmethod
    def _current(entry: tuple[int, int, Transaction]) -> bool:
        at, _, transaction = entry       # one that ended has no instants
        return at in (transaction.timeout_at, transaction.retransmit_at)

    def _arm(self, transaction: Transaction, before: tuple[int | None, int | None] = (None, None)) -> None:
        at = transaction.retransmit_at
        if at is not None and at != before[0]:
            self._order += 1
            heapq.heappush(self._heap, (at, self._order, transaction))
        at = transaction.timeout_at
        if at is not None and at != before[1]:
            self._order += 1
            heapq.heappush(self._heap, (at, self._order, transaction))

    def _transmit(self, transaction: Transaction, data: bytes | None = None) -> None:
        flow = transaction.flow
        message = transaction.data if data is None else data
        self.output.append(Outgoing(flow.transport, flow.remote, message, flow.local, name=flow.name))
        if self.trace is not None and transaction.owner is not None:
            self.trace(transaction.owner, flow, message)

    def _step(self, transaction: Transaction, step: str, now: int, response: Response | None = None) -> None:
        move = TABLES[transaction.kind].get((transaction.state, step))
        if move is None:
            return
        before = (transaction.retransmit_at, transaction.timeout_at)
        transaction.state, actions = move
        for action in actions:
            self._act(transaction, action, now, response)
        if transaction.state is S.TERMINATED:
            self._table.pop(transaction.key, None)
            transaction.retransmit_at = transaction.timeout_at = None
        elif actions:
            self._arm(transaction, before)

    def _act(self, transaction: Transaction, action: str, now: int, response: Response | None) -> None:
        timers, flow = self.timers, transaction.flow
        match action:
            case "deliver":
                assert response is not None
                self.events.append(Delivered(transaction, response))
            case "send":
                self._transmit(transaction)
            case "resend":
                if transaction.data:
                    self._transmit(transaction)
            case "ack":
                assert response is not None and transaction.request is not None
                self._transmit(transaction, build_ack(transaction.request, response).render())
            case "quiet":
                transaction.retransmit_at = None
                if transaction.kind is Kind.CLIENT_INVITE:
                    transaction.timeout_at = None
            case "double":
                transaction.interval *= 2
                transaction.retransmit_at = now + transaction.interval
            case "double-t2":
                transaction.interval = min(transaction.interval * 2, timers.t2)
                transaction.retransmit_at = now + transaction.interval
            case "slow":
                transaction.retransmit_at = None if flow.reliable else now + timers.t2
            case "start-g":
                if not flow.reliable:
                    transaction.interval = timers.t1
                    transaction.retransmit_at = now + timers.t1
            case "linger":
                transaction.timeout_at = now + timers.limit
            case "linger-d":
                transaction.timeout_at = now + (0 if flow.reliable else timers.d)
            case "linger-j":
                transaction.timeout_at = now + (0 if flow.reliable else timers.limit)
            case "linger-i" | "linger-k":
                transaction.timeout_at = now + (0 if flow.reliable else timers.t4)
            case "timed-out" | "failed" | "unacknowledged":
                self.events.append(Ended(transaction, action))
            case _:
                raise SessionProblem(f"unknown action {action}")
