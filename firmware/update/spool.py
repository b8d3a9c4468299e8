"""The folder by which the appliance's user and the update agent, which is root, hand each other requests and answers (L5).

RUN/requests belongs to the appliance's user: one file, `request.json`, is a wish. RUN/status.json belongs to root and everybody may read
it. What the agent reads is bounded and never a link: it does not trust the folder's owner.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Literal

import msgspec

from firmware.store.files import write_atomic
from firmware.update.machine import Request, Verdict
from firmware.update.rules import Words

RUN = Path("/run/update")
MOST = 8192


class Wish(msgspec.Struct, frozen=True):
    """`install` with a request, `cancel`, or `rescue`: the next start leads into the rescue, once (`request.now`: calls or not)."""

    what: Literal["install", "cancel", "rescue"]
    request: Request = Request("")


class Status(msgspec.Struct, frozen=True):
    """What the agent tells: the slot that runs, its version, the phase, the version that comes, the last verdict, what is not well yet."""

    slot: str
    version: str
    phase: str
    on_trial: bool = False
    offered: str = ""
    verdict: Verdict | None = None
    complaints: list[Words] = []
    said: Words | None = None
    """Answer to the last wish that was not granted."""


def put(wish: Wish, run: Path = RUN) -> None:
    """Leave a wish; OSError where there is no agent."""
    write_atomic(run / "requests" / "request.json", msgspec.json.encode(wish), durable=False)


def take(run: Path = RUN) -> Wish | None:
    """The wish that was left, once. What is no wish is removed and None."""
    path = run / "requests" / "request.json"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError:
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(MOST + 1) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    with contextlib.suppress(OSError):
        path.unlink()
    try:
        return msgspec.json.decode(data[: MOST + 1], type=Wish) if len(data) <= MOST else None
    except msgspec.DecodeError:
        return None


def tell(status: Status, run: Path = RUN) -> None:
    """Write what is shown."""
    write_atomic(run / "status.json", msgspec.json.encode(status), durable=False)
    (run / "status.json").chmod(0o644)


def read(run: Path = RUN) -> Status | None:
    """What the agent told last; None without an agent."""
    try:
        return msgspec.json.decode((run / "status.json").read_bytes(), type=Status)
    except (OSError, msgspec.DecodeError):
        return None
