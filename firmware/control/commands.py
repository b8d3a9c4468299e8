"""The registry of queries and commands: what every surface (console, scripts, later web and AMI) only dresses.

A command is a frozen struct; its fields are the arguments, in the order in which the console takes them as words. The
decorator gives its path ("show calls"), the least role, and the type of its result. Handlers are attached to the gate by
the part that can answer. Results are msgspec structs or lists of them; surfaces lay them out as tables from field names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from firmware.control.roles import ROLES, Role
from firmware.errors import CommandError

C = TypeVar("C", bound="type[Command]")
A = TypeVar("A", bound="Command")
_MISFIT = re.compile(r"(?P<what>.*) - at `\$\.(?P<name>\w+).*`", re.DOTALL)


class BadArgumentsError(CommandError):
    """Arguments that a command does not take; the message says which, and what is wanted."""


class Command(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every command. `path`, `role`, `Result` and the two help texts are set by `@command`."""

    path: ClassVar[str] = ""
    role: ClassVar[Role] = "admin"
    Result: ClassVar[Any] = None
    help: ClassVar[str] = ""
    help_zh: ClassVar[str] = ""
    mutates: ClassVar[bool] = True
    served: ClassVar[str] = "core"

    def audited(self) -> dict[str, Any] | None:
        """What the audit trail keeps of the arguments; None: all of them, those marked secret hidden."""
        return None


class ArgumentInfo(Struct, frozen=True):
    """One argument: `values` are the words allowed where there are only some; `required` ones have no default."""

    name: str
    kind: str
    required: bool
    help: str = ""
    values: list[str] = []
    secret: bool = False


class CommandInfo(Struct, frozen=True):
    """What a surface must know to offer a command."""

    path: str
    role: str
    help: str
    help_zh: str
    mutates: bool
    arguments: list[ArgumentInfo] = []


_registry: dict[str, type[Command]] = {}


def command(
    *, path: str, role: Role, result: Any, zh: str = "", mutates: bool | None = None, served: Literal["core", "manage"] = "core"
) -> Callable[[C], C]:
    """Register a command class. `path`: words in lower case; its first docstring line is the help; `zh`: help in Chinese; `served`:
    the process that answers (manage relays what is core's).

    `mutates` (default: unless the path begins with "show") makes the gate write an audit record.
    Raises ValueError for a path that is taken, or is the beginning of another one, and for an unknown role.
    """
    words = path.split()
    if not words or path != " ".join(words).lower():
        raise ValueError(f"path {path!r} must be lower-case words with single spaces")
    if role not in ROLES:
        raise ValueError(f"role {role!r} is not one of {ROLES}")

    def register(cls: C) -> C:
        known = _registry.get(path)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"command {path!r} is registered twice: {known.__qualname__} and {cls.__qualname__}")
        cls.path = path
        cls.role = role
        cls.Result = result
        cls.help = (cls.__doc__ or "").strip().split("\n")[0]
        cls.help_zh = zh
        cls.mutates = words[0] != "show" if mutates is None else mutates
        cls.served = served
        _registry[path] = cls
        return cls

    return register


def lookup(path: str) -> type[Command] | None:
    """The command with exactly this path."""
    return _registry.get(path)


def registered() -> dict[str, type[Command]]:
    """All commands by path, sorted."""
    return dict(sorted(_registry.items()))


def describe(cls: type[Command]) -> CommandInfo:
    """Facts about a command for completion and help."""
    arguments = []
    for field in msgspec.structs.fields(cls):
        kind: Any = field.type
        text, secret = "", False
        if get_origin(kind) is Annotated:
            kind, *metas = get_args(kind)
            for meta in metas:
                if isinstance(meta, Meta):
                    text = meta.description or text
                    secret = bool((meta.extra or {}).get("secret", secret))
        values = [str(value) for value in get_args(kind)] if getattr(get_origin(kind), "_name", "") == "Literal" else []
        name = "choice" if values else getattr(kind, "__name__", str(kind))
        arguments.append(ArgumentInfo(name=field.name, kind=name, required=field.required, help=text, values=values, secret=secret))
    return CommandInfo(path=cls.path, role=cls.role, help=cls.help, help_zh=cls.help_zh, mutates=cls.mutates, arguments=arguments)


