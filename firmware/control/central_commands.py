"""Commands about this box and its centre (see `control/commands.py` for what a command is)."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from firmware.control.commands import Command, command


class DeviceResult(Struct, frozen=True):
    """This box for its centre: name, key that secrets are sealed to, key that its reports are signed with. Base64."""

    device: str
    sealing: str
    identity: str


class CentralResult(Struct, frozen=True):
    """The last document. `taken`: highest revision confirmed; `reason`: why it was refused or taken back; `reported`: the centre knows."""

    state: str
    revision: int
    taken: int
    reason: str
    says: str
    says_zh: str
    content: str
    source: str
    reported: bool


@command(path="show device", role="viewer", result=DeviceResult, zh="显示本机标识与公钥", served="manage")
class ShowDevice(Command, frozen=True):
    """Name and public keys of this box, to make it known at its centre."""


@command(path="show central", role="viewer", result=CentralResult, zh="显示中心配置文档的状态", served="manage")
class ShowCentral(Command, frozen=True):
    """What became of the last document of the centre."""


@command(path="central offer", role="admin", result=CentralResult, zh="提交中心签名的配置文档", served="manage")
class CentralOffer(Command, frozen=True):
    """Hand in a signed configuration document; it runs on trial."""

    document: Annotated[str, Meta(description="The document, as the centre signed it", max_length=3_000_000)]

    def audited(self) -> dict[str, Any]:
        return {"characters": len(self.document)}


class PartResult(Struct, frozen=True):
    """How far a document that comes in parts is; `state` as in `show central` once it is whole."""

    there: int
    missing: list[int]
    state: str
    says: str
    says_zh: str


@command(path="central part", role="admin", result=PartResult, zh="逐段提交配置文档（二维码）", served="manage")
class CentralPart(Command, frozen=True):
    """Hand in one part of a signed document, a line of its QR sheet; the last one puts it on trial."""

    part: Annotated[str, Meta(description="Which part of how many, such as 2/5", max_length=5)]
    name: Annotated[str, Meta(description="Which document: 8 digits", max_length=8)]
    data: Annotated[str, Meta(description="The part itself", max_length=600)]

    def audited(self) -> dict[str, Any]:
        return {"part": self.part, "name": self.name}
