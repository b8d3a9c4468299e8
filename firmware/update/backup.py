"""A backup of the site: what belongs in it, sealed, and read back (L5).

Theory of operation
-------------------
A backup holds what makes the site: the configuration in force, generated passwords and PINs, the authority that telephones trust,
what each telephone was served, prompts of its own, forwards and learned lines (`state.db`). Not in it: recordings, messages and call
records (they
belong to the box that made them) and the keys that never leave a box: its identity, the key of its recordings, the key of its server
certificate. Each file stands in a manifest with its SHA-256. `collect` reads, `pack` and `unpack` are the format, `trial` restores into an
empty folder and compares byte by byte what came out: a backup that was never restored is a hope.
Invariants: nothing leaves unsealed; a name in a backup is one of `FILES` or a prompt, so that no backup writes anywhere else.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from firmware.errors import StoreError
from firmware.store import sealing
from firmware.store.configuration import in_force
from firmware.store.files import sync_folder, write_atomic

FORMAT = 1
SITE = "site.toml"
STATE = "state.db"
FILES = ("secrets.json", "phones.json", "tls/ca.crt", "tls/ca.key")
SECRET_FILES = frozenset(("secrets.json", "phones.json", "tls/ca.key", STATE))
MOST_PROMPTS = 400
_PROMPT = re.compile(r"prompts/(en|zh|any)/[A-Za-z0-9._-]{1,80}\Z|prompts/[A-Za-z0-9._-]{1,80}\Z")


class Meta(Struct, frozen=True):
    """Whose backup it is and when it was made; `counters`: records of the box at that time, for whoever joins old and new ones."""

    format: int
    device: str
    site: str
    version: str
    wall_ms: int
    revision: int
    generation: str
    counters: dict[str, int]
    files: dict[str, str]
    """SHA-256 of each file by name."""


class Content(Struct, frozen=True):
    """Everything in a backup."""

    meta: Meta
    files: dict[str, bytes]


def collect(state: Path, device: str, site: str, version: str, wall_ms: int) -> Content:
    """Read the state folder of an appliance, running or not. Raises StoreError."""
    kept = in_force(state / "config")
    if kept is None:
        raise StoreError(f"{state / 'config'}: holds no configuration; start the appliance once, or name its state folder with --state")
    files = {SITE: kept.text.encode()}
    try:
        for name in FILES:
            path = state / name
            if path.is_file():
                files[name] = path.read_bytes()
        prompts = sorted(path for path in (state / "prompts").rglob("*") if path.is_file())[:MOST_PROMPTS]
        for path in prompts:
            name = path.relative_to(state).as_posix()
            if _PROMPT.match(name):
                files[name] = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{error.filename}: cannot be read ({error.strerror}); make the backup as the user of the appliance") from error
    if (state / STATE).is_file():
        files[STATE] = _copied(state / STATE)
    generation, counters = _counters(state / "calls.db")
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    return Content(Meta(FORMAT, device, site, version, wall_ms, kept.revision.number, generation, counters, digests), files)


def _copied(path: Path) -> bytes:
    """A sound copy of a database that may be written to meanwhile."""
    try:
        source = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
        copy = sqlite3.connect(":memory:")
        try:
            source.backup(copy)
            return copy.serialize()
        finally:
            copy.close()
            source.close()
    except sqlite3.Error as error:
        raise StoreError(f"{path}: cannot be copied: {error}") from error


def _counters(path: Path) -> tuple[str, dict[str, int]]:
    """Generation of the call records, and the last number of each table that has them."""
    if not path.is_file():
        return "", {}
    try:
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
        try:
            generation = database.execute("SELECT value FROM store WHERE key = 'generation'").fetchone()
            contacts = database.execute("SELECT count(*) FROM contacts").fetchone()
            return str(generation[0]) if generation else "", {"contacts": int(contacts[0])}
        finally:
            database.close()
    except sqlite3.Error as error:
        raise StoreError(f"{path}: cannot be read: {error}") from error


def pack(content: Content, *, passphrase: str = "", recipient: bytes = b"") -> bytes:
    """The sealed file. Raises SealError."""
    return sealing.lock_up(msgspec.msgpack.encode(content), passphrase=passphrase, recipient=recipient)


def unpack(data: bytes, *, passphrase: str = "", private: bytes = b"") -> Content:
    """What is in a sealed file, every digest checked. Raises StoreError."""
    plain = sealing.unlock(data, passphrase=passphrase, private=private)
    try:
        content = msgspec.msgpack.decode(plain, type=Content)
    except msgspec.MsgspecError as error:
        raise StoreError(f"the backup was opened, but cannot be read: {error}") from error
    if content.meta.format != FORMAT:
        raise StoreError(f"the backup is of format {content.meta.format}; this version reads {FORMAT}: restore it with the newer one")
    if content.files.keys() != content.meta.files.keys() or SITE not in content.files:
        raise StoreError("the backup does not hold what its list says")
    for name, body in content.files.items():
        if name not in (SITE, STATE, *FILES) and not _PROMPT.match(name):
            raise StoreError(f"the backup holds {name!r}, which belongs in none")
        if hashlib.sha256(body).hexdigest() != content.meta.files[name]:
            raise StoreError(f"{name} in the backup is not what its list says")
    return content


def lay_down(content: Content, state: Path) -> None:
    """Write everything but the configuration, which goes in by its own way. Raises StoreError."""
    try:
        for name, body in content.files.items():
            if name == SITE:
                continue
            path = state / name
            path.parent.mkdir(mode=0o700 if name.startswith("tls/") else 0o755, parents=True, exist_ok=True)
            write_atomic(path, body, mode=0o600 if name in SECRET_FILES else 0o644)
            if name == STATE:
                for ending in ("-wal", "-shm"):
                    path.with_name(path.name + ending).unlink(missing_ok=True)
        for leaf in ("tls/server.crt", "tls/server.key"):
            (state / leaf).unlink(missing_ok=True)  # made anew under the authority that telephones trust
        sync_folder(state)
    except OSError as error:
        where = error.filename or state
        raise StoreError(f"{where}: cannot be written ({error.strerror}); mend that and restore the same file again") from error


def trial(
    data: bytes, content: Content, folder: Path, check: Callable[[bytes], list[str]], *, passphrase: str = "", private: bytes = b""
) -> None:
    """Restore a sealed file into the empty `folder` and compare. `check` tells what is wrong with a site file. Raises StoreError."""
    found = unpack(data, passphrase=passphrase, private=private)
    if found != content:
        raise StoreError("the trial restore gave other files than were put in")
    lay_down(found, folder)
    for name, body in content.files.items():
        if name != SITE and (folder / name).read_bytes() != body:
            raise StoreError(f"the trial restore of {name} differs")
    problems = check(found.files[SITE])
    if problems:
        raise StoreError(f"the configuration in the backup would be refused: {problems[0]}")
    if STATE in found.files:
        database = sqlite3.connect(folder / STATE)
        try:
            verdict = database.execute("PRAGMA integrity_check(1)").fetchone()[0]
        except sqlite3.Error as error:
            verdict = str(error)
        finally:
            database.close()
        if verdict != "ok":
            raise StoreError(f"{STATE} in the backup is not sound: {verdict}")


REDO = (
    ("telephones keep their passwords and trust this box; those that know it by another address: `phone re-arm`, or DHCP option 66",
     "话机密码与信任不变；若本机地址已变，请对相应话机执行 phone re-arm 或修改 DHCP 选项 66"),
    ("the centre: make the new box known there (its keys are new): `show device`", "在中心登记新设备（密钥已更新）：show device"),
    ("carriers that know the box by its address: tell them the new one", "若运营商按地址识别本机，请通知新地址"),
    ("recordings, voice messages and call records stay on the old box; a new generation of records begins",
     "录音、留言与话单留在旧设备上；新设备的话单从新的代次开始"),
    ("take the old box off the network: two boxes with one set of passwords answer telephones in turn",
     "请将旧设备断网，避免两台设备同时应答"),
)  # fmt: skip