def accept(cls: type[A], args: Any) -> A:
    """The command with these arguments. Raises BadArgumentsError."""
    try:
        return msgspec.convert({} if args is None else args, cls)
    except msgspec.ValidationError as error:
        raise BadArgumentsError(f"{cls.path}: {_misfit(cls, str(error))}") from None


def _misfit(cls: type[Command], text: str) -> str:
    """What is wrong in words for people: a pattern is told by the description of its argument."""
    found = _MISFIT.fullmatch(text)
    wanted = next((one.help for one in describe(cls).arguments if found and one.name == found["name"]), "")
    if found is None or not wanted:
        return text
    what = "does not fit" if "matching regex" in found["what"] else found["what"][:1].lower() + found["what"][1:]
    return f"{found['name']}: {what}; wanted: {wanted}"


# --- results and commands that need no part of core -------------------------------------------------------------------


class VersionResult(Struct, frozen=True):
    """Version of the product and of what it runs on."""

    product: str
    version: str
    python: str
    schema: int


class ProcessRow(Struct, frozen=True):
    """One process of the appliance: `restarts` since the parent began."""

    process: str
    pid: int
    state: str
    memory_kb: int


class StatusResult(Struct, frozen=True):
    """State of the appliance; `clock` is local time of the engine clock, `uptime_s` that of core, `events` the next event's number."""

    name: str
    version: str
    clock: str
    uptime_s: int
    boot: int
    generation: str
    config_hash: str
    adopted: bool
    calls: int
    events: int
    alarms: list[str]
    processes: list[ProcessRow]


class EndpointRow(Struct, frozen=True):
    """Something that listens."""

    what: str
    where: str


class AccountRow(Struct, frozen=True):
    """A SIP account or an agent's PIN, as a phone needs it."""

    account: str
    kind: str
    name: str
    secret: str
    server: str
    state: str = ""


class LogRow(Struct, frozen=True):
    """One line of a process log."""

    time: str
    process: str
    level: str
    logger: str
    message: str
    call_id: str = ""


class AuditRow(Struct, frozen=True):
    """One command that changed something."""

    time: str
    peer: str
    role: str
    command: str
    args: str
    outcome: str


class AlarmRow(Struct, frozen=True):
    """An alarm that is raised now."""

    kind: str
    text: str
    since: str
    text_zh: str = ""


@command(path="show version", role="viewer", result=VersionResult, zh="显示版本")
class ShowVersion(Command, frozen=True):
    """Product version, and the Python it runs on."""


@command(path="show status", role="viewer", result=StatusResult, zh="显示设备状态")
class ShowStatus(Command, frozen=True):
    """State of the appliance: clock, calls, processes, alarms."""


@command(path="show endpoints", role="viewer", result=list[EndpointRow], zh="显示监听地址")
class ShowEndpoints(Command, frozen=True):
    """What listens where."""


@command(path="show accounts", role="admin", result=list[AccountRow], zh="显示账号和密码", mutates=True)
class ShowAccounts(Command, frozen=True):
    """SIP accounts and agent PINs with their secrets (audited)."""


@command(path="show log", role="supervisor", result=list[LogRow], zh="显示日志")
class ShowLog(Command, frozen=True):
    """Last lines of the logs."""

    lines: Annotated[int, Meta(description="How many lines", ge=1, le=1000)] = 50
    process: Annotated[str, Meta(description="Process name, empty for all", pattern=r"^[a-z]*$")] = ""
    call_id: Annotated[str, Meta(description="Only lines of this call or leg")] = ""


@command(path="show alarms", role="viewer", result=list[AlarmRow], zh="显示告警")
class ShowAlarms(Command, frozen=True):
    """Alarms that are raised now."""


@command(path="show audit", role="supervisor", result=list[AuditRow], zh="显示审计记录", served="manage")
class ShowAudit(Command, frozen=True):
    """Last commands that changed something, who gave them and how they ended."""

    lines: Annotated[int, Meta(description="How many records", ge=1, le=1000)] = 50


@command(path="show commands", role="viewer", result=list[CommandInfo], zh="显示所有命令")
class ShowCommands(Command, frozen=True):
    """Every command this appliance can answer, with its arguments."""


@command(path="show configuration", role="supervisor", result=list[str], zh="显示配置")
class ShowConfiguration(Command, frozen=True):
    """Running configuration as `set` lines, secrets hidden."""

    under: Annotated[str, Meta(description="Only paths that begin so, for example ports.fxo")] = ""
