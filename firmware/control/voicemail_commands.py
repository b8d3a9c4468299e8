"""Commands about message boxes, their mail, prompts of the site, and the call graph (see `control/commands.py`)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from firmware.control.commands import Command, command

BoxName = Annotated[str, Meta(description="Name of the box, as `show voicemail` lists it")]
MessageId = Annotated[str, Meta(description="Id of the message, as `show messages` lists it")]


class BoxRow(Struct, frozen=True):
    """One box. `oldest_new_h`: hours since the oldest new message; `late`: new ones that should be answered by now.

    `mail`: the address; `unsent`: messages whose mail waits; `failed`: whose mail was given up. `refused`: why nothing is taken now.
    """

    box: str
    title: str
    new: int
    heard: int
    oldest_new_h: int
    late: int
    greeting: str
    mail: str
    unsent: int
    failed: int
    refused: str


class MessageRow(Struct, frozen=True):
    """One message. `state`: new, heard or saved; `due`: by when it is to be answered; `mail`: waiting, sent or failed with the reason."""

    message: str
    received: str
    number: str
    name: str
    seconds: int
    state: str
    due: str
    mail: str
    origin: str
    contact: str


class MailTask(Struct, frozen=True):
    """A message whose mail is to be sent: everything that the mail says, and where its sound lies."""

    box: str
    message: str
    title: str
    address: str
    at_ms: int
    seconds: int
    number: str
    name: str
    path: str
    attach: bool


class MailResult(Struct, frozen=True):
    """What became of it."""

    message: str
    state: str


class IvrRow(Struct, frozen=True):
    """One menu or node: how many came, hung up there, went on by time-out (`otherwise`); keys or outcomes with their counts."""

    node: str
    kind: str
    entered: int
    left: int
    left_percent: float
    otherwise: int
    chosen: str


class PromptResult(Struct, frozen=True):
    """The prompt is in use."""

    prompt: str
    bytes: int


@command(path="show voicemail", role="supervisor", result=list[BoxRow], zh="显示语音信箱")
class ShowVoicemail(Command, frozen=True):
    """Message boxes: new and heard messages, what is late, delivery of their mail."""


@command(path="show messages", role="supervisor", result=list[MessageRow], zh="显示一个信箱的留言")
class ShowMessages(Command, frozen=True):
    """Messages of a box, new ones first."""

    box: BoxName


@command(path="voicemail delete", role="supervisor", result=MailResult, zh="删除一条留言")
class VoicemailDelete(Command, frozen=True):
    """Delete a message."""

    box: BoxName
    message: MessageId


@command(path="voicemail outbox", role="admin", result=list[MailTask], zh="显示待发邮件的留言", mutates=False)
class VoicemailOutbox(Command, frozen=True):
    """Messages whose mail waits."""


@command(path="voicemail mailed", role="admin", result=MailResult, zh="记录邮件发送结果")
class VoicemailMailed(Command, frozen=True):
    """Note what became of the mail of a message."""

    box: BoxName
    message: MessageId
    state: Annotated[str, Meta(description="sent, or why it failed", max_length=300)]


@command(path="voicemail test", role="admin", result=MailResult, zh="发送测试邮件")
class VoicemailTest(Command, frozen=True):
    """Send a test mail at once and tell what the server said."""

    address: Annotated[str, Meta(description="Mail address", pattern=r"^[^\s@<>\"]+@[A-Za-z0-9.-]+$", max_length=120)]


@command(path="voicemail alarm", role="admin", result=MailResult, zh="邮件服务告警")
class VoicemailAlarm(Command, frozen=True):
    """Raise the alarm of the mail server, or clear it with an empty text."""

    text: Annotated[str, Meta(description="What is wrong; empty: nothing", max_length=300)] = ""


@command(path="show ivr", role="supervisor", result=list[IvrRow], zh="显示菜单与节点中来电去向")
class ShowIvr(Command, frozen=True):
    """Menus and nodes: how many callers came, and where they hung up."""

    days: Annotated[int, Meta(description="Days back", ge=1, le=366)] = 7


@command(path="prompt load", role="admin", result=PromptResult, zh="启用新语音")
class PromptLoad(Command, frozen=True):
    """Use a prompt of the site's folder from now on."""

    prompt: Annotated[str, Meta(description="Language and prompt id: zh/greet.day", pattern=r"^(en|zh)/[a-z0-9.]+$")]
