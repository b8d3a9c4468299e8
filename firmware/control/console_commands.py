"""Commands behind the console: who may log in, passwords, users; what the box sees of its network and memory.

`console ...` are asked by the console itself, not typed. They are answered in manage, which knows the users of the configuration that runs;
log-ins are audited where they are judged, in the name of who tries.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from firmware.control.commands import Command, command

Host = Annotated[str, Meta(description="Host name or address", pattern=r"^[A-Za-z0-9:][A-Za-z0-9.:_-]{0,252}$")]
StoredPassword = Annotated[str, Meta(description="Stored form of the new password", max_length=200, extra={"secret": True})]


class ConsoleState(Struct, frozen=True):
    """What a console must know before anybody has logged in. `fresh`: the box has no users yet, the first log-in makes one."""

    site: str
    version: str
    fresh: bool
    language: str
    idle_s: int
    wrong_wait_s: int
    terminal: str
    columns: int
    rows: int


class LoginResult(Struct, frozen=True):
    """Somebody who has proved to be a user."""

    user: str
    name: str
    role: str
    language: str


class UserRow(Struct, frozen=True):
    """A user of the console."""

    user: str
    name: str
    role: str
    language: str
    password: bool
    ssh_keys: int


class ConsoleRow(Struct, frozen=True):
    """A way to the console that is served."""

    what: str
    where: str
    state: str


class InterfaceRow(Struct, frozen=True):
    """A network interface; errors are of both directions since it came up."""

    interface: str
    state: str
    address: str
    mac: str
    mtu: int
    received: int
    sent: int
    errors: int


class NeighbourRow(Struct, frozen=True):
    """A host on the same network, as the kernel knows it (ARP and neighbour discovery)."""

    address: str
    mac: str
    interface: str
    state: str


class RouteRow(Struct, frozen=True):
    """A route of the kernel."""

    target: str
    gateway: str
    interface: str


class MemoryRow(Struct, frozen=True):
    """Memory of the box, or of one process."""

    what: str
    memory_kb: int


class PingRow(Struct, frozen=True):
    """One question and its answer. `how`: an ICMP echo, or where that is not allowed the refusal of a closed UDP port."""

    seq: int
    address: str
    answer: str
    round_trip_ms: float | None
    how: str


class LookupRow(Struct, frozen=True):
    """One address of a name."""

    name: str
    address: str
    kind: str


@command(path="console state", role="viewer", result=ConsoleState, zh="控制台状态", mutates=False, served="manage")
class ShowConsoleState(Command, frozen=True):
    """Facts for the greeting of a console."""


@command(path="console login", role="admin", result=LoginResult, zh="登录", mutates=False, served="manage")
class ConsoleLogin(Command, frozen=True):
    """Whether name and password fit; refused without saying which of the two is wrong."""

    user: Annotated[str, Meta(description="Log-in name", max_length=64)]
    password: Annotated[str, Meta(description="Password", max_length=256, extra={"secret": True})]
    where: Annotated[str, Meta(description="Way in", max_length=40)] = ""


@command(path="console key", role="admin", result=LoginResult, zh="密钥登录", mutates=False, served="manage")
class ConsoleKey(Command, frozen=True):
    """A user whom the SSH service has let in."""

    user: Annotated[str, Meta(description="Log-in name", max_length=64)]
    where: Annotated[str, Meta(description="Way in", max_length=40)] = ""


@command(path="console who", role="viewer", result=LoginResult, zh="当前用户", mutates=False, served="manage")
class ConsoleWho(Command, frozen=True):
    """Who asks, as the configuration that runs has this user now; refused for one who is gone."""


@command(path="console first", role="admin", result=LoginResult, zh="设置首个管理员", served="manage")
class ConsoleFirst(Command, frozen=True):
    """Make the first administrator of a box that has no users; refused on any other."""

    user: Annotated[str, Meta(description="Log-in name", pattern=r"^[a-z][a-z0-9._-]{0,31}$")]
    stored: StoredPassword
    language: Annotated[str, Meta(description="Language", pattern=r"^(en|zh)$")] = "en"


@command(path="console password", role="viewer", result=None, zh="修改自己的密码", served="manage")
class ConsolePassword(Command, frozen=True):
    """Put a new password of one's own into effect."""

    stored: StoredPassword


@command(path="console progress", role="admin", result=str, zh="设置进度", mutates=False, served="manage")
class ConsoleProgress(Command, frozen=True):
    """How far the set-up of this box is: what `console keep` was given last, "" for nothing."""


@command(path="console keep", role="admin", result=None, zh="保存设置进度", mutates=False, served="manage")
class ConsoleKeep(Command, frozen=True):
    """Keep how far the set-up is, on disk before this is answered."""

    text: Annotated[str, Meta(description="JSON of the set-up", max_length=65_536)]


@command(path="show users", role="supervisor", result=list[UserRow], zh="显示控制台用户", served="manage")
class ShowUsers(Command, frozen=True):
    """People who may log in at the console."""


@command(path="show consoles", role="supervisor", result=list[ConsoleRow], zh="显示控制台接入方式", served="manage")
class ShowConsoles(Command, frozen=True):
    """Serial port and SSH service of the console, and whether they are up."""


@command(path="show interfaces", role="viewer", result=list[InterfaceRow], zh="显示网络接口", served="manage")
class ShowInterfaces(Command, frozen=True):
    """Network interfaces with addresses, state and errors."""


@command(path="show neighbours", role="viewer", result=list[NeighbourRow], zh="显示邻居表", served="manage")
class ShowNeighbours(Command, frozen=True):
    """Hosts on the same network: address, hardware address, interface."""


@command(path="show routes", role="viewer", result=list[RouteRow], zh="显示路由", served="manage")
class ShowRoutes(Command, frozen=True):
    """Where packets to other networks go."""


@command(path="show memory", role="viewer", result=list[MemoryRow], zh="显示内存", served="manage")
class ShowMemory(Command, frozen=True):
    """Memory of the box and of each process of the appliance."""


@command(path="ping", role="supervisor", result=list[PingRow], zh="测试到主机的连通", mutates=False, served="manage")
class Ping(Command, frozen=True):
    """Ask a host whether it is there."""

    host: Host
    count: Annotated[int, Meta(description="How often, a second apart", ge=1, le=20)] = 3


@command(path="lookup", role="supervisor", result=list[LookupRow], zh="查询名称的地址", mutates=False, served="manage")
class Lookup(Command, frozen=True):
    """Addresses of a name, as this box finds them."""

    name: Host
