"""What a contact remembers of voice mail and of the call graph, in a form that survives the process (L1, pure)."""

from __future__ import annotations

import msgspec

from firmware.call.voicemail_actions import Kept, Take


class Replay(msgspec.Struct):
    """Recordings heard by telephone (`call/replay.py`). `by`: who, for the access log; `index`: which one, -1 before the first.

    `at_ms`: where the part that is played begins; `began`: when that was, engine ms, -1 while none is; `heard`: this listening is logged.
    """

    by: str
    calls: list[Kept] = []
    index: int = -1
    at_ms: int = 0
    began: int = -1
    heard: bool = False


class MailState(msgspec.Struct):
    """A message being left, messages being heard, a greeting or prompt being recorded. `role`: "leave", "read", "studio", "agent" for
    a greeting in an agent's own voice, or "replay" for recorded calls that are heard.

    `stage`: what is going on (`call/voicemail.py`, `call/mailbox.py`). `token`: of the take. Instants are engine ms.
    """

    box: str
    role: str
    stage: str
    token: int = 0
    take: Take | None = None
    takes: int = 0
    began: int = -1
    length: int = 0
    why: str = ""
    tries: int = 0
    asked: int = 0
    # hearing
    typed: str = ""
    wrong: int = 0
    message: str = ""
    done: list[str] = []
    """Messages that were heard in this call or passed over."""
    idle: int = 0
    # prompts
    prompt: str = ""
    replay: Replay | None = None


class NodeState(msgspec.Struct):
    """Where a caller is in the call graph. `values`: digits taken, by node."""

    name: str = ""
    typed: str = ""
    tries: int = 0
    step: int = 0
    values: dict[str, str] = {}
    spoke: int = 0
    """Ms of speech in this pause of a protocol."""
    since: int = -1
    """When speech that goes on began."""
    secret: bool = False
    """Keys are kept out of traces and recordings now."""
    masked: bool = False
    """The recording was masked for that, by nobody else before."""
    token: int = 0
    """Of a question to a service."""
    asked: int = 0
    """When it was put."""
    answer: bool | None = None
    """Whether it was answered well; None: not yet."""
