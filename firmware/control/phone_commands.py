"""Commands about desk telephones that fetch their settings from this box (see `control/commands.py` for what a command is)."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from firmware.control.commands import Command, command

MacWord = Annotated[
    str, Meta(description="MAC address as on the label: 805EC0123456, colons may stay", pattern=r"^[0-9A-Fa-f:.-]{12,17}$")
]
ExtensionWord = Annotated[str, Meta(description="Extension that the telephone gets", pattern=r"^[0-9]{2,8}$")]
ModelWord = Annotated[str, Meta(description="Model as printed on it", pattern=r"^[A-Za-z0-9+_-]{0,20}$")]


class DeskPhoneRow(Struct, frozen=True):
    """One telephone. `state`: waiting (for its first fetch), set up, armed again, expired (did not come in time), unknown (to be
    approved)."""

    phone: str
    vendor: str
    model: str
    extensions: str
    state: str
    state_zh: str
    fetched: str
    address: str
    agent: str


class PhoneResult(Struct, frozen=True):
    """What became of it. `link`: the telephone's own, for its menu or browser page; `says`: what is to be done next."""

    phone: str
    link: str
    says: str
    says_zh: str


class PasswordResult(Struct, frozen=True):
    """The password of the telephone's own pages; the user is admin."""

    phone: str
    password: str


class ProvisioningRow(Struct, frozen=True):
    """What an installer enters in the DHCP server or in a telephone."""

    what: str
    what_zh: str
    value: str


class SyncRow(Struct, frozen=True):
    """A NOTIFY that was sent."""

    extension: str
    contact: str


@command(path="phone list", role="supervisor", result=list[DeskPhoneRow], zh="列出自动配置的话机", mutates=False, served="manage")
class PhoneList(Command, frozen=True):
    """Desk telephones: who has fetched settings, who waits, who asked without being known."""


@command(path="show provisioning", role="supervisor", result=list[ProvisioningRow], zh="显示话机配置服务", served="manage")
class ShowProvisioning(Command, frozen=True):
    """Where telephones fetch their settings: addresses, and what a DHCP server is to tell them."""


@command(path="show phone-file", role="admin", result=str, zh="预览话机配置文件（不含密码）", served="manage")
class ShowPhoneFile(Command, frozen=True):
    """A telephone's file as it would fetch it now, without passwords."""

    phone: MacWord


@command(path="show phone-changes", role="admin", result=list[str], zh="显示提交候选配置后话机文件的变化", served="manage")
class ShowPhoneChanges(Command, frozen=True):
    """What a commit would change in a telephone's file, line by line; nothing where it would not change."""

    phone: MacWord


@command(path="phone add", role="admin", result=PhoneResult, zh="添加话机", served="manage")
class PhoneAdd(Command, frozen=True):
    """Add a telephone: it is armed, and its first file holds the password of its extension."""

    phone: MacWord
    vendor: Annotated[Literal["yealink", "grandstream", "snom", "fanvil"], Meta(description="Make")]
    extension: ExtensionWord
    model: ModelWord = ""


@command(path="phone approve", role="admin", result=PhoneResult, zh="批准请求配置的未知话机", served="manage")
class PhoneApprove(Command, frozen=True):
    """Let a telephone in that asked and was not known (`phone list`)."""

    phone: MacWord
    extension: ExtensionWord


@command(path="phone re-arm", role="admin", result=PhoneResult, zh="允许话机再取一次密码", served="manage")
class PhoneRearm(Command, frozen=True):
    """Let a telephone fetch its passwords once more: after a factory reset, or when a password was changed."""

    phone: MacWord


@command(path="phone window", role="admin", result=PhoneResult, zh="在一段时间内自动分配未知话机", served="manage")
class PhoneWindow(Command, frozen=True):
    """For some minutes give unknown telephones of the site the next free extension; 0 ends it."""

    minutes: Annotated[int, Meta(description="Minutes, 0 to end it", ge=0, le=120)]


@command(path="phone reboot", role="supervisor", result=list[SyncRow], zh="让话机重新读取配置", served="manage")
class PhoneReboot(Command, frozen=True):
    """Make a telephone fetch its settings again (NOTIFY check-sync); it restarts if it must."""

    phone: MacWord


@command(path="phone password", role="admin", result=PasswordResult, zh="显示话机网页的密码（记入审计）", mutates=True, served="manage")
class PhonePassword(Command, frozen=True):
    """Password of a telephone's own pages (audited)."""

    phone: MacWord


@command(path="phone sync", role="supervisor", result=list[SyncRow], zh="向分机发送 check-sync")
class PhoneSync(Command, frozen=True):
    """Send check-sync to whatever is registered as an extension."""

    extension: ExtensionWord
