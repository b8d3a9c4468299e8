"""Policy values of the call logic as one table: id, value, unit, why (L1, pure).

A value that a site may change is a setting in `config/schema`; what stands here is the default of a requirement
(`docs/requirements`, ids such as ANS-01) or the bound that keeps a fault from holding a line.
"""

from __future__ import annotations

import msgspec


class Rule(msgspec.Struct, frozen=True):
    """One policy value."""

    id: str
    value: int
    unit: str
    source: str
    text: str


_TABLE = (
    Rule("answer.rings.most", 3, "rings", "ANS-01", "Answer within three rings; more is a late answer"),
    Rule("answer.rings.least", 2, "rings", "ANS-02", "An answer on the first burst startles the caller"),
    Rule("dial.give_up", 31_000, "ms", "OUT-06", "Give up an outside call after seven ring cycles or 31 s"),
    Rule("dial.outside", 120_000, "ms", "OUT-06", "Longest time from dialling to an answer on an analog line, ringback music included"),
    Rule("position.gap", 10_000, "ms", "F", "Shortest time between two position announcements"),
    Rule("page.ring", 10_000, "ms", "A11", "A telephone that does not answer a page by itself rings for this long"),
    Rule("offer.retry", 2_000, "ms", "G13", "An agent who missed a call is not rung again before this"),
    Rule("offer.unreachable", 10_000, "ms", "G13", "An agent whose phone is busy or unreachable is not rung again before this"),
    Rule("key.cut", 500, "ms", "F1", "Longest time between a prompt stopped by a key and the report of the key"),
    Rule("key.feature", 2_500, "ms", "A2", "Longest pause within a feature code keyed during a call"),
    Rule("key.transfer.first", 10_000, "ms", "TRF-04", "Wait for the first digit of a transfer"),
    Rule("key.transfer.next", 4_000, "ms", "TRF-04", "Wait for the next digit of a transfer"),
    Rule("forward.most", 3, "times", "A4", "A call that telephones send on more often than this goes in circles"),
    Rule("transfer.recall", 30_000, "ms", "TRF-04", "Ring the transferring phone again when the target failed"),
    Rule("rating.wait", 5_000, "ms", "RAT-01", "Wait for a key after the rating question"),
    Rule("rating.tries", 2, "times", "RAT-01", "Times the rating question is put"),
    Rule("code.wait", 8_000, "ms", "G2", "Wait for a key while an agent logs in"),
    Rule("code.tries", 3, "times", "G2", "Wrong PINs before the log-in call is ended"),
    Rule("mail.key", 7_000, "ms", "N1", "Wait for a key while messages are heard"),
    Rule("mail.tries", 3, "times", "N1", "Times a question about messages is put before the call ends"),
    Rule("mail.pins", 3, "times", "N1", "Wrong PINs of a message box in one call"),
    Rule("mail.key.tone", 250, "ms", "N1", "End of a message that the tone of the end key may be in"),
    Rule("greeting.own", 15_000, "ms", "F5", "Longest greeting in an agent's own voice: both wait for its end at the answer"),
    Rule("replay.find", 5_000, "ms", "SPC-11", "Longest wait for the list of recorded calls that a telephone asked for"),
    Rule("callback.tries", 6, "times", "M6", "Questions about the number of a callback before the caller simply waits on"),
    Rule("callback.asked", 2, "times", "M6", "Times somebody who is called back is asked for a key before it counts as not reached"),
    Rule("callback.ours", 60_000, "ms", "M6", "Pause after an attempt that failed on our side; it does not count"),
    Rule("guard.prompt", 90_000, "ms", "A8", "A prompt that did not end by then counts as ended"),
    Rule("guard.driver", 6_000, "ms", "A8", "What a leg driver may exceed a ringing or answer limit by"),
    Rule("guard.answer", 8_000, "ms", "A8", "Longest time from our answer command to the answered leg"),
    Rule("guard.ending", 10_000, "ms", "A8", "Longest time from our hang-up command to the ended leg"),
    Rule("guard.recorded", 3_000, "ms", "I1", "Longest wait for a recording to be closed"),
    Rule("mask.most", 120_000, "ms", "SEC-09", "Longest silence of a recording that was masked by key: then it goes on by itself"),
    Rule("route.hops", 12, "steps", "A8", "Menus, queues and overflows in a row before a loop is ended"),
    Rule("toll.look", 30_000, "ms", "R4", "How often a call that costs is compared with what the day has left"),
    Rule("emergency.retry", 2_000, "ms", "D5", "Pause before all lines are tried again for an emergency call"),
    Rule("emergency.rounds", 30, "rounds", "D5", "Rounds over all lines before an emergency call is given up"),
)

RULES: dict[str, Rule] = {rule.id: rule for rule in _TABLE}


def rule(name: str) -> int:
    """Value of rule `name`; KeyError if there is none (a bug)."""
    return RULES[name].value
