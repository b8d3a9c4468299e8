"""The power switch of an emulated board: `python -m tools.vm.power QEMU OPTION...` runs the emulator, anew after each restart of the guest.

A restart inside one emulator is not what it is on a board: memory keeps its content, and the emulator keeps the code that it translated
before. What the next kernel writes near such code takes a slow path for good; its decompression was some fifty times slower and looked
as if it hung. So the emulator ends when the guest restarts, and a new one is switched on with the same command. Its exit status is
that of the last one; power-off, the monitor's `quit` and a fault end it.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Sequence


def reason(events: bytes) -> str:
    """Why the emulator ended, as its control protocol told: "guest-reset", "guest-shutdown", "host-qmp-quit"...; "" = it did not tell."""
    found = ""
    for line in events.splitlines():
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if isinstance(told, dict) and told.get("event") == "SHUTDOWN":
            found = str(told.get("data", {}).get("reason", ""))
    return found


def once(command: Sequence[str]) -> tuple[int, str]:
    """Run the emulator to its end: exit status, and why it ended."""
    ours, its = socket.socketpair(socket.AF_UNIX)
    with ours:
        with its:
            control = ["-action", "reboot=shutdown", "-chardev", f"socket,id=power,fd={its.fileno()}", "-mon", "chardev=power,mode=control"]
            process = subprocess.Popen([*command, *control], pass_fds=(its.fileno(),))
        ours.sendall(b'{"execute": "qmp_capabilities"}\n')
        events = b""
        while True:
            try:
                data = ours.recv(4096)
            except OSError:
                data = b""
            if not data:
                break
            events = (events + data)[-65536:]
        return process.wait(), reason(events)


def run(command: Sequence[str]) -> int:
    """See above; the last exit status."""
    while True:
        status, why = once(command)
        if status or why != "guest-reset":
            return status


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
