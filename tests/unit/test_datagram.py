"""What the kernel tells of a datagram, taken in one call (`dsp/datagram.pyx`)."""

from __future__ import annotations

import errno
import socket
import time

import pytest

from firmware.dsp.datagram import Receiver


def bound(family: int, host: str) -> tuple[socket.socket, int]:
    """A socket of a free port."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.settimeout(5)
    return sock, sock.getsockname()[1]


@pytest.mark.parametrize(("own", "far", "family"), [("127.0.0.1", "127.0.0.1", socket.AF_INET), ("::1", "::1", socket.AF_INET6),
                                                    ("::", "::ffff:127.0.0.1", socket.AF_INET6)])  # fmt: skip
def test_bytes_and_source(own: str, far: str, family: int) -> None:
    receiver = Receiver()
    box, port = bound(family, own)
    phone, source = bound(family, far)
    with box, phone:
        assert receiver.take(box.fileno()) is None
        for data in (b"", b"x" * 9000, b"\r\n\r\n"):
            phone.sendto(data, (far, port))
            assert receiver.take(box.fileno()) == (data, far, source, "", 0)
        assert receiver.take(box.fileno()) is None


def test_where_and_when_it_arrived() -> None:
    receiver = Receiver()
    box, port = bound(socket.AF_INET, "0.0.0.0")
    phone, source = bound(socket.AF_INET, "127.0.0.1")
    with box, phone:
        box.setsockopt(socket.IPPROTO_IP, 8, 1)                  # IP_PKTINFO
        box.setsockopt(socket.SOL_SOCKET, 64, 1)                 # SO_TIMESTAMPNS_NEW
        before = time.time_ns()
        phone.sendto(b"REGISTER", ("127.0.0.2", port))
        taken = receiver.take(box.fileno())
        assert taken is not None
        assert taken[:4] == (b"REGISTER", "127.0.0.1", source, "127.0.0.2")
        assert before <= taken[4] <= time.time_ns()


def test_dropped_ones_are_counted() -> None:
    receiver = Receiver()
    box, port = bound(socket.AF_INET, "127.0.0.1")
    phone, _ = bound(socket.AF_INET, "127.0.0.1")
    with box, phone:
        box.setsockopt(socket.SOL_SOCKET, 40, 1)                 # SO_RXQ_OVFL
        box.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        for _ in range(50):
            phone.sendto(b"x" * 500, ("127.0.0.1", port))
        held = 0
        while receiver.take(box.fileno()) is not None:
            held += 1
        assert 0 < held < 50
        phone.sendto(b"x", ("127.0.0.1", port))
        assert receiver.take(box.fileno()) is not None
        assert receiver.dropped == 50 - held


def test_nobody_there_is_an_error_with_its_number() -> None:
    receiver = Receiver()
    phone, _ = bound(socket.AF_INET, "127.0.0.1")
    gone, port = bound(socket.AF_INET, "127.0.0.1")
    gone.close()
    with phone:
        phone.connect(("127.0.0.1", port))
        phone.send(b"x")
        with pytest.raises(OSError) as told:
            receiver.take(phone.fileno())
        assert told.value.errno == errno.ECONNREFUSED
