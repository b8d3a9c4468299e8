"""From a host name to a server that answers: a real DNS server, real SIP servers, and such as are down, busy or somebody else."""

from __future__ import annotations

import asyncio
import random
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from firmware.config.schema.system import Sip
from firmware.config.schema.tree import Config
from firmware.core.reach import Reach
from firmware.net import tls
from firmware.net.dns import Dns
from firmware.net.sip_tcp import SipTcp
from firmware.net.sip_tls import SipTls
from firmware.net.sip_udp import SipUdp
from firmware.net.source import SourceAddress
from firmware.sip import events as ev
from firmware.sip.flow import Address, Flow
from firmware.sip.locate import Target
from firmware.sip.uri import parse_uri
from firmware.store.certificates import Paths, ensure
from tests.e2e.appliance import DIE_WITH_TEST, wait_until
from tests.e2e.dnsmasq import Dnsmasq
from tests.ports import free_port
from tests.unit.sip_stage import audio, make_endpoint

pytestmark = [pytest.mark.e2e, pytest.mark.realtime]

LOCAL = "127.0.0.1"
ANSWERS = """<?xml version="1.0" encoding="UTF-8"?>
<scenario name="answers">
  <recv request="INVITE" rrs="true"/>
  <send><![CDATA[
SIP/2.0 {status}
[last_Via:]
[last_From:]
[last_To:];tag=[pid]x[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:far@[local_ip]:[local_port];transport=[transport]>
{more}
]]></send>
  <recv request="ACK"/>
  {end}
</scenario>
"""
BODY = """Content-Type: application/sdp
Content-Length: [len]

v=0
o=far 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio 40000 RTP/AVP 8
"""
GOOD = {"status": "200 OK", "more": BODY, "end": """<recv request="BYE"/><send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>"""}  # fmt: skip
OVERLOADED = {"status": "503 Service Unavailable", "more": "Retry-After: 90\nContent-Length: 0\n", "end": ""}


