"""What is wrong with a trunk and what to do, in English and Chinese, by the last answer of the far end: tables only (L5)."""

from __future__ import annotations

from typing import NamedTuple

from firmware.call.model import Cause
from firmware.sip.trunk_client import State, TrunkStatus


class Remedy(NamedTuple):
    """One fault: what it is and what to do."""

    en: str
    zh: str


_WRONG_PASSWORD = Remedy(
    "the carrier refuses user or password; compare `user`, `auth_user` and `secret` with the carrier's letter",
    "运营商拒绝用户名或密码；请核对 user、auth_user 和 secret",
)
_BY_STATUS: dict[int, Remedy] = {
    400: Remedy("the carrier does not understand our registration; try another `template`, or ask the carrier",
                "运营商无法理解注册请求；请更换 template 或联系运营商"),
    401: _WRONG_PASSWORD, 407: _WRONG_PASSWORD,
    403: Remedy("the carrier forbids it: account closed, address not allowed, or wrong `user` or `domain`; ask the carrier",
                "运营商禁止：账户停用、地址不允许，或 user、domain 有误；请联系运营商"),
    404: Remedy("the carrier does not know `user` at `domain`; compare both with the carrier's letter",
                "运营商不认识该 user 或 domain；请核对"),
    408: Remedy("the carrier does not answer: check the Internet access, `domain`, `proxy`, `transport` and the firewall",
                "运营商无应答：请检查上网线路、domain、proxy、transport 和防火墙"),
    423: Remedy("the carrier wants a longer registration time; set `expires_s` higher", "运营商要求更长的注册时间；请增大 expires_s"),
    503: Remedy("the carrier cannot be reached or is overloaded; it is tried again by itself", "无法连接运营商或其过载；系统会自动重试"),
}  # fmt: skip
_SERVER = Remedy("the carrier has a fault of its own; it is tried again by itself, call the carrier if it lasts",
                 "运营商自身故障；系统会自动重试，若持续请联系运营商")  # fmt: skip
_REFUSED = Remedy("the carrier refuses us; ask the carrier, with what it said", "运营商拒绝；请携带其答复联系运营商")
_NOWHERE = Remedy("`domain` or `proxy` has no address: check the name and the name servers of this network",
                  "domain 或 proxy 无法解析：请检查名称和 DNS 服务器")  # fmt: skip
_NO_CONNECTION = Remedy("no connection to the carrier: check the Internet access, `transport`, its certificate (tls) and the firewall",
                        "无法连接运营商：请检查上网线路、transport、证书（tls）和防火墙")  # fmt: skip
_NO_TIME = Remedy("the carrier ends our registration at once; the account may be in use elsewhere, ask the carrier",
                  "运营商立即终止注册；账户可能在别处使用，请联系运营商")  # fmt: skip


def remedy(status: TrunkStatus) -> Remedy | None:
    """What to do about a trunk, None where nothing is wrong."""
    if status.reason == "the domain has no address":
        return _NOWHERE
    if status.reason == "no connection":
        return _NO_CONNECTION
    if status.reason == "the carrier granted no time":
        return _NO_TIME
    if not status.status:
        return None
    known = _BY_STATUS.get(status.status)
    if known is not None:
        return known
    return _SERVER if 500 <= status.status < 600 else _REFUSED


STATES: dict[State, Remedy] = {
    State.LOCATING: Remedy("looking for the carrier", "正在查找运营商"),
    State.REGISTERING: Remedy("registering", "正在注册"),
    State.REGISTERED: Remedy("registered", "已注册"),
    State.WAITING: Remedy("failed, will be tried again", "失败，稍后重试"),
    State.READY: Remedy("ready", "就绪"),
}

#: Causes of calls that did not come about. Those of `call/dialling.py`'s TRUNK_FAILED send the call another way; the others say something
#: of the called number, which another way would only hear again (RFC 3261 section 21).
_CAUSES: dict[int, Cause] = {
    401: Cause.LINE_FAULT, 402: Cause.LINE_FAULT, 403: Cause.REFUSED, 404: Cause.UNREACHABLE, 407: Cause.LINE_FAULT,
    408: Cause.CONGESTION, 410: Cause.UNREACHABLE, 415: Cause.SYSTEM, 420: Cause.SYSTEM, 480: Cause.NO_ANSWER, 484: Cause.UNREACHABLE,
    486: Cause.BUSY, 487: Cause.CANCELLED, 488: Cause.SYSTEM, 600: Cause.BUSY, 603: Cause.REJECTED, 604: Cause.UNREACHABLE,
    606: Cause.SYSTEM,
}  # fmt: skip


def trunk_cause(status: int, how: str) -> Cause:
    """Cause of a call over a trunk that ended before an answer; `how` as in `sip.events.CallEnded`."""
    if how == "timeout":
        return Cause.LINE_FAULT
    if how in ("no-ack", "gone"):
        return Cause.TIMEOUT
    known = _CAUSES.get(status)
    if known is not None:
        return known
    return Cause.CONGESTION if 500 <= status < 600 else Cause.REJECTED
