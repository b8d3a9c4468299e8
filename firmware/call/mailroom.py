"""What lies in the boxes, and who may open them (L1, pure; features N1, CBK-06).

Theory of operation
-------------------
`MailRoom` is the list of all messages as call control sees it; `core/voicemail.py` fills it from the files at start and keeps the files
as it is. Messages are ordered as an owner hears them: unheard ones first, each group from the oldest on. Wrong PINs are counted per box:
after `pin_tries` the box opens to no other telephone for `pin_wait_s`, twice as long after each further series, a day at most; the right
PIN ends it. A box that does not exist is guarded like one that does, so that nobody learns which numbers are boxes.
All instants are Unix ms. Invariant: guards are bounded; those that are over are forgotten.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable

import msgspec

from firmware.config.schema.tree import Config
from firmware.config.schema.voicemail import Mailbox

DAY_MS = 86_400_000
GUARDS = 256
NOBODY = ""
OWN = "agent.own."             # behind the language, before the agent: a greeting in an agent's own voice as a prompt of the site


class Message(msgspec.Struct):
    """One message. `at`: when it was left; `length`: ms; `due`: by when it shall be answered, 0 never; `origin`: box it comes from."""

    id: str
    box: str
    at: int
    length: int
    number: str = ""
    name: str = ""
    contact: str = ""
    language: str = ""
    heard: int = 0
    """When it was heard first, 0: new."""
    saved: bool = False
    """Kept whatever its age."""
    due: int = 0
    origin: str = ""
    mail: str = ""
    """Delivery of its mail: "" none asked for, "waiting", "sent", "failed: why"."""
    size: int = 0


class Guard(msgspec.Struct):
    """Wrong PINs of a box: in this series, series so far, closed until (Unix ms)."""

    wrong: int = 0
    series: int = 0
    until: int = 0
    last: int = 0


def box_number(name: str, box: Mailbox) -> str:
    """What is keyed to open the box; "" where it has no number."""
    return box.number or (name if name.isdigit() else "")


class MailRoom:
    """See the theory of operation."""

    def __init__(self) -> None:
        self.messages: dict[str, dict[str, Message]] = {}
        self.greetings: set[str] = set()
        """Boxes with a greeting of their own."""
        self.own: set[str] = set()
        """Greetings in an agent's own voice that can be played, as "<language>/<agent>"."""
        self.guards: dict[str, Guard] = {}
        self.refused = ""
        """Why no message can be taken now (disk, quota); "" where they can."""
        self.changed: Callable[[str], None] = lambda box: None
        """Told of every change of a box."""

    # --- messages -----------------------------------------------------------------------------------------------------

    def of(self, box: str) -> list[Message]:
        """Messages of a box in the order of hearing."""
        return sorted(self.messages.get(box, {}).values(), key=lambda one: (one.heard > 0, one.at, one.id))

    def find(self, box: str, ident: str) -> Message | None:
        """One message."""
        return self.messages.get(box, {}).get(ident)

    def all(self) -> Iterable[Message]:
        """Every message."""
        for table in self.messages.values():
            yield from table.values()

    def counts(self, box: str) -> tuple[int, int]:
        """New and heard messages."""
        table = self.messages.get(box, {}).values()
        new = sum(not one.heard for one in table)
        return new, len(table) - new

    def add(self, message: Message) -> None:
        """Put a message into its box."""
        self.messages.setdefault(message.box, {})[message.id] = message
        self.changed(message.box)

    def remove(self, box: str, ident: str) -> None:
        """Take a message out."""
        if self.messages.get(box, {}).pop(ident, None) is not None:
            self.changed(box)

    def full(self, config: Config, box: str) -> str:
        """Why a box takes no message; "" where it does."""
        entry = config.mailboxes.get(box)
        if entry is None:
            return "no such box"
        if len(self.messages.get(box, {})) >= entry.most:
            return f"{entry.most} messages"
        return self.refused

    def own_file(self, language: str, agent: str) -> str:
        """The greeting in an agent's own voice, as `PlayFile` names it; "" where he has none in that language."""
        name = f"{language}/{agent}"
        return f"agent/{name}" if name in self.own else ""

    def outdated(self, config: Config, now: int) -> list[Message]:
        """Messages whose time is over, or whose box is gone from the configuration for as long as unheard ones are kept."""
        over = []
        for one in self.all():
            box = config.mailboxes.get(one.box, Mailbox())
            days = box.keep_days if one.heard else box.keep_new_days
            since = one.heard or one.at
            if days and not (one.saved and one.heard) and now - since > days * DAY_MS:
                over.append(one)
        return over

    def overdue(self, now: int) -> list[Message]:
        """New messages that should have been answered by now (CBK-06), the oldest first."""
        return sorted((one for one in self.all() if one.due and not one.heard and one.due <= now), key=lambda one: one.due)

    # --- who may open -------------------------------------------------------------------------------------------------

    @staticmethod
    def boxes_of(config: Config, extension: str) -> list[str]:
        """Boxes of a telephone, its own (whose name or number it is) first."""
        found = [name for name, box in config.mailboxes.items() if extension in box.extensions]

        def rank(name: str) -> tuple[bool, int]:
            box = config.mailboxes[name]
            return extension not in (name, box.number), len(box.extensions)

        return sorted(found, key=rank)

    @staticmethod
    def by_number(config: Config, number: str) -> str:
        """Box that is opened by a number; "" for none."""
        return next((name for name, box in config.mailboxes.items() if number and box_number(name, box) == number), NOBODY)

    def closed(self, box: str, now: int) -> bool:
        """Whether too many wrong PINs keep it closed now."""
        guard = self.guards.get(box)
        return guard is not None and guard.until > now

    def opens(self, config: Config, box: str, pin: str, now: int) -> bool:
        """Whether a PIN opens a box now; counts the wrong ones."""
        entry = config.mailboxes.get(box)
        if self.closed(box, now):
            return False
        if entry is not None and entry.pin and hmac.compare_digest(entry.pin.encode(), pin.encode()):
            if self.guards.pop(box, None) is not None:
                self.changed(box)
            return True
        self._wrong(config, box, now)
        return False

    def _wrong(self, config: Config, box: str, now: int) -> None:
        for name in [name for name, one in self.guards.items() if now - max(one.until, one.last) > DAY_MS]:
            del self.guards[name]
        if box not in self.guards and len(self.guards) >= GUARDS:
            return
        guard = self.guards.setdefault(box, Guard())
        guard.wrong += 1
        guard.last = now
        if guard.wrong >= config.voicemail.pin_tries:
            guard.until = now + min(config.voicemail.pin_wait_s * 1000 << min(guard.series, 16), DAY_MS)
            guard.series += 1
            guard.wrong = 0
        self.changed(box)
