"""Identifiers of legs and contacts: short, sortable, unique over restarts.

An id is a letter and a base-32 number (Crockford's alphabet: no I, L, O, U) whose high part is the boot count of core and
whose low 20 bits count within the boot. The boot count is kept in `state.db` and raised before the first id is given.
"""

from __future__ import annotations

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
COUNTER_BITS = 20


def base32(number: int) -> str:
    """Crockford base-32 of a non-negative integer, without padding."""
    if number < 0:
        raise ValueError(f"{number} is negative")
    digits = ""
    while True:
        number, rest = divmod(number, 32)
        digits = ALPHABET[rest] + digits
        if number == 0:
            return digits


class Ids:
    """Source of ids of one core process; `boot` must be new at every start."""

    def __init__(self, boot: int) -> None:
        if boot < 1:
            raise ValueError(f"boot count {boot} is not at least 1")
        self.boot = boot
        self._legs = boot << COUNTER_BITS
        self._contacts = boot << COUNTER_BITS

    def leg(self) -> str:
        """Next leg id, "L..."."""
        self._legs += 1
        return "L" + base32(self._legs)

    def contact(self) -> str:
        """Next contact id, "C..."."""
        self._contacts += 1
        return "C" + base32(self._contacts)
