"""Everything that listens, made by the parent so that it outlives its users; errors name the port and the remedy."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import time
from pathlib import Path

from firmware.config.schema.system import Rtp
from firmware.errors import PbxError

# Layout of dsp/world_segment.h: the size of the whole and the fields up to wall_base_ms.
WORLD_MAGIC = 0x42505857
WORLD_VERSION = 1
WORLD_PORTS = 16
WORLD_BYTES = 102_840
_WORLD_HEADER = struct.Struct("=IIIIIIq")
# Blocks between playback and wire: one more in real time, where both processes are scheduled by the system.
DEPTH_REAL_TIME = 2
DEPTH_VIRTUAL = 1
MAX_UNIX_PATH = 107


class StartError(PbxError):
    """The appliance cannot start; the message says what to do."""


def _bound(kind: int, bind: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    made = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((bind, port))
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def _refused(what: str, bind: str, port: int, error: OSError, remedy: str) -> StartError:
    if error.errno == errno.EADDRINUSE:
        return StartError(f"{what} {bind}:{port} is in use by another program; stop it, or {remedy}")
    if error.errno == errno.EADDRNOTAVAIL:
        return StartError(f"{what}: {bind} is not an address of this machine; give --bind one of its addresses, or 0.0.0.0")
    if error.errno in (errno.EACCES, errno.EPERM):
        return StartError(f"{what} {bind}:{port} is not permitted; {remedy} (ports below 1024 need root)")
    return StartError(f"{what} {bind}:{port}: {error.strerror or error}; check --bind and the configuration")


def sip_sockets(bind: str, port: int) -> tuple[socket.socket, socket.socket]:
    """UDP socket and TCP listener on one port number; port 0 picks a free one. Raises StartError."""
    remedy = "give another --sip-port (0 picks a free one) or set sip.port in the site file"
    for attempt in range(20):
        try:
            udp = _bound(socket.SOCK_DGRAM, bind, port)
        except (OSError, OverflowError) as error:
            if isinstance(error, socket.gaierror) or not isinstance(error, OSError):
                raise StartError(f"--bind {bind} is not an IP address ({error})") from error
            raise _refused("SIP UDP port", bind, port, error, remedy) from error
        actual = udp.getsockname()[1]
        try:
            tcp = _bound(socket.SOCK_STREAM, bind, actual)
            tcp.listen(64)
        except OSError as error:
            udp.close()
            if port == 0 and attempt < 19:
                continue
            raise _refused("SIP TCP port", bind, actual, error, remedy) from error
        with contextlib.suppress(OSError):
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        return udp, tcp
    raise StartError("no port is free for both UDP and TCP SIP; " + remedy)


def rtp_sockets(bind: str, rtp: Rtp) -> list[socket.socket]:
    """`rtp.calls` UDP sockets on even ports, in order of port. Raises StartError."""
    pool: list[socket.socket] = []
    try:
        if rtp.first_port:
            for index in range(rtp.calls):
                port = rtp.first_port + 2 * index
                try:
                    pool.append(_bound(socket.SOCK_DGRAM, bind, port))
                except OSError as error:
                    raise _refused("RTP port", bind, port, error, "set another rtp.first_port (0 picks free ports)") from error
            return pool
        odd: list[socket.socket] = []
        try:
            while len(pool) < rtp.calls:
                if len(odd) > rtp.calls * 20:
                    raise StartError(f"no {rtp.calls} even UDP ports are free; set rtp.first_port or a smaller rtp.calls")
                made = _bound(socket.SOCK_DGRAM, bind, 0)
                # Odd ones are kept open until the end, so that they are not offered again.
                (odd if made.getsockname()[1] % 2 else pool).append(made)
        except OSError as error:
            raise _refused("RTP port", bind, 0, error, "set rtp.first_port") from error
        finally:
            for made in odd:
                made.close()
        return sorted(pool, key=lambda each: int(each.getsockname()[1]))
    except BaseException:
        for made in pool:
            made.close()
        raise


def reachable(bind: str) -> str:
    """The address that telephones are told: `bind` itself or, where that is every address, the one of this machine's network."""
    if bind not in ("0.0.0.0", "::"):
        return bind
    family, far = (socket.AF_INET6, "2001:db8::1") if bind == "::" else (socket.AF_INET, "192.0.2.1")
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((far, 9))  # chooses a route, sends nothing
        return str(probe.getsockname()[0])
    return bind


def unix_listener(path: Path) -> socket.socket:
    """A Unix listener that only its owner may use. Raises StartError."""
    if len(os.fsencode(path)) > MAX_UNIX_PATH:
        raise StartError(f"{path}: the path is longer than {MAX_UNIX_PATH} bytes; give --state a shorter folder")
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(str(path))
        path.chmod(0o600)
        made.listen(64)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise StartError(f"{path}: cannot listen ({error.strerror}); check that the folder is on a local disk and writable") from error
    return made


def world_segment(speed: int, wall_base_ms: int | None) -> int:
    """Memory file of the seam to the simulated world, header filled in; returns its descriptor."""
    descriptor = os.memfd_create("branchpbx-world")
    os.ftruncate(descriptor, WORLD_BYTES)
    depth = DEPTH_REAL_TIME if speed == 100 else DEPTH_VIRTUAL
    base = int(time.time() * 1000) if wall_base_ms is None else wall_base_ms
    os.pwrite(descriptor, _WORLD_HEADER.pack(WORLD_MAGIC, WORLD_VERSION, WORLD_PORTS, depth, speed, 0, base), 0)
    return descriptor
