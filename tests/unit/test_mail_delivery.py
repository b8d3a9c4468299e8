"""Mail of voice messages, against a real mail server on loopback: TLS, log-in, refusals, a server that is down, a power cut in between."""

from __future__ import annotations

import asyncio
import email
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope

from firmware.app.mailer import Mailer
from firmware.config.schema.system import Site
from firmware.config.schema.tree import Config
from firmware.config.schema.voicemail import MailServer
from firmware.net.mail import MailRefusedError, compose, send
from firmware.store.certificates import ensure
from firmware.store.db import Database


class Inbox:
    """What the server takes; `answers`: what it says to the next mails or recipients instead."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.answers: list[str] = []
        self.recipients: list[str] = []

    async def handle_RCPT(self, server: Any, session: Any, envelope: Envelope, address: str, options: list[str]) -> str:
        if self.recipients:
            return self.recipients.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:
        if self.answers:
            return self.answers.pop(0)
        assert isinstance(envelope.content, bytes)
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 taken"


class Server(Controller):
    """The mail server on a port of its own choice."""

    def _trigger_server(self) -> None:
        self.port = port_of(self)
        super()._trigger_server()


@pytest.fixture
def inbox() -> Iterator[tuple[Inbox, Controller]]:
    box = Inbox()
    controller = Server(box, hostname="127.0.0.1", port=0)
    controller.start()
    yield box, controller
    controller.stop()


def port_of(controller: Controller) -> int:
    assert controller.server is not None
    return int(controller.server.sockets[0].getsockname()[1])


def settings(port: int, **changes: Any) -> MailServer:
    base: dict[str, Any] = {"host": "127.0.0.1", "port": port, "security": "none", "language": "en", "timeout_s": 5, "retry_first_s": 30}
    return MailServer(**(base | changes))


class Core:
    """The commands of core that the mailer gives."""

    def __init__(self, wav: Path) -> None:
        wav.write_bytes(b"RIFF-sound")
        self.tasks = [self.task("m1", wav)]
        self.states: dict[str, str] = {}
        self.alarms: list[str] = []
        self.deaf = False

    @staticmethod
    def task(message: str, wav: Path) -> dict[str, Any]:
        return {"box": "night", "message": message, "title": "Night box", "address": "anna@branch.example", "at_ms": 1_772_442_000_000,
                "seconds": 12, "number": "13800000001", "name": "", "path": str(wav), "attach": True}  # fmt: skip

    async def ask(self, path: str, **args: Any) -> Any:
        if path == "voicemail outbox":
            return self.tasks
        if path == "voicemail alarm":
            self.alarms.append(args["text"])
        elif self.deaf:
            raise ConnectionError("killed")
        else:
            self.states[args["message"]] = args["state"]
            self.tasks = [task for task in self.tasks if task["message"] != args["message"]]
        return {}


class Bench:
    """A mailer on its own database, with a clock that the test moves."""

    def __init__(self, folder: Path, mail: MailServer) -> None:
        self.folder = folder
        self.core = Core(folder / "m1.wav")
        self.now = 1_772_442_060_000
        self.config = Config(site=Site(name="Branch"), mail=mail)
        self.start()

    def start(self) -> None:
        self.db = Database(self.folder / "manage.db", "manage")
        self.mailer = Mailer(self.config, self.db, self.core.ask, UTC, lambda: self.now)

    def work(self, later_s: int = 0) -> None:
        self.now += later_s * 1000
        asyncio.run(self.mailer.work())
        assert self.db.flush()


def test_a_message_arrives_with_its_sound_and_is_noted_as_sent(tmp_path: Path, inbox: tuple[Inbox, Controller]) -> None:
    box, controller = inbox
    bench = Bench(tmp_path, settings(port_of(controller)))
    bench.work()
    (mail,) = box.mails
    assert mail["To"] == "anna@branch.example"
    assert "13800000001" in str(mail["Subject"])
    (sound,) = mail.iter_attachments()
    assert sound.get_content_type() == "audio/wav"
    assert sound.get_content() == b"RIFF-sound"
    assert bench.core.states == {"m1": "sent"}
    bench.work(3600)
    assert len(box.mails) == 1
    bench.db.close()


def test_a_refusal_for_now_is_tried_again_with_growing_pauses(tmp_path: Path, inbox: tuple[Inbox, Controller]) -> None:
    box, controller = inbox
    box.answers = ["451 later", "452 full", "421 busy"]
    bench = Bench(tmp_path, settings(port_of(controller)))
    tries = []
    for second in range(0, 400, 10):
        left = len(box.answers)
        bench.work(10)
        if len(box.answers) < left or (box.mails and len(tries) < 4):
            tries.append(second)
    assert [later - earlier for earlier, later in zip(tries, tries[1:], strict=False)] == [30, 60, 120]
    assert len(box.mails) == 1
    assert bench.core.states == {"m1": "sent"}
    assert bench.core.alarms[-2:] == [bench.core.alarms[-2], ""]
    assert "421" in bench.core.alarms[-2]                       # after three failures in a row, cleared by the mail that was taken
    bench.db.close()


def test_a_refusal_for_good_is_told_and_not_tried_again(tmp_path: Path, inbox: tuple[Inbox, Controller]) -> None:
    box, controller = inbox
    box.recipients = ["550 no such user"]
    bench = Bench(tmp_path, settings(port_of(controller)))
    bench.work()
    assert bench.core.states["m1"].startswith("failed: 550")
    assert "no such user" in bench.core.alarms[-1]
    bench.work(7200)
    assert box.mails == []
    bench.db.close()


def test_a_server_that_is_down_and_comes_back_gets_the_mail(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    bench = Bench(tmp_path, settings(port))
    for _ in range(6):
        bench.work(200)
    assert bench.core.states == {}
    assert bench.core.alarms
    box = Inbox()
    back = Controller(box, hostname="127.0.0.1", port=port)
    back.start()
    try:
        bench.work(4000)
    finally:
        back.stop()
    assert len(box.mails) == 1
    assert bench.core.states == {"m1": "sent"}
    assert bench.core.alarms[-1] == ""
    bench.db.close()


def test_a_power_cut_between_acceptance_and_note_sends_no_other_mail(tmp_path: Path, inbox: tuple[Inbox, Controller]) -> None:
    box, controller = inbox
    bench = Bench(tmp_path, settings(port_of(controller)))
    bench.core.deaf = True
    with pytest.raises(ConnectionError):
        bench.work()
    bench.db.close()
    assert len(box.mails) == 1
    bench.core.deaf = False
    bench.start()
    bench.work()
    assert len(box.mails) == 1                                  # that it was taken was on the disk before core was told
    assert bench.core.states == {"m1": "sent"}
    bench.db.execute("UPDATE mail SET accepted_ms = NULL")
    bench.core.tasks = [Core.task("m1", tmp_path / "m1.wav")]
    bench.db.execute("INSERT OR REPLACE INTO mail (box, message, address, first_ms, next_ms, tries) VALUES ('night', 'm1', '', 0, 0, 1)")
    assert bench.db.flush()
    bench.work()
    assert len(box.mails) == 2                                  # cut even before that: the same mail again, known by its id
    assert box.mails[0]["Message-ID"] == box.mails[1]["Message-ID"]
    bench.db.close()


def test_after_the_last_day_a_mail_counts_as_failed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, settings(1, give_up_h=1))
    bench.work()
    bench.work(3700)
    assert bench.core.states["m1"].startswith("failed: 127.0.0.1")
    bench.db.close()


# --- encryption and log-in --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A CA, and the context of a server that it vouches for as 127.0.0.1."""
    folder = tmp_path_factory.mktemp("ca")
    ensure(folder, ["127.0.0.1"], "mail")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    return folder / "ca.crt", context


