"""What is keyed behind a code and must not be shown: PINs that a telephone dials in one go (L1).

Theory of operation
-------------------
A telephone that dials "*118001#1234#" sends all of it as the user part of Request-URI and To, its digest names the same URI again, and many
put it into the display name, too. `Veil` knows the codes behind which a secret follows, at once or behind the first "#", and takes it
out of whatever text is to be shown or kept, in each writing: plain, escaped (RFC 3261 section 19.1.2), with marks between the keys.
Invariants: what stands before the secret stays readable; text without such a code is given back as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

#: In the place of what is hidden; no key of a telephone.
HIDDEN = "-"
_KEYS = r"(?:[0-9A-Da-d*#]|%(?:3[0-9]|2[3Aa]|4[1-4]|6[1-4])|[.()](?=[0-9*#%]))"
_HASH = r"(?:#|%23)"


class Veil:
    """`codes`: each code, and whether a number up to the first "#" behind it may be shown (the agent who logs in)."""

    def __init__(self, codes: Iterable[tuple[str, bool]] = ()) -> None:
        patterns = []
        for code, numbered in codes:
            shown = "".join(f"(?:{re.escape(key)}|%{ord(key):02x})" for key in code)
            open_part = rf"(?:(?!{_HASH}){_KEYS})*{_HASH}" if numbered else ""
            patterns.append(f"{shown}{open_part}")
        # No key stands before it: *11 within a longer number is no code.
        self._found = re.compile(rf"(?i)(?<![0-9*#%])(?<!%2)(?<!%3)({'|'.join(patterns)}){_KEYS}+") if patterns else None

    def text(self, text: str) -> str:
        """Any text: a number, an address, a header."""
        return self._found.sub(rf"\g<1>{HIDDEN}", text) if self._found is not None and ("*" in text or "%2" in text) else text

    def message(self, message: bytes) -> bytes:
        """A message: its head, and the body of one that speaks of calls."""
        if self._found is None or (b"*" not in message and b"%2" not in message):
            return message                   # nearly every one
        head, blank, body = message.partition(b"\r\n\r\n")
        veiled = self.text(head.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        return veiled + blank + body
