"""Checks of what the box does by itself (L1, pure); see `crosscheck.py` for how."""

from __future__ import annotations

from base64 import b64decode

from firmware.config.problems import Findings
from firmware.config.schema.tree import Config


def upkeep_check(config: Config, findings: Findings) -> None:
    """Add every problem of `backup`, `update` and `recording.upload`."""
    backup = config.backup
    if backup.at and not backup.recipient:
        findings.add("backup.recipient", None, "is missing", "give the public key that `branchpbx backup --new-key` told")
    if backup.recipient and len(b64decode(backup.recipient)) != 32:
        findings.add("backup.recipient", backup.recipient, "is not a key", "give the public key that `branchpbx backup --new-key` told")
    if backup.at and not config.central.folder:
        findings.add("backup.at", backup.at, "needs a place for the backups", "name the folder in central.folder")
    if config.update.url and config.update.begin == config.update.end:
        findings.add("update.end", config.update.end, "leaves no time between begin and end", "give a later time, such as 05:00")
    upload = config.recording.upload
    if upload.recipient and len(b64decode(upload.recipient)) != 32:
        findings.add("recording.upload.recipient", upload.recipient, "is not a key",
                     "give the public key that `tools.open_recording new-key` told")  # fmt: skip
    if upload.begin == upload.end:
        findings.add("recording.upload.end", upload.end, "leaves no time between begin and end", "give a later time, such as 05:00")
