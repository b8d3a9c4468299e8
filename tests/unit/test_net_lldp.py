"""LLDP-MED, byte by byte (IEEE 802.1AB, ANSI/TIA-1057); a real lldpd reads it in `tests/nat/test_dhcp.py`."""

from __future__ import annotations

import asyncio
import errno
import os

import pytest

from firmware.net import lldp

MAC = bytes.fromhex("020102030405")


def fields(data: bytes) -> list[tuple[int, bytes]]:
    """Kind and value of each part, up to the end."""
    found, at = [], 14
    while True:
        head = int.from_bytes(data[at : at + 2], "big")
        kind, length = head >> 9, head & 0x1FF
        if not kind:
            return found
        found.append((kind, data[at + 2 : at + 2 + length]))
        at += 2 + length


@pytest.mark.parametrize(("vlan", "policy"), [(1, "4003 6e"), (100, "40c9 6e"), (4094, "5ffd 6e")])
def test_a_telephone_is_told_to_tag_its_frames(vlan: int, policy: str) -> None:
    data = lldp.frame(MAC, vlan, 40)
    assert data[:14] == bytes.fromhex("0180c200000e") + MAC + bytes.fromhex("88cc") and len(data) >= 60
    assert fields(data) == [
        (1, b"\x04" + MAC), (2, b"\x03" + MAC), (3, (40).to_bytes(2, "big")), (7, bytes.fromhex("00800080")),
        (127, bytes.fromhex("0012bb 01 0003 04")), (127, bytes.fromhex("0012bb 02 01" + policy)),
    ]  # fmt: skip


class Cable:
    """A socket whose link goes down and comes up again."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.tries, self.closed = 0, False
        self.enough = asyncio.Event()

    def send(self, data: bytes) -> None:
        self.tries += 1
        if 2 <= self.tries <= 3:
            raise OSError(errno.ENETDOWN, os.strerror(errno.ENETDOWN))
        self.sent.append(data)
        if len(self.sent) == 3:
            self.enough.set()

    def close(self) -> None:
        self.closed = True


def test_it_is_announced_over_a_link_that_fails_and_taken_back_at_the_end() -> None:
    async def work() -> None:
        cable = Cable()
        task = asyncio.ensure_future(lldp.announce(cable, MAC, 100, every_s=0.001))  # type: ignore[arg-type]
        await cable.enough.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert cable.tries >= 6 and cable.closed
        assert fields(cable.sent[-1]) == [(1, b"\x04" + MAC), (2, b"\x03" + MAC), (3, bytes(2))]

    asyncio.run(work())
