"""One key after a call to or from outside was cut off: it is dialled again and linked to the first (L1, pure; SIL-11, A9).

Theory of operation
-------------------
A call is *cut off* when both had talked and it ended by a fault of ours, the line or the network, not because one of them hung up. The
last one of each extension is remembered until it is dialled again or `calling.redial_s` is over. The code dials the number with the rights
of the extension, a caller's with `calling.redial_prefix` before it; the new contact carries the id of the first (`linked`).
"""

from __future__ import annotations

from firmware.call.codes import refuse
from firmware.call.contact import Contact
from firmware.call.dialling import dial_number
from firmware.call.registry import code
from firmware.call.state import Kind


@code("redial", answers=False)
def _redial(c: Contact) -> None:
    found = c.desk.dropped.get(c.s.extension)
    within = found is not None and 0 <= c.now - found.at <= c.desk.config.calling.redial_s * 1000
    if found is None or not within:
        refuse(c, "redial.none")
        return
    c.desk.redialled(c.s.extension)
    c.s.kind, c.s.called, c.s.linked, c.s.feature = Kind.OUTBOUND, found.number, found.contact, ""
    c.record("redial", c.s.a, number=found.number, linked=found.contact)
    dial_number(c)
