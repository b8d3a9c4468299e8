"""Query about the certificates of TLS (see `control/commands.py` for what a command is)."""

from __future__ import annotations

from msgspec import Struct

from firmware.control.commands import Command, command


class CertificateRow(Struct, frozen=True):
    """One certificate. `begins`, `expires`: local time of the branch; `days`: left; `fingerprint`: SHA-256."""

    use: str
    use_zh: str
    subject: str
    names: str
    issuer: str
    begins: str
    expires: str
    days: int
    verdict_en: str
    verdict_zh: str
    fingerprint: str
    file: str


@command(path="show certificates", role="viewer", result=list[CertificateRow], zh="显示 TLS 证书及其有效期")
class ShowCertificates(Command, frozen=True):
    """Certificates of SIP over TLS: whose, for which names and addresses, until when. Telephones are to trust the file of the box's CA."""
