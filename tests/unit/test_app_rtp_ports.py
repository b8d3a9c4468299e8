"""Pairs of UDP ports for speech and its reports, as the parent makes them."""

from __future__ import annotations

import resource
import socket

import pytest

from firmware.app.sockets import StartError, allow_files, rtp_sockets
from firmware.config.schema.system import Rtp


def port_of(one: socket.socket) -> int:
    return int(one.getsockname()[1])


def free_range(count: int) -> int:
    """An even port from which on `count` ports are free."""
    for first in range(23_000, 30_000, count):
        made = []
        try:
            for port in range(first, first + count):
                made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                made[-1].bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
        finally:
            for one in made:
                one.close()
    raise AssertionError("no range of ports is free")


@pytest.mark.parametrize("fixed", [False, True])
def test_each_port_of_speech_is_even_and_has_its_port_of_reports_above(fixed: bool) -> None:
    first = free_range(64) if fixed else 0
    speech, reports = rtp_sockets("127.0.0.1", Rtp(first_port=first, calls=32))
    try:
        ports = [port_of(one) for one in speech]
        assert ports == sorted(ports)
        assert len(set(ports)) == 32
        assert all(port % 2 == 0 for port in ports)
        assert [port_of(one) for one in reports] == [port + 1 for port in ports]
        assert not fixed or ports[0] == first
    finally:
        for one in (*speech, *reports):
            one.close()


@pytest.mark.parametrize("offset", [2, 3])
def test_a_port_of_the_range_that_is_in_use_is_named_and_nothing_stays_open(offset: int) -> None:
    first = free_range(8)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", first + offset))
        with pytest.raises(StartError, match=f":{first + offset} is in use"):
            rtp_sockets("127.0.0.1", Rtp(first_port=first, calls=4))
    for one in (one for pool in rtp_sockets("127.0.0.1", Rtp(first_port=first, calls=4)) for one in pool):
        one.close()


def test_the_limit_of_open_files_is_raised_and_never_lowered() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
        allow_files(700)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 700
        allow_files(600)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 700
        allow_files(1 << 40)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(before[1] if before[1] > 0 else 1 << 40, 1 << 40)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
