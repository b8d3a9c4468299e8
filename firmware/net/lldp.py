"""The VLAN for voice told to telephones by LLDP-MED, from a process that may send raw frames and nothing else (L3).

Theory of operation
-------------------
A telephone that starts listens some seconds for the network policy of ANSI/TIA-1057 and tags its frames by it. `frame` is one
announcement of IEEE 802.1AB (chassis, port, time to live, capabilities) with the capabilities and the policy for voice of TIA-1057:
tagged, priority 5, DSCP 46. `announce` sends the first ones a second apart, then every `EVERY_S`; whoever misses `HOLD` of them forgets
the policy, and the last one, with a time to live of 0, takes it back at once. Frames to 01:80:C2:00:00:0E are for the next device only: a
switch between that speaks LLDP itself keeps them, and is to be told the VLAN in its own way; DHCP option 132 says the same to whom they
do not reach. Nothing is received: the socket has no protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket

EVERY_S, FIRST_S, FIRST = 10.0, 1.0, 4
HOLD = 4
NEAREST = bytes.fromhex("0180c200000e")
ETHERTYPE = bytes.fromhex("88cc")
TIA = bytes.fromhex("0012bb")
CHASSIS, PORT, TTL, CAPABILITIES, ORGANISATION = 1, 2, 3, 7, 127
MAC_CHASSIS, MAC_PORT = 4, 3
STATION = 0x0080                        # of the capabilities of 802.1AB: an end station, neither bridge nor router
MED_CAPABILITIES, MED_POLICY = 1, 2
NETWORK_CONNECTIVITY = 4                # class of a device that tells telephones what to do
VOICE, TAGGED, PRIORITY, DSCP = 1, 1, 5, 46

log = logging.getLogger("branchpbx.dhcp")


def _tlv(kind: int, value: bytes) -> bytes:
    return (kind << 9 | len(value)).to_bytes(2, "big") + value


def frame(mac: bytes, vlan: int, ttl_s: int) -> bytes:
    """One announcement. `vlan`: 1 to 4094; `ttl_s`: 0 takes everything back."""
    body = _tlv(CHASSIS, bytes([MAC_CHASSIS]) + mac) + _tlv(PORT, bytes([MAC_PORT]) + mac) + _tlv(TTL, ttl_s.to_bytes(2, "big"))
    if ttl_s:
        policy = TAGGED << 22 | vlan << 9 | PRIORITY << 6 | DSCP
        body += _tlv(CAPABILITIES, STATION.to_bytes(2, "big") * 2)
        body += _tlv(ORGANISATION, TIA + bytes([MED_CAPABILITIES]) + (0b11).to_bytes(2, "big") + bytes([NETWORK_CONNECTIVITY]))
        body += _tlv(ORGANISATION, TIA + bytes([MED_POLICY, VOICE]) + policy.to_bytes(3, "big"))
    return (NEAREST + mac + ETHERTYPE + body + _tlv(0, b"")).ljust(60, b"\0")


def open_socket(interface: str) -> tuple[socket.socket, bytes]:
    """A socket that sends on an interface, and the interface's address. Raises OSError (no such interface, no right to send)."""
    sending = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        sending.bind((interface, 0))
        mac = bytes(sending.getsockname()[4])
        if len(mac) != 6:
            raise OSError(errno.EAFNOSUPPORT, "no Ethernet")
    except OSError:
        sending.close()
        raise
    return sending, mac


async def announce(sending: socket.socket, mac: bytes, vlan: int, *, every_s: float = EVERY_S) -> None:
    """Announce until cancelled, and take it back then; a link that is down is told of once, and announced to again when it is up."""
    sent, down = 0, False
    try:
        while True:
            try:
                sending.send(frame(mac, vlan, round(HOLD * every_s)))
                down = False
            except OSError as error:
                if not down:
                    log.info("the voice VLAN is not announced now: %s", error.strerror)
                down = True
            sent += 1
            await asyncio.sleep(min(FIRST_S, every_s) if sent < FIRST else every_s)
    finally:
        with contextlib.suppress(OSError):
            sending.send(frame(mac, vlan, 0))
        sending.close()
