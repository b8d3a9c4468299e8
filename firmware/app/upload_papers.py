"""What goes to the centre beside the sealed recordings: their records, and links of the chain, signed by this box (L6; I6).

A document is `{"report": base64 of JSON, "signature": Ed25519 by the identity key of this box}`, as all that it tells its centre. A record
says in clear only what the chain does (path, size, digest, times); numbers, agents and the key of that one recording are sealed to the
centre's key, and left out where there is none.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from firmware.control.recording_commands import ChainLink, WaitingRow
from firmware.store import sealing

#: Members of a record that only the holder of the centre's key reads.
SEALED = ("kind", "caller", "called", "queue", "agents", "rating", "line", "extension")


def bound_to(path: str, digest: str) -> bytes:
    """What a sealed part belongs to: it cannot be put beside another recording."""
    return f"recording {path} {digest}".encode()


class Papers:
    """`state`: the state folder with the box's keys. Methods may block."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._device: sealing.Device | None = None

    @property
    def device(self) -> sealing.Device:
        """The keys of this box."""
        if self._device is None:
            self._device = sealing.Device(self._state / "device")
        return self._device

    def facts(self, kind: str, path: str, digest: str) -> dict[str, str]:
        """Upload-Metadata of a file."""
        name = path if kind == "recording" else f"{path}.json"
        content = "application/octet-stream" if kind == "recording" else "application/json"
        return {"filename": name, "filetype": content, "device": self.device.public.device, "kind": kind, "sha256": digest}

    def record(self, one: WaitingRow, file: Path, recipient: str) -> bytes:
        """The record of a recording. Raises StoreError, OSError."""
        known = msgspec.to_builtins(one)
        secret = {name: known.pop(name) for name in SEALED}
        known |= {"document": "record", "device": self.device.public.device, "sealed": ""}
        if recipient:
            from firmware.store.vault import DeviceKey, key_of  # native code that is needed for nothing else here

            key = key_of(file, DeviceKey.load(self._state / "keys" / "recordings.key"))
            plain = json.dumps(secret | {"key": sealing.b64(key)}).encode()
            known["sealed"] = sealing.b64(
                sealing.seal(sealing.unb64(recipient, "recording.upload.recipient"), plain, bound_to(one.path, one.link.digest))
            )
        return self._signed(known)

    def chain(self, before: str, links: list[ChainLink]) -> bytes:
        """Links that follow the one with hash `before`."""
        return self._signed({"document": "chain", "device": self.device.public.device, "before": before,
                             "links": msgspec.to_builtins(links)})  # fmt: skip

    def _signed(self, content: dict[str, Any]) -> bytes:
        body = msgspec.json.encode(content, order="sorted")
        return msgspec.json.encode({"report": sealing.b64(body), "signature": sealing.b64(self.device.sign(body))}, order="sorted")
