"""Addresses as sockets and as SIP have them (L3).

A socket on "::" takes both families; the kernel writes an IPv4 address as ::ffff:a.b.c.d there. Everything above knows it as a.b.c.d.
"""

from __future__ import annotations

import socket

_MAPPED = "::ffff:"


def plain(host: str) -> str:
    """An address of a socket, an IPv4 address within an IPv6 one as itself."""
    return host[len(_MAPPED) :] if host.startswith(_MAPPED) and "." in host else host


def for_socket(host: str, family: int) -> str:
    """An address literal as a socket of this family takes it."""
    return _MAPPED + host if family == socket.AF_INET6 and ":" not in host else host


def mark(sock: socket.socket, dscp: int) -> None:
    """Have all packets of a socket carry a DSCP (RFC 2474), and leave this machine in its order.

    SO_PRIORITY is what a VLAN device makes its priority of (egress-qos-map); the class selector bits are the usual choice.
    """
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
    # After IP_TOS, which sets a priority of its own.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, min(dscp >> 3, 6))      # 7 needs a privilege


def copy_mark(listener: socket.socket, sock: socket.socket) -> None:
    """Mark a connection as its listener is: one that was accepted has the DSCP, but no priority."""
    mark(sock, listener.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) >> 2)
