"""Everything that listens, made by the parent so that it outlives its users; errors name the port and the remedy."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
import struct
import time
from pathlib import Path

from firmware.config.schema.system import Rtp
from firmware.errors import PbxError

# Layout of dsp/world_segment.h: the size of the whole and the fields up to `chains`.
WORLD_MAGIC = 0x42505857
WORLD_VERSION = 2
WORLD_PORTS = 16
WORLD_BYTES = 202_248
_WORLD_HEADER = struct.Struct("=IIIIIIqIII")
# Blocks between playback and wire: one more in real time, where both processes are scheduled by the system.
DEPTH_REAL_TIME = 2
DEPTH_VIRTUAL = 1
MAX_UNIX_PATH = 107
IP_MULTICAST_ALL = 49      # linux/in.h; Python has no name for it


class StartError(PbxError):
    """The appliance cannot start; the message says what to do."""


def _bound(kind: int, bind: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    made = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)      # "::" takes both families, whatever the system's default
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
        _apart_from_groups(udp)
        return udp, tcp
    raise StartError("no port is free for both UDP and TCP SIP; " + remedy)


def _apart_from_groups(udp: socket.socket) -> None:
    """Let manage hear telephones that ask a multicast group on the same port, and keep what they say from call control.

    The option is given after `bind`: a second appliance, which binds without it, is still told that the port is taken.
    """
    if udp.family == socket.AF_INET:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        udp.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)


def tls_listener(bind: str, port: int, sip_port: int, *, beside: int = 1, what: str = "tls") -> socket.socket:
    """TCP listener of SIP over TLS, or of secure WebSocket (`what` = "wss"), on `port`.

    0: `beside` ports after a configured `sip_port`, else (0 as well) any. Raises StartError.
    """
    wanted = port or (sip_port + beside if 0 < sip_port <= 65535 - beside else 0)
    try:
        made = _bound(socket.SOCK_STREAM, bind, wanted)
        made.listen(64)
    except OSError as error:
        remedy = f"set another sip.{what}_port, or sip.{what} = false in the site file"
        raise _refused(f"SIP {what.upper()} port", bind, wanted, error, remedy) from error
    return made


def allow_files(wanted: int) -> None:
    """Raise the limit of open files of this process and its children to `wanted`, as far as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def rtp_sockets(bind: str, rtp: Rtp) -> tuple[list[socket.socket], list[socket.socket]]:
    """`rtp.calls` pairs of UDP sockets, in order of port: those of RTP on even ports, those of RTCP above them. Raises StartError."""
    pairs: list[tuple[socket.socket, socket.socket]] = []
    alone: list[socket.socket] = []     # kept open until the end, so that they are not offered again
    wanted = 0
    try:
        while len(pairs) < rtp.calls:
            if len(alone) > rtp.calls * 20:
                raise StartError(f"no {rtp.calls} pairs of UDP ports are free; set rtp.first_port or a smaller rtp.calls")
            wanted = rtp.first_port + 2 * len(pairs) if rtp.first_port else 0
            alone.append(_bound(socket.SOCK_DGRAM, bind, wanted))
            port = int(alone[-1].getsockname()[1])
            try:
                beside = _bound(socket.SOCK_DGRAM, bind, port ^ 1)
            except OSError:
                if rtp.first_port:
                    wanted = port ^ 1
                    raise
                continue
            pairs.append((beside, alone.pop()) if port % 2 else (alone.pop(), beside))
    except BaseException as error:
        for made in (one for pair in pairs for one in pair):
            made.close()
        if isinstance(error, OSError):
            remedy = "set another rtp.first_port (0 picks free ports)" if rtp.first_port else "set rtp.first_port"
            raise _refused("RTP port", bind, wanted, error, remedy) from error
        raise
    finally:
        for made in alone:
            made.close()
    pairs.sort(key=lambda pair: int(pair[0].getsockname()[1]))
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


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


def world_segment(speed: int, wall_base_ms: int | None, chains: int = 0) -> int:
    """Memory file of the seam to the simulated world, header filled in; returns its descriptor. `chains`: those of the board file."""
    descriptor = os.memfd_create("branchpbx-world")
    os.ftruncate(descriptor, WORLD_BYTES)
    depth = DEPTH_REAL_TIME if speed == 100 else DEPTH_VIRTUAL
    base = int(time.time() * 1000) if wall_base_ms is None else wall_base_ms
    os.pwrite(descriptor, _WORLD_HEADER.pack(WORLD_MAGIC, WORLD_VERSION, WORLD_PORTS, depth, speed, 0, base, 0, 0, chains), 0)
    return descriptor