class Servers:
    """SIPp as far ends."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack

    def start(self, values: dict[str, str], transport: str) -> int:
        port = free_port()
        folder = self._folder / f"far{port}"
        folder.mkdir()
        (folder / "far.xml").write_text(ANSWERS.format(**values))
        command = ["sipp", "-sf", "far.xml", "-i", LOCAL, "-p", str(port), "-t", "u1" if transport == "udp" else "t1", "-nostdin"]
        log = self._stack.enter_context((folder / "log").open("wb"))
        process = subprocess.Popen([*DIE_WITH_TEST, *command], cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._stack.callback(process.wait, 5)
        self._stack.callback(process.kill)
        kind = "-u" if transport == "udp" else "-t"
        wait_until(lambda: f":{port} " in subprocess.check_output(["ss", "-Hln", kind], text=True), "a far end listens")
        return port


class Clock:
    """The loop's time as the engine's."""

    def now(self) -> int:
        return int(asyncio.get_running_loop().time() * 1000)

    def call_later(self, ms: int, fn: Callable[[], None]) -> Any:
        return asyncio.get_running_loop().call_later(ms / 1000, fn)


class Caller:
    """The product's SIP parts on sockets of their own; one call at a time. Also the owner of what its shells bring."""

    def __init__(self, dns_port: int, folder: Path, authority: Path, names: list[str]) -> None:
        loop = asyncio.get_running_loop()
        ensure(folder / "tls", names, "Test")
        paths = Paths(folder / "tls")
        self.endpoint = make_endpoint(random.randrange(1 << 30), trusting="carrier")
        self.clock: Any = Clock()
        self.events: list[ev.Event] = []
        self.udp = SipUdp(_socket(socket.SOCK_DGRAM), self.receive, loop, self.connection_lost)
        self.tcp = SipTcp(_socket(socket.SOCK_STREAM), self, loop)
        server = tls.server_context(paths.server, paths.server_key)
        self.tls = SipTls(_socket(socket.SOCK_STREAM), self, loop, server, tls.client_context(authority))
        ports = {"udp": self.udp.local[1], "tcp": self.tcp.local[1], "tls": self.tls.local[1]}
        config = Config(sip=Sip(name_servers=[f"{LOCAL}:{dns_port}"]))
        self.reach = Reach(config, self.clock, source=SourceAddress(LOCAL), ports=ports, draw=random.random)
        self.dns = Dns(self.reach.locator, self.clock.now, loop, config.sip.name_servers)
        self.reach.ask = self.dns.ask

    async def start(self) -> Caller:
        await self.tcp.start()
        await self.tls.start()
        return self

    async def close(self) -> None:
        self.udp.close()
        await self.tcp.close()
        await self.tls.close()
        await self.dns.close()

    def receive(self, data: bytes, source: Address, transport: str, local: Address, waited_ms: int = 0) -> None:
        self.endpoint.receive(data, source, transport, self.clock.now(), local)
        self.pump()

    def connection_made(self, transport: str, remote: Address) -> None:
        self.endpoint.connection_made(transport, remote)

    def connection_lost(self, transport: str, remote: Address) -> None:
        self.endpoint.connection_lost(transport, remote, self.clock.now())
        self.pump()

    def pump(self) -> None:
        for out in self.endpoint.output():
            if out.transport == "udp":
                self.udp.send(out.data, out.destination)
            elif out.transport == "tls":
                self.tls.send(out.data, out.destination, close=out.close, name=out.name)
            else:
                self.tcp.send(out.data, out.destination, close=out.close)
        for event in self.endpoint.events():
            self.events.append(event)
            if isinstance(event, ev.IncomingCall):
                self.endpoint.send(ev.AnswerCall(event.call, audio((LOCAL, 40000)).receive_offer(event.offer)), self.clock.now())  # type: ignore[arg-type]
                self.pump()

    async def locate(self, uri: str) -> list[tuple[Target, Flow]]:
        found: asyncio.Future[list[tuple[Target, Flow]]] = asyncio.get_running_loop().create_future()
        self.reach.locate(parse_uri(uri), found.set_result)
        return await asyncio.wait_for(found, 10)

    async def call(self, uri: str, call: str = "c") -> tuple[str, list[ev.WayFailed]]:
        """Call a URI; the transport and port that answered, and the ways that failed."""
        ways = await self.locate(uri)
        assert ways, "nowhere to go"
        flows = [flow for _, flow in ways]
        self.endpoint.send(ev.PlaceCall(call, uri, flows[0], audio((LOCAL, 40002)).offer(), further=tuple(flows[1:])), self.clock.now())
        self.pump()
        async with asyncio.timeout(12):
            while not [one for one in self.events if isinstance(one, ev.CallAnswered | ev.CallEnded) and one.call == call]:
                due = self.endpoint.deadline()
                if due is not None and due <= self.clock.now():
                    self.endpoint.expire(self.clock.now())
                    self.pump()
                await asyncio.sleep(0.01)
        failed = [one for one in self.events if isinstance(one, ev.WayFailed) and one.call == call]
        for one in failed:
            target = next(target for target, flow in ways if flow == one.flow)
            self.reach.failed(target, one.retry_after_s)
        if [one for one in self.events if isinstance(one, ev.CallEnded) and one.call == call]:
            return "", failed
        flow = flows[len(failed)]
        self.endpoint.send(ev.EndCall(call), self.clock.now())
        self.pump()
        return f"{flow.transport}:{flow.remote[1]}", failed


def _socket(kind: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, kind)
    made.bind((LOCAL, 0))
    return made


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(tmp_path, stack)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_call_finds_the_server_that_lives(tmp_path: Path, servers: Servers, transport: str) -> None:
    closed = free_port()
    busy, good = servers.start(OVERLOADED, transport), servers.start(GOOD, transport)
    service, letter = f"_sip._{transport}.carrier.test", {"udp": "U", "tcp": "T"}[transport]
    records = [
        f"naptr-record=carrier.test,10,10,S,SIP+D2{letter},,{service}", f"srv-host={service},a.carrier.test,{closed},1,0",
        f"srv-host={service},b.carrier.test,{busy},2,0", f"srv-host={service},c.carrier.test,{good},3,0",
        *(f"address=/{host}.carrier.test/{LOCAL}" for host in "abc"), "local-ttl=30",
    ]  # fmt: skip

    async def run(port: int) -> None:
        caller = await Caller(port, tmp_path, Path(ensure_authority(tmp_path)), ["me.test"]).start()
        try:
            answered, failed = await caller.call("sip:600@carrier.test")
            assert answered == f"{transport}:{good}"
            assert [(one.flow.remote[1], one.why, one.retry_after_s) for one in failed] == [(closed, "failed", 0), (busy, "refused", 90)]
            # The next call goes there at once, and DNS is not asked again.
            answered, failed = await caller.call("sip:601@carrier.test", "d")
            assert (answered, failed) == (f"{transport}:{good}", [])
        finally:
            await caller.close()

    port = free_port()
    with Dnsmasq(tmp_path / "dns", records, host=LOCAL, port=port) as dns:
        asyncio.run(run(port))
        assert dns.asked("NAPTR", "carrier.test") == dns.asked("SRV", service) == 1