def login(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    return AuthResult(success=data.login == b"branch" and data.password == b"right-one", handled=False)


def test_starttls_with_log_in_delivers_and_proves_the_server(authority: tuple[Path, ssl.SSLContext]) -> None:
    ca, context = authority
    box = Inbox()
    controller = Server(
        box, hostname="127.0.0.1", port=0, tls_context=context, require_starttls=True, authenticator=login, auth_required=True
    )
    controller.start()
    try:
        right = settings(port_of(controller), security="starttls", ca=str(ca), user="branch", password="right-one")
        mail = compose(right, "anna@branch.example", "subject", "text", "id-1")
        assert "accepted" in send(right, mail)
        assert len(box.mails) == 1
        wrong = settings(port_of(controller), security="starttls", ca=str(ca), user="branch", password="wrong-one")
        with pytest.raises(MailRefusedError, match="log-in refused") as told:
            send(wrong, mail)
        assert not told.value.final
        strange = settings(port_of(controller), security="starttls", user="branch", password="right-one")
        with pytest.raises(MailRefusedError, match="not believed"):
            send(strange, mail)
    finally:
        controller.stop()
    assert len(box.mails) == 1


def test_a_server_without_tls_gets_nothing_where_tls_is_asked_for(inbox: tuple[Inbox, Controller]) -> None:
    box, controller = inbox
    mail = compose(settings(1), "anna@branch.example", "subject", "text", "id-1")
    for security in ("starttls", "tls"):
        with pytest.raises(MailRefusedError):
            send(settings(port_of(controller), security=security, user="branch", password="right-one"), mail)
    assert box.mails == []
