"""Who may take how much of the SIP port: rates, temporary blocks, and what crowding does (L1, pure: time is passed in).

Theory of operation
-------------------
RFC 3261 section 26.1 (threats), RFC 5390 and 7339 (overload; here only 503 with Retry-After). A *source* is an IPv4
address or an IPv6 /64. It is *proven* for `PROVEN_MS` after somebody there showed the right password; *near* when its
address belongs to a private, link-local or loopback network; *exempt* when the configuration names it (trunks) or it is
this machine.

- Every message of a source that is not proven takes a token of its bucket; a right password gives back what the attempt
  took. An empty bucket drops the message before anything is parsed, and blocks a source that is not near.
- `FAILURES` wrong passwords within `FAILURE_WINDOW_MS` block a source that is not near; a near one is slowed down to one
  message in a second, so that a phone with an old password recovers as soon as it is given the right one.
- Wrong passwords for one account from anywhere close that account to sources that never proved it, near ones apart that did not
  fail themselves: guessing from many addresses ends, and the phone that works goes on working.
- Strangers together have one bucket. When it is empty, they are *crowded*: new requests of sources that are not proven
  are to be answered 503 with Retry-After.

An emergency call is let through whoever makes it: of a source that is kept off, one INVITE in `PEEK_MS` may be read to
see whether it is one (`peek`), and if so the source is spared (`spare`): treated as a near one until the call is long over.

Blocks grow from one minute, doubling up to an hour, and are forgotten after a quiet day.
Invariants: a proven or exempt source is never dropped and never blocked; a near source is never blocked, and gets at
least one message in a second through; all tables are bounded, and when one is full those go that matter least (strangers
seen longest ago, blocks that end first); nothing here answers anybody, so nothing can be learnt from it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

import msgspec

PROVEN_MS = 3_600_000 * 26               # a phone that registers once a day stays proven
FAILURES = 8
FAILURE_WINDOW_MS = 300_000
ACCOUNT_FAILURES = 24
ACCOUNT_CLOSED_MS = 60_000
FIRST_BLOCK_MS = 60_000
LONGEST_BLOCK_MS = 3_600_000
BLOCKS_REMEMBERED_MS = 86_400_000
PEEK_MS = 400                            # an INVITE is sent again after 500 ms
SPARED_MS = 3_600_000
MOST_STRANGERS = 2048
MOST_PROVEN = 2048
MOST_BLOCKS = 1024
MOST_ACCOUNTS = 32                       # accounts remembered as proven by one source
MOST_EVENTS = 64



class Rates(msgspec.Struct, frozen=True):
    """Messages per second and how many at once, of a far stranger, of a near one, and of all strangers together."""

    far: float = 20.0
    far_burst: float = 100.0
    near: float = 200.0
    near_burst: float = 1000.0
    all_strangers: float = 500.0
    all_burst: float = 1500.0


class Blocked(msgspec.Struct, frozen=True):
    """A block as shown: of a source, until when (engine ms), why, and how often it was blocked before."""

    source: str
    until: int
    why: str
    times: int


class GuardEvent(msgspec.Struct, frozen=True):
    """What the log is told: "blocked", "cleared", "account-closed" or "crowded"."""

    at: int
    what: str
    subject: str
    detail: str = ""


class _Source(msgspec.Struct):
    tokens: float
    at: int
    near: bool
    exempt: bool
    proven_at: int = -1
    failures: int = 0
    failures_at: int = 0
    spared_until: int = 0
    accounts: set[str] = msgspec.field(default_factory=set)


class _Block(msgspec.Struct):
    until: int
    why: str
    times: int
    peeked_at: int = -PEEK_MS


class _Account(msgspec.Struct):
    failures: int = 0
    at: int = 0
    closed_until: int = 0


class SourceGuard:
    """`exempt` are addresses that nothing is asked of; loopback always is one of them unless `loopback` says otherwise."""

    def __init__(self, rates: Rates | None = None, *, exempt: Iterable[str] = (), loopback: bool = True) -> None:
        self.rates = rates if rates is not None else Rates()
        self._exempt = frozenset(source_key(address) for address in exempt)
        self._loopback = loopback
        self._strangers: OrderedDict[str, _Source] = OrderedDict()
        self._proven: OrderedDict[str, _Source] = OrderedDict()
        self._blocks: OrderedDict[str, _Block] = OrderedDict()
        self._accounts: OrderedDict[str, _Account] = OrderedDict()
        self._tokens = self.rates.all_burst
        self._tokens_at = 0
        self._events: list[GuardEvent] = []
        self._crowded = False
        self.dropped = 0

    # --- what the port asks -------------------------------------------------------------------------------------------

    def admit(self, address: str, now: int) -> bool:
        """Take a message (or bytes) of an address; False: drop it unread."""
        key = source_key(address)
        proven = self._proven.get(key)
        if proven is not None:
            if now - proven.proven_at <= PROVEN_MS:
                return True
            del self._proven[key]
        source = self._source(key, now)
        if source.exempt:
            return True
        block = self._blocks.get(key)
        if block is not None and now < block.until:
            self.dropped += 1
            return False
        self._refill_all(now)
        if self._tokens >= 1:
            self._tokens -= 1
        kept = self._kept(source, now)
        rate, burst = (self.rates.near, self.rates.near_burst) if kept else (self.rates.far, self.rates.far_burst)
        if kept and self._failing(source, now):
            rate, burst = 1.0, 1.0
        source.tokens = min(burst, source.tokens + (now - source.at) * rate / 1000)
        source.at = now
        if source.tokens >= 1:
            source.tokens -= 1
            return True
        self.dropped += 1
        if not kept:
            self._block(key, "too many messages", now)
        return False

    def crowded(self, address: str, now: int) -> bool:
        """True when a new request from this address is to be answered 503 with Retry-After before any work is done for it."""
        key = source_key(address)
        if key in self._proven:
            return False
        self._refill_all(now)
        if self._tokens >= 1:
            self._crowded = self._crowded and self._tokens < self.rates.all_burst / 2
            return False
        if self._source(key, now).exempt:
            return False
        if not self._crowded:
            self._crowded = True
            self._tell(now, "crowded", address, "new requests of unknown sources are answered 503")
        return True

    def peek(self, address: str, now: int) -> bool:
        """Whether a message that `admit` refused may be read after all, to see whether it is an emergency call."""
        block = self._blocks.get(source_key(address))
        if block is None:                # a near source that is slowed down
            return True
        if now - block.peeked_at < PEEK_MS:
            return False
        block.peeked_at = now
        return True

    def spare(self, address: str, now: int) -> None:
        """An emergency call comes from this address: nothing of it may be lost."""
        key = source_key(address)
        self._blocks.pop(key, None)
        if key not in self._proven:
            self._source(key, now).spared_until = now + SPARED_MS

    # --- what authentication tells ------------------------------------------------------------------------------------

    def proved(self, address: str, account: str, now: int) -> None:
        """Somebody at this address showed the right password."""
        key = source_key(address)
        source = self._strangers.pop(key, None) or self._proven.pop(key, None) or self._make(key, now)
        source.proven_at = now
        source.failures = 0
        if len(source.accounts) < MOST_ACCOUNTS:
            source.accounts.add(account)
        self._proven[key] = source
        self._blocks.pop(key, None)
        if len(self._proven) > MOST_PROVEN:
            self._proven.popitem(last=False)
        self._tokens = min(self.rates.all_burst, self._tokens + 2)       # the challenge and this

    def failed(self, address: str, account: str, known: bool, now: int) -> None:
        """A wrong password from this address; `known`: the account exists (others have nothing that could be guessed)."""
        key = source_key(address)
        source = self._proven.get(key) or self._source(key, now)
        if now - source.failures_at > FAILURE_WINDOW_MS:
            source.failures = 0
        source.failures += 1
        source.failures_at = now
        if source.failures >= FAILURES and not (self._kept(source, now) or source.exempt or key in self._proven):
            self._block(key, "wrong passwords", now)
        if not known:
            return
        entry = self._accounts.setdefault(account, _Account())
        self._accounts.move_to_end(account)
        if now - entry.at > FAILURE_WINDOW_MS:
            entry.failures = 0
        entry.failures += 1
        entry.at = now
        if entry.failures >= ACCOUNT_FAILURES:
            if now >= entry.closed_until:
                self._tell(now, "account-closed", account, f"{entry.failures} wrong passwords; sources that never proved it must wait")
            entry.closed_until = now + ACCOUNT_CLOSED_MS

    def closed(self, address: str, account: str, now: int) -> bool:
        """True when even the right password of this account is not to be taken from this address now."""
        entry = self._accounts.get(account)
        if entry is None or now >= entry.closed_until:
            return False
        key = source_key(address)
        source = self._proven.get(key) or self._source(key, now)
        if account in source.accounts:
            return False
        return not (source.near or source.exempt) or self._failing(source, now)

    # --- what the console asks ----------------------------------------------------------------------------------------

    def blocks(self, now: int) -> list[Blocked]:
        """Blocks in force, the longest first."""
        live = [Blocked(key, block.until, block.why, block.times) for key, block in self._blocks.items() if block.until > now]
        return sorted(live, key=lambda block: (-block.until, block.source))

    def clear(self, source: str, now: int) -> int:
        """Lift the block of a source, "" for all; how many were lifted."""
        keys = [source_key(source)] if source else list(self._blocks)
        lifted = 0
        for key in keys:
            block = self._blocks.pop(key, None)
            if block is None:
                continue
            lifted += block.until > now
            self._strangers.pop(key, None)
            self._tell(now, "cleared", key)
        if not source:
            self._accounts.clear()
        return lifted

    def forget_accounts(self, accounts: Collection[str]) -> None:
        """Keep only these accounts (the configuration changed)."""
        for account in [account for account in self._accounts if account not in accounts]:
            del self._accounts[account]

    def events(self) -> list[GuardEvent]:
        """Drain what the log should say."""
        out, self._events = self._events, []
        return out

    def statistics(self) -> dict[str, int]:
        """Sizes of the tables and messages dropped unread."""
        return {
            "strangers": len(self._strangers), "proven": len(self._proven), "blocks": len(self._blocks), "dropped": self.dropped,
        }  # fmt: skip

    # --- inner --------------------------------------------------------------------------------------------------------

    def _make(self, key: str, now: int) -> _Source:
        near, loopback = _nearness(key)
        exempt = key in self._exempt or (loopback and self._loopback)
        return _Source(self.rates.near_burst if near else self.rates.far_burst, now, near, exempt)

    def _source(self, key: str, now: int) -> _Source:
        source = self._strangers.get(key)
        if source is None:
            source = self._strangers[key] = self._make(key, now)
            if len(self._strangers) > MOST_STRANGERS:
                self._strangers.popitem(last=False)
        else:
            self._strangers.move_to_end(key)
        return source

    @staticmethod
    def _kept(source: _Source, now: int) -> bool:
        return source.near or now < source.spared_until

    @staticmethod
    def _failing(source: _Source, now: int) -> bool:
        return source.failures >= FAILURES and now - source.failures_at <= FAILURE_WINDOW_MS

    def _refill_all(self, now: int) -> None:
        self._tokens = min(self.rates.all_burst, self._tokens + (now - self._tokens_at) * self.rates.all_strangers / 1000)
        self._tokens_at = now

    def _block(self, key: str, why: str, now: int) -> None:
        old = self._blocks.pop(key, None)
        times = old.times + 1 if old is not None and now - old.until <= BLOCKS_REMEMBERED_MS else 1
        until = now + min(LONGEST_BLOCK_MS, FIRST_BLOCK_MS << min(times - 1, 10))
        self._blocks[key] = _Block(until, why, times)
        self._strangers.pop(key, None)           # starts anew, with a full bucket, when the block ends
        if len(self._blocks) > MOST_BLOCKS:
            del self._blocks[min(self._blocks, key=lambda other: self._blocks[other].until)]
        self._tell(now, "blocked", key, f"{why}, for {(until - now) // 1000} s")

    def _tell(self, at: int, what: str, subject: str, detail: str = "") -> None:
        if len(self._events) < MOST_EVENTS:
            self._events.append(GuardEvent(at, what, subject, detail))


@lru_cache(maxsize=4096)
def source_key(address: str) -> str:
    """What counts as one source: the IPv4 address (also where it is mapped into IPv6), or the IPv6 /64."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return f"{IPv6Address(int(parsed) >> 64 << 64)}/64" if not parsed.is_loopback else str(parsed)
    return str(parsed)


_NEAR = tuple(
    ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8", "fc00::/7", "fe80::/10", "::1/128")
)


def _nearness(key: str) -> tuple[bool, bool]:
    """Whether a source is near (RFC 1918, 3927, 4193, 4291), and whether it is this machine."""
    try:
        parsed = ip_address(key.partition("/")[0])
    except ValueError:
        return False, False
    return any(parsed in network for network in _NEAR), parsed.is_loopback
