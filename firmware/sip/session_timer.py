"""Session timers: how long a call lives without a refresh, and who refreshes it (L1).

Theory of operation
-------------------
RFC 4028. `SessionTimer` is the agreement of one session, plain values that another process can go on with; the functions below
are the rules for each message and `session_refresh.py` sends what they ask for. "uac" and "uas" in a message name the roles of that
transaction, not of the call, so both are translated here, and nowhere else, to `ours`.
What we wish is in `Settings.session_expires_s`; a peer that wishes less than 90 s is answered 422.
Invariants: an answer to a peer that supports timers names the refresher; a request of ours within a call leaves the roles as they
are; whoever refreshes does it at half of the interval; either side ends the call when 32 s, or a third of the interval, are left.
"""

from __future__ import annotations

import msgspec

from firmware.sip.errors import SyntaxProblem
from firmware.sip.message import Message, Request, Response
from firmware.sip.validate import Refusal

MIN_SE_S = 90                            # section 4: no interval may be shorter
LONGEST_S = 86_400
MARGIN_S = 32                            # section 10


class SessionTimer(msgspec.Struct, omit_defaults=True):
    """The agreement. `interval_s` 0: there is none."""

    interval_s: int = 0
    ours: bool = False                   # we refresh
    min_se_s: int = MIN_SE_S             # the largest Min-SE that the peer has named
    refused: bool = False                # the peer does not know the extension (420): never named to it again
    refresh_at: int | None = None
    ends_at: int | None = None

    def stop(self) -> None:
        """The session has no expiry any more."""
        self.interval_s, self.ours, self.refresh_at, self.ends_at = 0, False, None, None

    def start(self, interval_s: int, ours: bool, now: int) -> None:
        """The interval begins, or begins anew."""
        self.interval_s, self.ours = interval_s, ours
        self.refresh_at = now + interval_s * 500 if ours else None
        self.ends_at = now + (interval_s - min(MARGIN_S, interval_s // 3)) * 1000


def _seconds(text: str, what: str) -> int:
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 10):
        raise SyntaxProblem(what)
    return min(int(digits), LONGEST_S)


def session_expires(message: Message) -> tuple[int, str] | None:
    """Seconds and refresher ("uac", "uas" or "") of Session-Expires, None without one. Raises SyntaxProblem."""
    text = message.headers.get("session-expires")
    if not text:
        return None
    seconds, *params = text.split(";")
    role = ""
    for param in params:
        name, _, value = param.partition("=")
        if name.strip().lower() == "refresher":
            role = value.strip().lower()
    if role not in ("", "uac", "uas"):
        raise SyntaxProblem("refresher")
    return _seconds(seconds, "Session-Expires"), role


def min_se(message: Message) -> int:
    """Min-SE in s, at least 90. Raises SyntaxProblem."""
    text = message.headers.get("min-se").partition(";")[0]
    return max(MIN_SE_S, _seconds(text, "Min-SE")) if text else MIN_SE_S


def supports_timer(message: Message) -> bool:
    return "timer" in message.headers.tokens("supported") or "timer" in message.headers.tokens("require")


# --- called: requests of the peer -------------------------------------------------------------------------------------


def check_interval(request: Request) -> Refusal | None:
    """422 for an interval that is too short; a sender that does not know the extension could not mend it, so it is never refused."""
    asked = session_expires(request)
    min_se(request)
    if asked is not None and asked[0] < MIN_SE_S and supports_timer(request):
        return Refusal(422, headers=(("Min-SE", str(MIN_SE_S)),))
    return None


def answer_headers(timer: SessionTimer, request: Request, wanted_s: int, now: int) -> tuple[tuple[str, str], ...]:
    """Headers for our 2xx to an INVITE or UPDATE of the peer; the timer starts, or ends (section 9)."""
    asked, supported = session_expires(request), supports_timer(request)
    if not wanted_s or (asked is None and not supported):
        timer.stop()
        return ()
    wished, role = asked if asked is not None else (timer.interval_s or wanted_s, "")
    interval = max(min(wished, wanted_s), min_se(request))
    if not role and timer.interval_s:
        role = "uas" if timer.ours else "uac"             # nothing said: roles stay as they are
    if not supported:
        role = "uas"                                      # table 2: it cannot refresh
    role = role or "uac"
    timer.start(interval, role == "uas", now)
    value = f"{interval};refresher={role}"
    # The peer must know that it is the one to refresh.
    return (("Require", "timer"), ("Session-Expires", value)) if role == "uac" else (("Session-Expires", value),)


# --- calling: requests of ours ----------------------------------------------------------------------------------------


def request_headers(timer: SessionTimer, wanted_s: int, *, first: bool) -> tuple[tuple[str, str], ...]:
    """Headers for an INVITE or UPDATE of ours; `first` for the one that begins a call. "timer" is in Supported, see `supported`."""
    if timer.refused or not wanted_s or not (first or timer.interval_s):
        return ()
    if timer.interval_s:
        value = f"{max(timer.interval_s, timer.min_se_s)};refresher={'uac' if timer.ours else 'uas'}"
    else:
        value = str(max(wanted_s, timer.min_se_s))
    headers = [("Session-Expires", value)]
    if timer.min_se_s > MIN_SE_S:
        headers.append(("Min-SE", str(timer.min_se_s)))
    return tuple(headers)


def accepted(timer: SessionTimer, response: Response, now: int) -> None:
    """A 2xx to an INVITE or UPDATE of ours: the timer starts, or ends when the peer names none (section 7.2)."""
    try:
        granted = None if timer.refused else session_expires(response)
    except SyntaxProblem:
        granted = None
    if granted is None:
        timer.stop()
    else:
        # A 2xx without refresher breaks the rules: then we do it, because somebody must.
        timer.start(max(granted[0], MIN_SE_S), granted[1] != "uas", now)


def too_small(timer: SessionTimer, response: Response) -> bool:
    """A 422: take over its Min-SE; False when asking again would not help."""
    try:
        wished = min_se(response)
    except SyntaxProblem:
        return False
    if "min-se" not in response.headers or wished <= max(timer.min_se_s, timer.interval_s):
        return False
    timer.min_se_s = wished
    return True
