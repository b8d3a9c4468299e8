"""How TLS is spoken: contexts of listeners and of connections to carriers (L3).

TLS 1.2 and 1.3 (RFC 8996 retired the older ones), forward secrecy and authenticated encryption only (RFC 9325 section 4.2), no
compression, no renegotiation. A connection that we open is always verified, against the CAs of the file given or of the system, and
against the name it was opened for (RFC 5922 section 7); it shows a client certificate where one is given.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!eNULL:!PSK:!SRP"
Clients = Literal["no", "optional", "required"]
_VERIFY = {"no": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


def server_context(chain: Path, key: Path, *, clients: Clients = "no", client_ca: Path | None = None) -> ssl.SSLContext:
    """What a listener shows; `client_ca` holds the CAs of client certificates. Raises OSError (ssl.SSLError is one)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _common(context)
    context.load_cert_chain(chain, key)
    if clients != "no" and client_ca is not None:
        context.load_verify_locations(client_ca)
    context.verify_mode = _VERIFY[clients]
    context.num_tickets = 1
    return context


def client_context(ca: Path | None, *, chain: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """How we connect; `ca`: PEM file of the CAs trusted, None for those of the system. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _common(context)
    if ca is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(ca)
    if chain is not None:
        context.load_cert_chain(chain, key)
    return context


def _common(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
