"""Who may do what: four roles in one order, so "at least supervisor" is a comparison.

`viewer` reads, `agent` also acts for one person's phone, `supervisor` also acts on other people's calls and queues, `admin`
does everything, and alone sees secrets.
"""

from __future__ import annotations

from typing import Literal

Role = Literal["viewer", "agent", "supervisor", "admin"]
ROLES: tuple[Role, ...] = ("viewer", "agent", "supervisor", "admin")


def allows(held: Role, needed: Role) -> bool:
    """True when a peer that holds `held` may use what needs `needed`."""
    return ROLES.index(held) >= ROLES.index(needed)


def role_of_uid(uid: int, own_uid: int) -> Role | None:
    """Role of a peer of the Unix socket: root and the user the appliance runs as are admin, others have none."""
    return "admin" if uid in (0, own_uid) else None
