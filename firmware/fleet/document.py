"""Signed configuration documents: how one is written, and why one is refused (L1, pure).

Theory of operation
-------------------
The centre of a tenant sends a box its whole configuration as a document: `device`, `tenant`, `revision`, `base_hash`, `schema`,
`not_after`,
`confirm_s` and `body`, as canonical JSON (sorted keys, no spaces). The Ed25519 signature is over exactly these bytes, which travel as
they are
in an envelope beside the identifier of the key; whoever carries it (a server, a stick, a serial line) needs no trust. Secrets in `body`
read
"sealed:" and base64: sealed to the one box, bound to their path, so that neither can be moved. Checks come in the order of what they cost
and
what they prove: size, form, key, signature, then whose it is, its age, its order, its base. `read` and `judge` do not raise: what is
wrong is a
`Refusal` with a reason for programs and words for people.
Invariants: nothing is looked at in a document before its signature holds; bytes that are not the canonical form of what they say are
refused.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

MOST_BYTES = 2 << 20
SEALED = "sealed:"
Reason = Literal[
    "too-large", "unreadable", "unknown-key", "bad-signature", "wrong-device", "wrong-tenant", "unknown-schema", "clock-wrong", "expired",
    "lower-revision", "known", "other-base", "secrets", "configuration", "busy",
]  # fmt: skip


class Document(Struct, frozen=True, forbid_unknown_fields=True):
    """What is signed. `not_after`: Unix time in s; `base_hash`: content hash of the configuration it was made from, "" for any."""

    device: str
    tenant: str
    revision: int
    schema: int
    not_after: int
    confirm_s: int
    body: dict[str, Any]
    base_hash: str = ""


class Envelope(Struct, frozen=True, forbid_unknown_fields=True):
    """What travels: the document's bytes, their signature, which key made it. Base64."""

    signed: str
    signature: str
    key: str


class Refusal(Struct, frozen=True):
    """Why a document is not taken."""

    reason: Reason
    text: str
    text_zh: str


class Facts(Struct, frozen=True):
    """What a box knows when it judges. `earliest`: a time that has certainly passed (Unix s); `revision`: of the last document taken."""

    device: str
    tenant: str
    revision: int
    schema: int
    now: int
    earliest: int
    running_hash: str


def canonical(document: Document) -> bytes:
    """The bytes that are signed."""
    return msgspec.json.encode(document, order="sorted")


def key_id(public: bytes) -> str:
    """Short name of a signing key."""
    return hashlib.sha256(public).hexdigest()[:16]


def content_hash(signed: bytes) -> str:
    """Name of a document's content in reports."""
    return hashlib.sha256(signed).hexdigest()


def wrap(document: Document, public: bytes, sign: Callable[[bytes], bytes]) -> bytes:
    """A signed document in its envelope."""
    signed = canonical(document)
    told = Envelope(base64.b64encode(signed).decode(), base64.b64encode(sign(signed)).decode(), key_id(public))
    return msgspec.json.encode(told) + b"\n"


def read(data: bytes, keys: Mapping[str, bytes], genuine: Callable[[bytes, bytes, bytes], bool]) -> tuple[Document, str] | Refusal:
    """Document and content hash of an envelope. `keys`: trusted public keys by identifier; `genuine(public, signature, data)`."""
    if len(data) > MOST_BYTES:
        return Refusal(
            "too-large", f"the document has {len(data)} bytes; at most {MOST_BYTES} are read", f"文档有 {len(data)} 字节，超出上限"
        )
    try:
        envelope = msgspec.json.decode(data, type=Envelope)
        signed, signature = (base64.b64decode(part, validate=True) for part in (envelope.signed, envelope.signature))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return Refusal("unreadable", f"is no signed document: {error}", f"不是签名文档：{error}")
    public = keys.get(envelope.key)
    if public is None:
        return Refusal(
            "unknown-key", f"is signed with key {envelope.key[:16]}, which this box does not trust; set central.keys",
            f"签名密钥 {envelope.key[:16]} 不受本机信任；请设置 central.keys",
        )  # fmt: skip
    if not genuine(public, signature, signed):
        return Refusal(
            "bad-signature", "the signature does not hold: the document was changed, or is a forgery", "签名无效：文档被改动或为伪造"
        )
    try:
        document = msgspec.json.decode(signed, type=Document)
        whole = canonical(document) == signed
    except (msgspec.MsgspecError, RecursionError) as error:
        return Refusal("unreadable", f"the signed document cannot be read: {error}", f"无法读取签名文档：{error}")
    if not whole:
        return Refusal("unreadable", "the signed document is not in its canonical form", "签名文档不是规范格式")
    return document, content_hash(signed)


