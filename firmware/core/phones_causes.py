"""Between SIP status codes and causes of legs: tables only (RFC 3261 section 21, RFC 3326, RFC 7462)."""

from __future__ import annotations

from firmware.call.model import Alert, Cause

CAUSES: dict[int, Cause] = {
    401: Cause.REFUSED, 403: Cause.REFUSED, 407: Cause.REFUSED, 404: Cause.UNREACHABLE, 408: Cause.NO_ANSWER, 410: Cause.UNREACHABLE,
    480: Cause.NO_ANSWER, 481: Cause.UNREACHABLE, 484: Cause.UNREACHABLE, 486: Cause.BUSY, 487: Cause.CANCELLED, 500: Cause.CONGESTION,
    503: Cause.CONGESTION, 504: Cause.CONGESTION, 600: Cause.BUSY, 603: Cause.REJECTED, 604: Cause.UNREACHABLE,
}  # fmt: skip
STATUS: dict[Cause, int] = {
    Cause.NORMAL: 480, Cause.BUSY: 486, Cause.NO_ANSWER: 480, Cause.REJECTED: 603, Cause.CANCELLED: 487, Cause.ABANDONED: 480,
    Cause.ELSEWHERE: 480, Cause.TRANSFERRED: 480, Cause.UNREACHABLE: 404, Cause.REFUSED: 403, Cause.CONGESTION: 503,
    Cause.NO_DIAL_TONE: 503, Cause.LINE_FAULT: 503, Cause.MEDIA_LOST: 500, Cause.RTP_LOST: 500, Cause.TIMEOUT: 480,
    Cause.PREEMPTED: 486, Cause.SYSTEM: 500,
}  # fmt: skip
ELSEWHERE_REASON = 'SIP;cause=200;text="Call completed elsewhere"'
Q850: dict[Cause, int] = {
    Cause.NORMAL: 16, Cause.BUSY: 17, Cause.NO_ANSWER: 19, Cause.REJECTED: 21, Cause.UNREACHABLE: 20, Cause.CONGESTION: 34,
    Cause.LINE_FAULT: 27, Cause.MEDIA_LOST: 41, Cause.RTP_LOST: 41, Cause.TIMEOUT: 102, Cause.PREEMPTED: 8, Cause.SYSTEM: 41,
    Cause.TRANSFERRED: 16,
}  # fmt: skip
ALERT_INFO: dict[Alert, tuple[tuple[str, str], ...]] = {
    Alert.NORMAL: (),
    Alert.QUEUE: (("Alert-Info", "<urn:alert:source:external>"),),
    Alert.RECALL: (("Alert-Info", "<urn:alert:service:recall:hold>"),),
    # No standard asks a telephone to answer by itself; these two forms are what desk phones understand.
    Alert.INTERCOM: (
        ("Alert-Info", "<sip:intercom>;info=alert-autoanswer;delay=0"), ("Call-Info", "<sip:intercom>;answer-after=0"),
    ),
    Alert.EMERGENCY: (("Alert-Info", "<urn:alert:priority:high>"),),
}


def cause_of(status: int, how: str) -> Cause:
    """Cause of a call that ended with this final status; `how` as in `sip.events.CallEnded`."""
    if how == "timeout":
        return Cause.UNREACHABLE
    if how in ("no-ack", "gone"):
        return Cause.TIMEOUT
    known = CAUSES.get(status)
    if known is not None:
        return known
    if status < 400:
        return Cause.REJECTED
    return Cause.SYSTEM if status < 500 else Cause.CONGESTION if status < 600 else Cause.REJECTED


def refusal_status(cause: Cause) -> int:
    """Status that refuses an incoming call for this cause."""
    return STATUS[cause]


def reason_header(cause: Cause) -> str:
    """Reason value for a BYE or CANCEL of ours, "" where there is nothing to tell."""
    code = Q850.get(cause)
    return f'Q.850;cause={code};text="{cause.value}"' if code is not None else ""
