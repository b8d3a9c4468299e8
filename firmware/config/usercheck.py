"""Checks of the people who may log in (L1, pure)."""

from __future__ import annotations

import re

from firmware.config.problems import Findings
from firmware.config.schema.tree import Config

LOGIN = re.compile(r"^[a-z][a-z0-9._-]{0,31}$")
#: Names that the system under us may give a meaning of their own.
TAKEN = frozenset(("root", "nobody", "daemon"))


def user_check(config: Config, findings: Findings) -> None:
    """Add every problem of users, console and SSH to `findings`."""
    for name in config.users:
        if not LOGIN.match(name) or name in TAKEN:
            what = "is a name of the system" if name in TAKEN else "does not have the right form"
            findings.add(f"users.{name}", None, what, "allowed: a small letter, then up to 31 small letters, digits, _ . and -")
    _admins(config, findings)
    _keys(config, findings)
    if config.ssh.enabled and not any(user.ssh_keys or (user.password and config.ssh.passwords) for user in config.users.values()):
        remedy = "give a user a password (`password NAME` at the console) or ssh_keys, or set ssh.enabled to false"
        findings.add("ssh.enabled", True, "lets nobody in", remedy)


def _admins(config: Config, findings: Findings) -> None:
    """A box whose users are all without rights could never be changed again."""
    if config.users and not any(user.role == "admin" and (user.password or user.ssh_keys) for user in config.users.values()):
        remedy = 'one user needs role = "admin" and a password (`password NAME` at the console) or ssh_keys'
        findings.add("users", None, "has no administrator who can log in", remedy)
    able = sum(user.role == "admin" and bool(user.password or user.ssh_keys) for user in config.users.values())
    if config.approval.paths and able < 2:
        findings.add(
            "approval.paths", ", ".join(config.approval.paths)[:60],
            "needs two administrators who can log in, or nobody could change it again", "add one, or leave it empty",
        )  # fmt: skip


def _keys(config: Config, findings: Findings) -> None:
    """A key names one person, or the audit trail names the wrong one."""
    owners: dict[str, str] = {}
    for name, user in config.users.items():
        for index, key in enumerate(user.ssh_keys):
            owner = owners.setdefault(" ".join(key.split()[:2]), name)
            if owner != name:
                findings.add(f"users.{name}.ssh_keys[{index}]", None, f"is the key of {owner}, too", "each person needs a key of their own")