def ensure_authority(folder: Path) -> str:
    """The CA that our carriers have."""
    ensure(folder / "carrier", ["carrier.test"], "Carrier")
    return str(Paths(folder / "carrier").ca)


def test_only_who_proves_the_name_is_spoken_to(tmp_path: Path) -> None:
    """Three servers behind sips:carrier.test: one shows another name, one a certificate of nobody, the last is the carrier."""
    authority = Path(ensure_authority(tmp_path))
    service = "_sips._tcp.carrier.test"

    async def run(port: int, dns: Dnsmasq) -> None:
        loop = asyncio.get_running_loop()
        far: list[SipTls] = []
        takes: list[Caller] = []
        good = Paths(tmp_path / "carrier")
        ensure(tmp_path / "stranger", ["carrier.test"], "Stranger")
        stranger = Paths(tmp_path / "stranger")
        # The carrier's CA signs for another name, too: the chain is right, the name is not.
        other = tmp_path / "other"
        other.mkdir()
        for name in ("ca.crt", "ca.key"):
            (other / name).write_bytes((tmp_path / "carrier" / name).read_bytes())
        ensure(other, ["else.test"], "Carrier")
        for paths in (Paths(other), stranger, good):
            owner = await Caller(port, tmp_path / f"owner{len(far)}", authority, ["x.test"]).start()
            context = tls.server_context(paths.server, paths.server_key)
            shell = SipTls(_socket(socket.SOCK_STREAM), owner, loop, context, tls.client_context(authority))
            shell._sock.listen(8)
            owner.tls = shell
            await shell.start()
            far.append(shell)
            takes.append(owner)
        lines = [f"srv-host={service},s{rank}.carrier.test,{shell.local[1]},{rank},0" for rank, shell in enumerate(far)]
        records = [*lines, *(f"address=/s{rank}.carrier.test/{LOCAL}" for rank in range(3))]
        dns.config.write_text(dns.config.read_text() + "\n".join(records) + "\n")
        caller = await Caller(port, tmp_path, authority, ["me.test"]).start()
        try:
            with dns:
                answered, failed = await caller.call("sips:600@carrier.test")
                assert answered == f"tls:{far[2].local[1]}"
                assert [(one.flow.remote[1], one.why) for one in failed] == [(far[0].local[1], "failed"), (far[1].local[1], "failed")]
                assert [len([one for one in taken.events if isinstance(one, ev.IncomingCall)]) for taken in takes] == [0, 0, 1]
        finally:
            for one in (caller, *takes):
                await one.close()

    port = free_port()
    asyncio.run(run(port, Dnsmasq(tmp_path / "dns", ["naptr-record=carrier.test,1,1,S,SIPS+D2T,," + service], host=LOCAL, port=port)))


def test_names_that_are_not_there_and_servers_that_are_silent(tmp_path: Path) -> None:
    async def run(port: int, dead: int) -> None:
        caller = await Caller(port, tmp_path, Path(ensure_authority(tmp_path)), ["me.test"]).start()
        lost = Caller(dead, tmp_path / "lost", Path(ensure_authority(tmp_path)), ["me.test"])
        try:
            assert await caller.locate("sip:nobody.carrier.test") == []
            asked = caller.dns.asked
            assert await caller.locate("sip:nobody.carrier.test") == [] and caller.dns.asked == asked, "that it is not there is remembered"
            ((target, flow),) = await caller.locate("sip:plain.carrier.test:5070;transport=tcp")
            assert (target.host, flow.remote, flow.local) == ("127.0.0.9", ("127.0.0.9", 5070), (LOCAL, caller.tcp.local[1]))
            assert await lost.locate("sip:plain.carrier.test:5070") == []                # within the time that `locate` waits
            assert lost.dns.failed == 1
        finally:
            await caller.close()
            await lost.close()

    port, dead = free_port(), free_port()
    with Dnsmasq(tmp_path / "dns", ["address=/plain.carrier.test/127.0.0.9"], host=LOCAL, port=port):
        asyncio.run(run(port, dead))
