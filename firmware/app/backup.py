"""`branchpbx backup` and `branchpbx restore`: the site in one sealed file, and onto another box.

A backup is made while the appliance runs or not, and restored once into an empty folder before it counts as made. A restore shows what
would
change, asks, and writes: first passwords, authority and prompts, last the configuration, as a revision like any other, so `rollback` leads
back. The appliance must not run meanwhile. A passphrase is asked for, or comes from a file or the environment; it is never an argument,
where every process could read it.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import getpass
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

import firmware
from firmware.app.site import site_of
from firmware.config.diff import diff
from firmware.config.model import load
from firmware.config.schema.tree import Config
from firmware.errors import ConfigError, StoreError
from firmware.reports.columns import printable
from firmware.store import sealing
from firmware.store.configuration import ConfigurationStore, in_force
from firmware.store.files import write_atomic
from firmware.surfaces.cli.keeping import ENVIRONMENT, add_parsers
from firmware.update import backup

__all__ = ["ENVIRONMENT", "add_parsers", "make", "restore"]
MOST_LINES = 400


def make(options: argparse.Namespace, language: str) -> int:
    """Make a backup and prove it. Raises StoreError."""
    if options.new_key:
        return _new_key(options.file, language)
    key: dict[str, Any]
    if options.recipient is not None:
        recipient = sealing.unb64(options.recipient, "the recipient's key")
        key = {"recipient": recipient}
    else:
        key = {"passphrase": _passphrase(options.passphrase_file, language, twice=True)}
    device = sealing.Device(options.state / "device").public.device
    kept = in_force(options.state / "config")
    name = _config_of(kept.text).site.name if kept is not None else ""
    content = backup.collect(options.state, device, name, firmware.__version__, int(time.time() * 1000))
    size = write_proved(content, options.file, options.state, **key)
    said = (
        f"{options.file}：{len(content.files)} 个文件，{size} 字节，已通过试恢复验证\n" if language == "zh"
        else f"{options.file}: {len(content.files)} files, {size} bytes, proved by a trial restore\n"
    )  # fmt: skip
    sys.stdout.write(said)
    return 0


def write_proved(content: backup.Content, path: Path, state: Path, *, passphrase: str = "", recipient: bytes = b"") -> int:
    """Seal, restore on trial, write, read back; the size in bytes. Raises StoreError, and then there is no file."""
    data = backup.pack(content, passphrase=passphrase, recipient=recipient)
    proof, private = data, b""
    if recipient:
        # Nobody here can open what is sealed to somebody else: the same content, sealed to a key of the moment, is restored instead.
        private = os.urandom(sealing.KEY_BYTES)
        proof = backup.pack(content, recipient=sealing.public_of(private))
    with tempfile.TemporaryDirectory(prefix="trial-", dir=state) as folder:
        backup.trial(proof, content, Path(folder), _wrong_with, passphrase=passphrase, private=private)
    try:
        _written(path, data)
        if path.read_bytes() != data:
            raise StoreError(f"{path}: reads back as something else; use another medium")
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror}); name a file on a medium with space") from error
    return len(data)


def _written(path: Path, data: bytes) -> None:
    """Whole or absent; on a stick whose file system knows no modes, too. Raises OSError."""
    with contextlib.suppress(PermissionError):
        write_atomic(path, data, mode=0o600)
        return
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _wrong_with(text: bytes) -> list[str]:
    return [one.text() for one in site_of(text, backup.SITE).problems]


def _new_key(path: Path, language: str) -> int:
    private = os.urandom(sealing.KEY_BYTES)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"{path}: cannot be made ({error.strerror}); a key is never written over") from error
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(sealing.b64(private) + "\n")
    said = "公钥（用于 --recipient）：" if language == "zh" else "public key, for --recipient: "
    sys.stdout.write(said + sealing.b64(sealing.public_of(private)) + "\n")
    return 0


def restore(options: argparse.Namespace, language: str) -> int:
    """Put a backup back. 0 done (or dry run), 1 not done. Raises StoreError."""
    zh = language == "zh"
    try:
        data = options.file.read_bytes()
    except OSError as error:
        raise StoreError(f"{options.file}: cannot be read ({error.strerror})") from error
    key: dict[str, Any]
    if options.key is not None:
        try:
            key = {"private": sealing.unb64(options.key.read_text(encoding="ascii").strip(), str(options.key))}
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"{options.key}: cannot be read ({error})") from error
    else:
        key = {"passphrase": _passphrase(options.passphrase_file, language, twice=False)}
    content = backup.unpack(data, **key)
    site = site_of(content.files[backup.SITE], backup.SITE)
    if site.config is None:
        for problem in site.problems:
            sys.stderr.write(problem.text() + "\n")
        raise StoreError("the configuration in the backup does not fit this box or version; nothing was changed")
    with _alone(options.state):
        device = sealing.Device(options.state / "device").public.device
        meta = content.meta
        if meta.device != device and not options.replace:
            raise StoreError(
                f"the backup is of box {meta.device}, this is {device}; `--replace` makes this box take its place, nothing was changed"
            )
        _show(content, site.config, options.state, zh)
        if options.dry_run:
            return 0
        if not options.yes and not _agreed(zh):
            sys.stdout.write("未作修改\n" if zh else "nothing was changed\n")
            return 1
        store = ConfigurationStore(options.state / "config")
        store.over("a backup was restored")           # a trial that the last run left; none is no matter
        backup.lay_down(content, options.state)
        made = datetime.fromtimestamp(meta.wall_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
        revision = store.commit(content.files[backup.SITE].decode(), "restore", f"backup of {meta.device}, {made}", how="import")
        if meta.device != device:
            write_atomic(options.state / "replaced.json", replacement(meta), mode=0o600)
    sys.stdout.write(f"已恢复，配置修订号 {revision.number}\n" if zh else f"restored as revision {revision.number} of the configuration\n")
    if options.replace:
        sys.stdout.write("还需处理：\n" if zh else "still to be done:\n")
        for english, chinese in backup.REDO:
            sys.stdout.write(f"  - {chinese if zh else english}\n")
    return 0


def replacement(meta: backup.Meta) -> bytes:
    """Which box this one replaced, for records that are joined later."""
    return msgspec.json.encode(
        {
            "device": meta.device, "generation": meta.generation, "counters": meta.counters, "backup_ms": meta.wall_ms,
            "at_ms": int(time.time() * 1000),
        }
    )


def _show(content: backup.Content, config: Config, state: Path, zh: bool) -> None:
    kept = in_force(state / "config")
    present = _config_of(kept.text) if kept is not None else Config()
    meta = content.meta
    when = datetime.fromtimestamp(meta.wall_ms / 1000, UTC).isoformat(" ", "minutes")[:16]
    sys.stdout.write(
        printable(f"{meta.site}：设备 {meta.device}，{when} UTC，版本 {meta.version}" if zh else
                  f"{meta.site}: box {meta.device}, {when} UTC, version {meta.version}") + "\n"
    )  # fmt: skip
    changes = diff(present, config)
    signs = {"added": "+", "removed": "-", "changed": "~"}
    for change in changes[:MOST_LINES]:
        old, new = ("" if value is None else str(value) for value in (change.old, change.new))
        shown = f"{old} -> {new}" if change.kind == "changed" else old or new
        sys.stdout.write(printable(f"{signs[change.kind]} {change.path} {shown}")[:200] + "\n")
    if len(changes) > MOST_LINES:
        sys.stdout.write(f"... {len(changes) - MOST_LINES}\n")
    if not changes:
        sys.stdout.write("配置无变化\n" if zh else "the configuration is the same\n")
    names = [name for name in content.files if name != backup.SITE]
    same = [name for name in names if (state / name).is_file() and (state / name).read_bytes() == content.files[name]]
    said = f"文件 {len(names)} 个，其中 {len(same)} 个相同：" if zh else f"{len(names)} files, {len(same)} of them the same: "
    sys.stdout.write(said + " ".join(names) + "\n")


def _config_of(text: str) -> Config:
    """A stored configuration; one that this version cannot read is compared as if there were none."""
    try:
        return load(text.encode(), file="startup.toml")
    except ConfigError:
        return Config()


def _agreed(zh: bool) -> bool:
    sys.stdout.write("写入以上内容？请输入 yes：" if zh else "write this? type yes: ")
    sys.stdout.flush()
    return sys.stdin.readline().strip() == "yes"


def _passphrase(path: Path | None, language: str, *, twice: bool) -> str:
    if path is not None:
        try:
            return path.read_text(encoding="utf-8").partition("\n")[0]
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"{path}: cannot be read ({error})") from error
    found = os.environ.get(ENVIRONMENT, "")
    if found:
        return found
    if not sys.stdin.isatty():
        raise StoreError(f"no passphrase: give --passphrase-file FILE, or {ENVIRONMENT} in the environment")
    said = getpass.getpass("口令：" if language == "zh" else "Passphrase: ")
    if twice and getpass.getpass("再次输入：" if language == "zh" else "Again: ") != said:
        raise StoreError("the two passphrases differ / 两次输入不一致")
    return said


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Hold the lock of the state folder: no appliance runs on it meanwhile. Raises StoreError."""
    try:
        (state / "run").mkdir(parents=True, exist_ok=True)
        descriptor = os.open(state / "run" / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"{state}: cannot be used ({error.strerror}); name the state folder with --state") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"an appliance runs on {state}; stop it, restore, and start it again") from None
        yield
    finally:
        os.close(descriptor)
