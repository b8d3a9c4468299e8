"""Handing one mail to the configured server (L3; SMTP submission: RFC 6409, TLS: RFC 8314, 3207).

Theory of operation. `send` blocks and belongs into a thread. With `starttls` nothing but the greeting goes in clear: a server that does
not offer it, or whose certificate does not prove its name, gets no mail. The result is a typed error that says whether trying again can
help: a refusal for good (5xx) cannot, everything else can. A mail keeps its Message-ID over all tries, so that one that was accepted
just before a power cut and is sent again is known as the same.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

from firmware.config.schema.voicemail import MailServer
from firmware.errors import PbxError


class MailRefusedError(PbxError):
    """The server did not take the mail. `final`: it never will; `code`: of its answer, 0 where there was none."""

    def __init__(self, text: str, *, final: bool, code: int = 0) -> None:
        super().__init__(text)
        self.final = final
        self.code = code


def compose(
    settings: MailServer, to: str, subject: str, text: str, ident: str, *, audio: bytes | None = None, name: str = "", date: str = ""
) -> EmailMessage:
    """One mail. `ident`: what its Message-ID is made of; `date`: RFC 5322 text."""
    mail = EmailMessage(policy=SMTP)
    sender = settings.sender or f"voicemail@{settings.host}"
    mail["From"] = sender
    mail["To"] = to
    mail["Subject"] = subject
    mail["Message-ID"] = f"<{ident}@{sender.partition('@')[2]}>"
    if date:
        mail["Date"] = date
    mail["Auto-Submitted"] = "auto-generated"              # RFC 3834: no answers by machines
    mail.set_content(text)
    if audio is not None:
        mail.add_attachment(audio, maintype="audio", subtype="wav", filename=name)
    return mail


def send(settings: MailServer, mail: EmailMessage) -> str:
    """Hand over one mail; what the server said. Raises MailRefusedError."""
    try:
        with _connect(settings) as server:
            if settings.user:
                server.login(settings.user, settings.password)
            server.send_message(mail)
            return f"accepted by {settings.host}"
    except smtplib.SMTPRecipientsRefused as error:
        code, said = next(iter(error.recipients.values()), (550, b"refused"))
        raise MailRefusedError(f"{code} {_text(said)}", final=code >= 500, code=code) from error
    except smtplib.SMTPAuthenticationError as error:
        raise MailRefusedError(f"log-in refused: {error.smtp_code} {_text(error.smtp_error)}", final=False, code=error.smtp_code) from error
    except smtplib.SMTPResponseException as error:
        # Before the recipient was named, 5xx speaks of us or of the server's state, not of this mail: that may be mended.
        final = error.smtp_code >= 500 and isinstance(error, smtplib.SMTPDataError)
        raise MailRefusedError(f"{error.smtp_code} {_text(error.smtp_error)}", final=final, code=error.smtp_code) from error
    except ssl.SSLCertVerificationError as error:
        raise MailRefusedError(f"the certificate of {settings.host} is not believed: {error.verify_message}", final=False) from error
    except (smtplib.SMTPException, ssl.SSLError, OSError, EOFError) as error:
        raise MailRefusedError(f"{settings.host}: {error or type(error).__name__}", final=False) from error


def _connect(settings: MailServer) -> smtplib.SMTP:
    port = settings.port or (465 if settings.security == "tls" else 587)
    name = socket.gethostname() or "localhost"
    if settings.security == "none":
        return smtplib.SMTP(settings.host, port, local_hostname=name, timeout=settings.timeout_s)
    context = ssl.create_default_context(cafile=settings.ca or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.security == "tls":
        return smtplib.SMTP_SSL(settings.host, port, local_hostname=name, timeout=settings.timeout_s, context=context)
    server = smtplib.SMTP(settings.host, port, local_hostname=name, timeout=settings.timeout_s)
    try:
        server.starttls(context=context)
    except BaseException:
        server.close()
        raise
    return server


def _text(said: bytes | str) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return " ".join(text.split())[:200]


def read_audio(path: str) -> bytes | None:
    """The sound of a message; None where it is gone."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        return None
