"""Serial number and MAC of the box, written at the factory and then sealed (L3). Its keys are made by `store/sealing.py`.

`identity.json` in the state folder is whole or absent after a power cut; once it says `sealed` it is not written again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from firmware.errors import StoreError
from firmware.store.files import write_atomic
from firmware.store.sealing import Device


def read_identity(state: Path) -> dict[str, Any]:
    """What was written, empty on a new box."""
    try:
        known = json.loads((state / "identity.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def write_identity(state: Path, serial: str, mac: str, seal: bool) -> None:
    """Write it, with name and public key of the device, whose keys are made now if there are none. Raises StoreError when it is sealed."""
    known = read_identity(state)
    if known.get("sealed"):
        raise StoreError(f"the identity of {known['serial']} is sealed; it cannot be written again")
    public = Device(state / "device").public
    facts = {"serial": serial, "mac": mac, "sealed": seal, "device": public.device, "public_key": public.identity}
    write_atomic(state / "identity.json", json.dumps(facts, indent=1).encode())