def judge(document: Document, facts: Facts) -> Refusal | None:
    """Why this box does not take a genuine document; None when it does."""
    if document.device != facts.device:
        return Refusal(
            "wrong-device",
            f"is for box {document.device}, this is {facts.device}",
            f"该文档属于设备 {document.device}，本机为 {facts.device}",
        )
    if document.tenant != facts.tenant:
        return Refusal("wrong-tenant", f"is of tenant {document.tenant}, this box is of {facts.tenant}", f"租户不符：{document.tenant}")
    if not 1 <= document.schema <= facts.schema:
        return Refusal(
            "unknown-schema", f"is of schema {document.schema}; this version knows 1 to {facts.schema}: update the box first",
            f"配置版本 {document.schema} 未知，本机支持 1 至 {facts.schema}；请先升级",
        )  # fmt: skip
    if facts.now < facts.earliest:
        return Refusal(
            "clock-wrong", "the clock of this box is behind a time that has passed: whether the document has expired is not known; set it",
            "本机时钟落后，无法判断文档是否过期；请校准时间",
        )  # fmt: skip
    if facts.now > document.not_after:
        return Refusal("expired", "has expired; ask the centre for a fresh one", "文档已过期，请向中心索取新文档")
    if document.revision == facts.revision:
        return Refusal("known", f"revision {document.revision} was taken before", f"修订 {document.revision} 已处理")
    if document.revision < facts.revision:
        return Refusal(
            "lower-revision", f"is revision {document.revision}, older than {facts.revision} which this box has taken",
            f"修订 {document.revision} 低于本机已接受的 {facts.revision}",
        )  # fmt: skip
    if document.base_hash and document.base_hash != facts.running_hash:
        return Refusal(
            "other-base", "was made from another configuration than runs here; adopt or overwrite what was changed locally at the centre",
            "文档所依据的配置与本机现行配置不同：本地已有修改，请在中心处理",
        )  # fmt: skip
    if not 30 <= document.confirm_s <= 86_400:
        return Refusal(
            "unreadable", f"wants {document.confirm_s} s to confirm; allowed: 30 to 86400", f"确认时间 {document.confirm_s} 秒超出范围"
        )
    return None


# --- secrets ---------------------------------------------------------------------------------------------------------


def _walk(value: Any, path: str) -> Iterator[tuple[Any, Any, str]]:
    """Every text of a tree: its holder, its place there, its path."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        where = f"{path}.{key}" if path else str(key)
        if isinstance(item, str):
            yield value, key, where
        else:
            yield from _walk(item, where)


def binding(device: str, path: str) -> bytes:
    """What a sealed secret is bound to."""
    return f"{device}\0{path}".encode()


def seal_secrets(
    body: dict[str, Any], device: str, is_secret: Callable[[str], bool], seal: Callable[[bytes, bytes], bytes]
) -> dict[str, Any]:
    """A copy of a configuration whose secrets only that device reads. `seal(plain, bound_to)`."""
    copy: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(body))
    for holder, key, path in _walk(copy, ""):
        if holder[key] and is_secret(path):
            holder[key] = SEALED + base64.b64encode(seal(holder[key].encode(), binding(device, path))).decode()
    return copy


def open_secrets(
    body: dict[str, Any], device: str, is_secret: Callable[[str], bool], open_: Callable[[bytes, bytes], bytes | None]
) -> dict[str, Any] | Refusal:
    """A copy with its secrets in clear. `open_(sealed, bound_to)` gives None for what cannot be opened. A secret in clear is refused."""
    copy: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(body))
    for holder, key, path in _walk(copy, ""):
        text = holder[key]
        if not is_secret(path) or not text:
            continue
        plain: bytes | None = None
        if text.startswith(SEALED):
            try:
                plain = open_(base64.b64decode(text[len(SEALED) :], validate=True), binding(device, path))
                holder[key] = plain.decode() if plain is not None else ""
            except (ValueError, UnicodeDecodeError):
                plain = None
        if plain is None:
            return Refusal(
                "secrets", f"the secret at {path} is not sealed to this box; the centre must seal it to the key of `show device`",
                f"{path} 的密码未按本机密钥加密；请中心使用 show device 中的密钥",
            )  # fmt: skip
    return copy
