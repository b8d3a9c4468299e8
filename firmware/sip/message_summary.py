"""Message waiting: what the lamp for messages shows (L1). RFC 3842 section 3.5."""

from __future__ import annotations

import msgspec

from firmware.sip.uri import escape_user


class MessageCounts(msgspec.Struct, frozen=True):
    """Messages of a mailbox: heard and unheard, of them urgent ones."""

    new: int = 0
    old: int = 0
    urgent_new: int = 0
    urgent_old: int = 0

    @property
    def waiting(self) -> bool:
        return self.new > 0


class MessageSummary(msgspec.Struct, frozen=True):
    """The state of the mailbox of `resource` at `host`."""

    resource: str
    host: str
    counts: MessageCounts = MessageCounts()

    @property
    def content_type(self) -> str:
        return "application/simple-message-summary"

    def render(self, version: int) -> bytes:
        """The body; message-summary has no version."""
        counts = self.counts
        return (
            f"Messages-Waiting: {'yes' if counts.waiting else 'no'}\r\n"
            f"Message-Account: sip:{escape_user(self.resource)}@{self.host}\r\n"
            f"Voice-Message: {counts.new}/{counts.old} ({counts.urgent_new}/{counts.urgent_old})\r\n"
        ).encode()
