"""What a child gives up after fork: it dies with its parent, gains no privilege, keeps only the capabilities it needs.

As root, media keeps real-time scheduling and memory locking, manage the right to map its user into a namespace (for SSH), the DHCP server
what it and the daemon for LLDP need, the simulated world scheduling, the others none; all keep the right to pass file permissions only
when the state folder belongs to another user (root with `sudo` in a user's folder). Without root there is nothing to give up.
`no_new_privs` is set in every case: no child can gain rights by executing a program.
None leaves an image of its memory when it crashes: keys of conversations and passwords are in it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
NO_CORE = 1                              # byte: less than any image; 0 would not stop a collector at the other end of a pipe (core(5))
CAP_CHOWN = 0
CAP_DAC_OVERRIDE = 1
CAP_SETGID = 6
CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW = 10, 12, 13
CAP_IPC_LOCK = 14
CAP_SYS_NICE = 23
CAP_SETFCAP = 31
CAP_LAST = 40
KEPT = {
    "dhcp": {                            # port 67 and raw frames; dnsmasq looks after its leases and sets its group
        CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW, CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_SETGID,
    },
    "media": {CAP_IPC_LOCK, CAP_SYS_NICE},
    "manage": {CAP_SETFCAP},             # to give the SSH daemon a user of its own; with no_new_privs no file's capabilities count here
    "world": {CAP_SYS_NICE},             # the simulated copper is not late either, in real time
}
CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Data(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


def _prctl(option: int, argument: int) -> int:
    result: int = _libc.prctl(option, ctypes.c_ulong(argument), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))
    return result


def die_with_parent(parent: int) -> None:
    """SIGKILL this process when its parent ends; exits at once if it has ended already."""
    _prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(1)


def name_process(name: str) -> None:
    """Name shown by ps and top (15 characters)."""
    _libc.prctl(PR_SET_NAME, ctypes.c_char_p(name.encode()[:15]), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


def drop(process: str, state: Path) -> None:
    """Give up what `process` does not need; see above."""
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (NO_CORE, NO_CORE))
    if os.geteuid() != 0:
        return
    keep = KEPT.get(process, set()).copy()
    if state.stat().st_uid != 0:
        keep.add(CAP_DAC_OVERRIDE)
    for capability in range(CAP_LAST + 1):
        if capability not in keep:
            _prctl(PR_CAPBSET_DROP, capability)
    mask = sum(1 << capability for capability in keep)
    header = _Header(CAPABILITY_VERSION_3, 0)
    data = (_Data * 2)(_Data(mask & 0xFFFF_FFFF, mask & 0xFFFF_FFFF, 0), _Data(mask >> 32, mask >> 32, 0))
    _libc.capset(ctypes.byref(header), data)
