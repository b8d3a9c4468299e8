"""Sockets of both families, peers that are not there, our address by route, DNS as a shell, and the external address."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from firmware.config.schema.networks import Network
from firmware.config.schema.system import Sip
from firmware.config.schema.tree import Config
from firmware.control.gate import Gate
from firmware.control.network_commands import ShowNetworks
from firmware.core.reach import EXTERNAL_EVERY_MS, Reach
from firmware.net import dns as dns_shell
from firmware.net.address import for_socket, mark, plain
from firmware.net.dns import MAX_UNDER_WAY, Dns
from firmware.net.sip_udp import SipUdp
from firmware.net.source import SourceAddress
from firmware.runtime.bus import Bus
from firmware.runtime.clock import ManualClock
from firmware.sip.flow import Address
from firmware.sip.locate import Answer, Locator, Question, Target
from firmware.sip.uri import parse_uri


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def both() -> None:
        await asyncio.wait_for(work(), 10)

    asyncio.run(both())


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - a condition of any kind
        await asyncio.sleep(0.005)


def bound(host: str, kind: int = socket.SOCK_DGRAM) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    if ":" in host:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    made.bind((host, 0))
    return made


class Ear:
    """A SIP socket and what it brought."""

    def __init__(self, host: str) -> None:
        self.got: list[tuple[bytes, Address, str, Address]] = []
        self.gone: list[tuple[str, Address]] = []
        self.shell = SipUdp(bound(host), self._receive, asyncio.get_running_loop(), lambda *peer: self.gone.append(peer))

    def _receive(self, data: bytes, source: Address, transport: str, local: Address, waited_ms: int) -> None:
        self.got.append((data, source, transport, local))


def closed_port(host: str) -> int:
    with bound(host) as made:
        return int(made.getsockname()[1])


def test_one_socket_speaks_both_families_and_knows_them_by_their_own_names() -> None:
    async def work() -> None:
        ear = Ear("::")
        port = ear.shell.local[1]
        for host in ("127.0.0.1", "::1"):
            with bound(host) as phone:
                phone.sendto(b"hello", (host, port))
                await until(lambda: ear.got)
                data, source, _, local = ear.got.pop()
                assert (data, source, local) == (b"hello", (host, phone.getsockname()[1]), (host, port))
                ear.shell.send(b"there", source)
                phone.settimeout(5)
                answer, sender = phone.recvfrom(100)
                assert (answer, plain(sender[0])) == (b"there", host)
        ear.shell.close()

    run(work)


@pytest.mark.parametrize(("listens", "peer"), [("127.0.0.1", "127.0.0.1"), ("::", "127.0.0.1"), ("::", "::1")])
def test_a_peer_that_is_not_there_is_told_and_nobody_else_loses_a_datagram(listens: str, peer: str) -> None:
    async def work() -> None:
        ear = Ear(listens)
        nobody = (peer, closed_port(peer))
        with bound(peer) as phone:
            for _ in range(3):
                ear.shell.send(b"anybody?", nobody)
                ear.shell.send(b"you", (peer, phone.getsockname()[1]))
            await until(lambda: len(ear.gone) >= 3)
            assert set(ear.gone) == {("udp", nobody)}
            phone.settimeout(5)
            assert [phone.recv(100) for _ in range(3)] == [b"you"] * 3
            phone.sendto(b"hello", (peer, ear.shell.local[1]))
            await until(lambda: ear.got)
        # Nothing of the errors is left over that would wake the loop again and again.
        quiet = ear.shell.statistics()
        turns = 0
        original = ear.shell._readable

        def counted() -> None:
            nonlocal turns
            turns += 1
            original()

        asyncio.get_running_loop().add_reader(ear.shell._sock.fileno(), counted)
        await asyncio.sleep(0.1)
        assert turns == 0 and ear.shell.statistics() == quiet and quiet["dropped_out"] == 0
        ear.shell.close()

    run(work)


class Echoing(socket.socket):
    """A socket on which news of other peers is due: each `sendto` tells of one of them and sends nothing, `due` times."""

    due = 0

    def sendto(self, *what: Any) -> int:  # type: ignore[override]
        if self.due:
            self.due -= 1
            raise ConnectionRefusedError(errno.ECONNREFUSED, "somebody else is not there")
        return super().sendto(*what)


@pytest.mark.parametrize("due", [1, 2, 3, 40])
def test_news_of_other_peers_neither_costs_a_datagram_nor_is_taken_for_news_of_its_destination(due: int) -> None:
    async def work() -> None:
        ear = Ear("127.0.0.1")
        ear.shell._sock = Echoing(fileno=ear.shell._sock.detach())
        with bound("127.0.0.1") as phone:
            phone.settimeout(5)
            ear.shell._sock.due = due
            ear.shell.send(b"INVITE", phone.getsockname())
            await until(lambda: ear.shell.statistics()["sent"])
            assert phone.recv(100) == b"INVITE"
        assert ear.gone == [] and ear.shell.statistics()["dropped_out"] == 0
        ear.shell.close()

    run(work)


def test_where_no_route_leads_nobody_is() -> None:
    async def work() -> None:
        ear = Ear("127.0.0.1")
        ear.shell.send(b"far", ("2001:db8::1", 5060))
        ear.shell.send(b"far", ("192.0.2.1", 5060))        # from a socket of the loopback
        await asyncio.sleep(0.05)
        assert ear.shell.statistics()["dropped_out"] == 2
        ear.shell.close()

    run(work)


def test_our_address_by_route() -> None:
    now = [0.0]
    everywhere = SourceAddress("0.0.0.0", lambda: now[0])
    assert everywhere("127.0.0.9") == "127.0.0.1" and SourceAddress("::")("::1") == "::1"
    assert everywhere("no address") == ""
    assert SourceAddress("127.0.0.5")("127.0.0.1") == "127.0.0.5" and SourceAddress("127.0.0.5")("::1") == ""


def test_addresses_of_sockets() -> None:
    assert plain("::ffff:192.0.2.1") == "192.0.2.1" and plain("::ffff") == "::ffff" and plain("2001:db8::1") == "2001:db8::1"
    assert for_socket("192.0.2.1", socket.AF_INET6) == "::ffff:192.0.2.1"
    assert for_socket("::1", socket.AF_INET6) == "::1" and for_socket("192.0.2.1", socket.AF_INET) == "192.0.2.1"


@pytest.mark.parametrize(("host", "dscp", "priority"), [("127.0.0.1", 24, 3), ("::1", 46, 5), ("127.0.0.1", 0, 0), ("::", 63, 6)])
def test_marks(host: str, dscp: int, priority: int) -> None:
    with bound(host) as made:
        mark(made, dscp)
        assert made.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == dscp << 2
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY) == priority
        if ":" in host:
            assert made.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS) == dscp << 2


# --- DNS ----------------------------------------------------------------------------------------------------------------


def test_questions_wait_their_turn_and_what_the_library_throws_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    under_way, most = 0, 0

    async def resolve(self: Dns, question: Question) -> Answer:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1
        if question.name == "h7":
            raise RuntimeError("whatever")
        return Answer(("192.0.2.1",), 60)

    monkeypatch.setattr(dns_shell.Dns, "_resolve", resolve)

    async def work() -> None:
        locator = Locator(lambda: 0.0)
        shell = Dns(locator, lambda: 0, asyncio.get_running_loop())
        got: dict[str, list[Target]] = {}
        for index in range(100):
            locator.locate(parse_uri(f"sip:h{index}:5060"), 0, lambda targets, index=index: got.__setitem__(f"h{index}", targets))  # type: ignore[misc]
        shell.ask()
        await until(lambda: len(got) == 100 and shell.statistics()["under_way"] == 0)
        assert most == MAX_UNDER_WAY and shell.statistics() == {"asked": 100, "failed": 1, "under_way": 0}
        assert got["h7"] == [] and len(got["h8"]) == 1
        await shell.close()

    run(work)


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("192.0.2.53", ("192.0.2.53", 53)), ("192.0.2.53:5353", ("192.0.2.53", 5353)), ("2001:db8::53", ("2001:db8::53", 53)),
        ("[2001:db8::53]", ("2001:db8::53", 53)), ("[2001:db8::53]:5353", ("2001:db8::53", 5353)),
    ],
)  # fmt: skip
def test_name_servers(text: str, server: tuple[str, int]) -> None:
    assert dns_shell._server(text) == server


# --- reach --------------------------------------------------------------------------------------------------------------


def reach(clock: ManualClock, *, external: str = "", networks: dict[str, Network] | None = None, source: str = "192.168.1.2") -> Reach:
    config = Config(sip=Sip(external_address=external), networks=networks or {})
    return Reach(config, clock, source=lambda host: source, ports={"udp": 5060, "tcp": 5060, "tls": 5061}, draw=lambda: 0.0)


def test_flows_tell_each_network_its_address() -> None:
    box = reach(ManualClock(), external="198.51.100.7", networks={"vpn": Network(subnets=["10.8.0.0/24"], address="10.8.0.1")})
    got: list[list[tuple[Target, object]]] = []
    for uri in ("sip:203.0.113.9", "sip:10.8.0.9;transport=tcp", "sips:192.168.1.9"):
        box.locate(parse_uri(uri), got.append)  # type: ignore[arg-type]
    flows = [found[0][1] for found in got]
    assert [(one.local, one.transport, one.name) for one in flows] == [  # type: ignore[attr-defined]
        (("198.51.100.7", 5060), "udp", ""), (("10.8.0.1", 5060), "tcp", ""), (("192.168.1.2", 5061), "tls", "192.168.1.9"),
    ]  # fmt: skip
    nowhere = reach(ManualClock(), source="")
    nowhere.locate(parse_uri("sip:203.0.113.9"), got.append)  # type: ignore[arg-type]
    assert got[-1] == [], "no route leads there"


def test_an_external_address_that_is_a_name_follows_its_uplink() -> None:
    clock = ManualClock()
    box = reach(clock, external="branch.example")
    address = ["198.51.100.7"]

    def dns() -> None:
        for question in box.locator.questions():
            failed = not address[0]
            box.locator.answered(question, Answer(() if failed else (address[0],), 30, failed=failed), clock.now())

    box.ask = dns
    local = ("192.168.1.2", 5060)
    assert box.told("203.0.113.9", local) == local, "not known yet"
    box.start()
    assert box.told("203.0.113.9", local) == ("198.51.100.7", 5060)
    address[0] = "198.51.100.8"
    clock.advance(EXTERNAL_EVERY_MS)
    assert box.told("203.0.113.9", local) == ("198.51.100.8", 5060)
    address[0] = ""
    clock.advance(3 * EXTERNAL_EVERY_MS)
    assert box.told("203.0.113.9", local) == ("198.51.100.8", 5060), "DNS is silent: the last one holds"
    assert box.told("192.168.1.77", local) == local


def test_show_networks_tells_who_is_told_what() -> None:
    clock = ManualClock()
    box = reach(clock, external="branch.example", networks={"vpn": Network(subnets=["10.8.0.0/24", "fd08::/16"], address="10.8.0.1")})
    gate = Gate(Bus(), clock)
    box.attach(gate, lambda: ["10.8.0.5", "192.168.1.7", "192.168.1.8", "203.0.113.5", "fd08::1"])

    def rows() -> list[tuple[str, str, int, bool]]:
        found = gate._handlers[ShowNetworks](ShowNetworks())
        assert all(bool(row.remedy_en) == bool(row.remedy_zh) and row.network_zh for row in found)
        return [(row.network_en, row.told, row.phones, bool(row.remedy_en)) for row in found]

    assert rows() == [("vpn", "10.8.0.1", 2, False), ("public network", "branch.example", 0, True), ("elsewhere", "", 3, False)]
    box.networks.use("198.51.100.7")
    assert rows()[1:] == [("public network", "198.51.100.7 (branch.example)", 1, False), ("elsewhere", "", 2, False)]
