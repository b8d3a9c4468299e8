"""NOTIFY check-sync: a telephone is asked to fetch its settings again (L1).

No RFC has it; all makes of desk telephones know `Event: check-sync` outside of a dialog, and fetch their file, restarting where they
must. It goes
to what is registered as an extension and nowhere else, over the flow of the registration. Whatever the telephone answers is its business:
one that asks for a password is set up to take no such request.
"""

from __future__ import annotations

from collections.abc import Callable

from firmware.sip.dialog import via_value
from firmware.sip.headers import Headers
from firmware.sip.message import Request
from firmware.sip.registrar import Registrar, next_contact
from firmware.sip.transaction import MAGIC, TransactionLayer
from firmware.sip.uri import join_host_port

MOST_CONTACTS = 8


def check_sync(registrar: Registrar, transactions: TransactionLayer, token: Callable[[int], str], user: str, now: int) -> list[str]:
    """Ask every contact of `user`; the contacts asked."""
    asked = []
    for binding in registrar.bindings(user, now)[:MOST_CONTACTS]:
        if not transactions.room:
            break
        flow = binding.flow
        uri, routes = next_contact(binding)
        own = join_host_port(*flow.local)
        headers = Headers()
        headers.add("Via", via_value(flow, MAGIC + token(16)))
        for value in routes:
            headers.add("Route", value)
        headers.add("Max-Forwards", "70")
        headers.add("From", f"<sip:{own}>;tag={token(12)}")
        headers.add("To", f"<{uri}>")
        headers.add("Call-ID", token(24))
        headers.add("CSeq", "1 NOTIFY")
        headers.add("Contact", f"<sip:{own}>")
        headers.add("Event", "check-sync;reboot=false")
        headers.add("Subscription-State", "terminated;reason=noresource")
        transactions.request(Request("NOTIFY", uri, headers), flow, None, now)
        asked.append(binding.uri)
    return asked
