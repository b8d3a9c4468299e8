"""Calls that a carrier takes back: one that goes on to a number over the trunk it came by need not go through us (L1, pure).

Theory of operation
-------------------
Where a telephone hands its caller over to a number outside by its own key, or forwards a caller who was answered already (by a
greeting or menu), and both calls belong to one trunk with `take_back`, the carrier is asked to reach the number itself (blind REFER,
RFC 5589 section 6) in place of a second call. The try that would have rung there stands for that: it ends with `TRANSFERRED` together
with the caller's leg, with a cause when the carrier did not reach the number, or is dialled as usual when the carrier takes no call
back; nobody here sees a difference until then.
Invariants: never a call that is recorded, goes abroad (the toll guard counts its minutes) or reached an emergency number; never one
whose telephone still wants to speak with the number before it leaves.
"""

from __future__ import annotations

from firmware.call.contact import Contact
from firmware.call.model import TRUNK, is_trunk
from firmware.call.state import Attempt


def taken_back(c: Contact, attempt: Attempt, endpoint: str) -> str:
    """The leg that the carrier of `endpoint` is to take back for this attempt, "" for none."""
    trunk = c.desk.config.trunks.get(endpoint.removeprefix(TRUNK)) if is_trunk(endpoint) else None
    if trunk is None or not trunk.take_back or attempt.international or attempt.emergency or c.s.emergency or c.recording_live():
        return ""
    transfer = c.s.transfer
    if attempt.purpose == "transfer" and transfer is not None:
        far = transfer.held if transfer.token else ""
    else:
        far = c.s.a if attempt.purpose == "dial" and attempt.forwarded else ""
    leg = c.leg(far) if far else None
    return far if leg is not None and leg.answered >= 0 and leg.endpoint == endpoint and not leg.international else ""
