"""Commands of the scripted mode on the serial line: who the box is, log-in by challenge, files in and out in pieces.

All are answered by management. A file that comes in lies in the spool until it is complete and its SHA-256 is right; then its kind says
what becomes of it: `site` goes into the candidate configuration, `document` (signed by the centre) on trial, `prompt` among the prompts of
the site, `bundle` stays in the spool for the update. A transfer that broke goes on where the spool's file ends, also after a power cut.
Going out: `logs`, one archive.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from firmware.control.commands import Command, command

PIECE = 48 << 10  # bytes of a file in one command
FILE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$"
Ident = Annotated[str, Meta(description="Transfer, as `transfer begin` named it", pattern=r"^[0-9a-f]{16}$")]
Place = Annotated[int, Meta(description="Byte of the file", ge=0)]
Hex = Annotated[str, Meta(description="Hexadecimal digits", pattern=r"^[0-9a-f]{64}$")]
UserName = Annotated[str, Meta(description="Log-in name", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")]


class IdentityResult(Struct, frozen=True):
    """Who the box is. `sealed`: serial number and MAC cannot be written any more; `device`, `public_key` (Ed25519, base64): as of
    `show device`, from the factory on."""

    product: str
    version: str
    model: str
    serial: str
    mac: str
    sealed: bool
    device: str = ""
    public_key: str = ""


class ChallengeResult(Struct, frozen=True):
    """How a password becomes the key of the proof (RFC 7914). `free`: nobody has a password yet, the box is new and needs no proof."""

    free: bool
    n: int
    r: int
    p: int
    salt: str


class ProofResult(Struct, frozen=True):
    """Who logged in; `answer` is the proof of the box."""

    user: str
    role: str
    language: str
    answer: str


class TransferResult(Struct, frozen=True):
    """State of a transfer: `offset` bytes are there, with this SHA-256 (going in), or of so many with this one (going out)."""

    transfer: str
    size: int
    offset: int
    digest: str


class DeliveredResult(Struct, frozen=True):
    """What became of a file that came in."""

    kind: str
    name: str
    size: int
    says: str
    says_zh: str


class PieceResult(Struct, frozen=True):
    """A piece of a file, base64."""

    offset: int
    data: str


class SpoolRow(Struct, frozen=True):
    """A file of the spool."""

    name: str
    kind: str
    size: int
    there: int
    time: str


@command(path="show identity", role="viewer", result=IdentityResult, zh="显示设备身份", served="manage")
class ShowIdentity(Command, frozen=True):
    """Model, serial number, MAC address and public key of this box."""


@command(path="identity write", role="admin", result=IdentityResult, zh="写入设备身份（仅出厂时）", served="manage")
class IdentityWrite(Command, frozen=True):
    """Write serial number and MAC at the factory, make the keys of the device; `seal` ends that for ever."""

    serial: Annotated[str, Meta(description="Serial number, 4 to 24 letters and digits", pattern=r"^[A-Z0-9-]{4,24}$")]
    mac: Annotated[str, Meta(description="First MAC address, 02:00:5e:00:53:01", pattern=r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$")]
    seal: bool = False
    site_key: Annotated[
        str,
        Meta(description="Key of the site for log-in as `site`, 64 hex digits", pattern=r"^([0-9a-f]{64})?$", extra={"secret": True}),
    ] = ""  # fmt: skip


@command(path="login challenge", role="viewer", result=ChallengeResult, zh="登录质询", served="manage", mutates=False)
class LoginChallenge(Command, frozen=True):
    """How the key of this user's proof is made."""

    user: UserName


@command(path="login prove", role="viewer", result=ProofResult, zh="登录证明", served="manage")
class LoginProve(Command, frozen=True):
    """Check the proof of a user over what both ends said in their hello."""

    user: UserName
    about: Hex
    proof: Annotated[str, Meta(description="HMAC of what it is about, empty on a new box", pattern=r"^([0-9a-f]{64})?$")] = ""

    def audited(self) -> dict[str, Any]:
        return {"user": self.user}


@command(path="transfer begin", role="admin", result=TransferResult, zh="开始接收文件", served="manage")
class TransferBegin(Command, frozen=True):
    """Begin to take a file, or go on with it."""

    kind: Annotated[Literal["site", "document", "prompt", "bundle"], Meta(description="What it is: site, document, prompt or bundle")]
    name: Annotated[str, Meta(description="Name of the file; a prompt's is LANGUAGE/ID", pattern=FILE_NAME)]
    size: Annotated[int, Meta(description="Bytes", ge=0, le=1 << 30)]
    digest: Annotated[str, Meta(description="SHA-256 of the whole file", pattern=r"^[0-9a-f]{64}$")]


@command(path="transfer cut", role="admin", result=TransferResult, zh="截断已接收的部分", served="manage", mutates=False)
class TransferCut(Command, frozen=True):
    """Keep only so much of what came: it was of another file."""

    transfer: Ident
    offset: Place


@command(path="transfer write", role="admin", result=TransferResult, zh="写入文件片段", served="manage", mutates=False)
class TransferWrite(Command, frozen=True):
    """Append a piece."""

    transfer: Ident
    offset: Place
    data: Annotated[str, Meta(description="Bytes, base64", max_length=PIECE * 4 // 3 + 4)]


@command(path="transfer finish", role="admin", result=DeliveredResult, zh="完成文件接收", served="manage")
class TransferFinish(Command, frozen=True):
    """The file is complete: check it and put it to use."""

    transfer: Ident


@command(path="transfer open", role="supervisor", result=TransferResult, zh="打开要取出的文件", served="manage")
class TransferOpen(Command, frozen=True):
    """Make a file to be fetched: `logs`, an archive of all logs as they are now; with `digest` the one made before."""

    kind: Annotated[Literal["logs"], Meta(description="What: logs")]
    digest: Annotated[str, Meta(description="SHA-256 of one made before, to go on with it", pattern=r"^([0-9a-f]{64})?$")] = ""


@command(path="transfer read", role="supervisor", result=PieceResult, zh="读取文件片段", served="manage", mutates=False)
class TransferRead(Command, frozen=True):
    """Read a piece."""

    transfer: Ident
    offset: Place
    count: Annotated[int, Meta(description="Bytes", ge=0, le=PIECE)]


@command(path="transfer digest", role="supervisor", result=TransferResult, zh="文件开头部分的校验值", served="manage", mutates=False)
class TransferDigest(Command, frozen=True):
    """SHA-256 of so many first bytes."""

    transfer: Ident
    offset: Place


@command(path="show spool", role="supervisor", result=list[SpoolRow], zh="显示文件暂存区", served="manage")
class ShowSpool(Command, frozen=True):
    """Files that came over the serial line and wait, complete or not."""
