"""What the scripted mode asks of management: identity, log-in by challenge, files in and out (L6).

Theory of operation
-------------------
Identity: `store/identity.py`; after `seal` it is not written again. A user's proof is checked with the stored key of the
password (`control/passwords.py`), that of `site` with `site.key`. While no user has a password and no key of the site is there, the box is
new: who holds the cable is its administrator, as at the console. An unknown user gets a salt that is always the same and fails like a wrong
proof. Wrong proofs cost a pause that doubles up to the console's `wrong_wait_s`; there is no lock (R5). Files: `store/spool.py`; a site
file goes into the candidate by the command `load`, a signed document by `central offer`, under the rights of who sent it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import io
import secrets
import tarfile
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import firmware
from firmware.app import prompts
from firmware.control import passwords
from firmware.control import provision_commands as wire
from firmware.control.gate import Gate, Peer, asking
from firmware.errors import CommandError, NotAllowed
from firmware.prompts import site_root
from firmware.store.files import write_atomic
from firmware.store.identity import read_identity, write_identity
from firmware.store.spool import Piece, Spool
from firmware.wire import proof

SITE_USER = "site"
LOG_MOST = 64 << 20
OUT_KIND = "logs"
Ask = Callable[..., Awaitable[Any]]


class FileRefused(CommandError):
    """A file that came in cannot be used; `facts` has every problem."""

    def __init__(self, message: str, facts: dict[str, Any]) -> None:
        super().__init__(message)
        self.facts = facts


class Provisioning:
    """See the theory of operation above. `config` gives the running configuration, `core` asks a command of core."""

    def __init__(self, state: Path, board: str, zone: Callable[[], ZoneInfo], config: Callable[[], Any], core: Ask) -> None:
        self._state = state
        self._board = board
        self._zone = zone
        self._config = config
        self._core = core
        self._spool = Spool(state / "spool")
        self._wrong = 0
        self._wait_until = 0.0
        self._veil = secrets.token_bytes(32)
        self._gate: Gate | None = None

    def attach(self, gate: Gate) -> None:
        """Answer the commands."""
        self._gate = gate
        gate.handle(wire.ShowIdentity, lambda _: self.identity())
        gate.handle(wire.IdentityWrite, self.write_identity)
        gate.handle(wire.LoginChallenge, self.challenge)
        gate.handle(wire.LoginProve, self.prove)
        gate.handle(wire.TransferBegin, self._begin)
        gate.handle(wire.TransferCut, lambda command: self._told(self._spool.cut(command.transfer, command.offset)))
        gate.handle(wire.TransferWrite, self._write)
        gate.handle(wire.TransferFinish, self._finish)
        gate.handle(wire.TransferOpen, self._open)
        gate.handle(wire.TransferRead, self._read)
        gate.handle(wire.TransferDigest, self._digest)
        gate.handle(wire.ShowSpool, lambda _: self._rows())

    # --- identity -----------------------------------------------------------------------------------------------------

    def identity(self) -> wire.IdentityResult:
        """Who this box is."""
        known = read_identity(self._state)
        return wire.IdentityResult(
            product="BranchPBX", version=firmware.__version__, model=self._board, serial=known.get("serial", ""), mac=known.get("mac", ""),
            sealed=bool(known.get("sealed")), device=known.get("device", ""), public_key=known.get("public_key", ""),
        )  # fmt: skip

    def write_identity(self, command: wire.IdentityWrite) -> wire.IdentityResult:
        """Once, at the factory. The key is there before the seal: a power cut between them leaves a box that is written again."""
        if command.site_key and not read_identity(self._state).get("sealed"):
            write_atomic(self._state / "site.key", bytes.fromhex(command.site_key), mode=0o600)
        write_identity(self._state, command.serial, command.mac, command.seal)
        return self.identity()

    # --- log-in -------------------------------------------------------------------------------------------------------

    def challenge(self, command: wire.LoginChallenge) -> wire.ChallengeResult:
        """How the key of the proof is made."""
        stored = self._stored(command.user)
        if stored is not None:
            return wire.ChallengeResult(free=self._free(), n=stored.n, r=stored.r, p=stored.p, salt=base64.b64encode(stored.salt).decode())
        pretended = hmac.new(self._veil, command.user.encode(), hashlib.sha256).digest()
        salt = "".join(passwords.ALPHABET[byte & 63] for byte in pretended[: passwords.SALT_CHARACTERS])
        return wire.ChallengeResult(
            free=self._free(), n=1 << passwords.LOG_N, r=passwords.R, p=passwords.P, salt=base64.b64encode(salt.encode()).decode()
        )

    async def prove(self, command: wire.LoginProve) -> wire.ProofResult:
        """Who it is. Raises NotAllowed, after a pause."""
        about, shown = bytes.fromhex(command.about), bytes.fromhex(command.proof)
        if self._free():
            return wire.ProofResult(command.user, "admin", self._language(""), "")
        wait = self._wait_until - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        key, role = self._key(command.user)
        right = key is not None and hmac.compare_digest(proof.tool_proof(key, about), shown)
        if not right or key is None:
            self._wrong += 1
            self._wait_until = time.monotonic() + min(2 ** min(self._wrong - 1, 16), self._config().console.wrong_wait_s)
            raise NotAllowed(f"user {command.user} or its password is not right")
        self._wrong = 0
        return wire.ProofResult(command.user, role, self._language(command.user), proof.device_proof(key, about).hex())

    def _free(self) -> bool:
        return not (self._state / "site.key").is_file() and not any(user.password for user in self._config().users.values())

    def _stored(self, name: str) -> passwords.Stored | None:
        user = self._config().users.get(name)
        return passwords.parse(user.password) if user is not None else None

    def _key(self, name: str) -> tuple[bytes | None, str]:
        stored = self._stored(name)
        if stored is not None:
            return stored.key, str(self._config().users[name].role)
        if name == SITE_USER and (self._state / "site.key").is_file():
            return (self._state / "site.key").read_bytes(), "admin"
        return None, ""

    def _language(self, name: str) -> str:
        user = self._config().users.get(name)
        return str(user.language if user is not None else self._config().console.language)

    # --- files --------------------------------------------------------------------------------------------------------

    def _told(self, piece: Piece, offset: int | None = None) -> wire.TransferResult:
        there = piece.there if offset is None else offset
        return wire.TransferResult(piece.ident, piece.size, there, self._spool.digest(piece.ident, there))

    def _begin(self, command: wire.TransferBegin) -> wire.TransferResult:
        if command.kind == "prompt":
            prompts.checked(command.name.removesuffix(".wav"))
        return self._told(self._spool.begin(command.kind, command.name, command.size, command.digest))

    def _write(self, command: wire.TransferWrite) -> wire.TransferResult:
        try:
            data = base64.b64decode(command.data, validate=True)
        except ValueError as error:
            raise CommandError(f"a piece of transfer {command.transfer} is no base64 ({error})") from None
        piece = self._spool.write(command.transfer, command.offset, data)
        return wire.TransferResult(piece.ident, piece.size, piece.there, "")

    def _digest(self, command: wire.TransferDigest) -> wire.TransferResult:
        return self._told(self._spool.state(command.transfer), command.offset)

    def _read(self, command: wire.TransferRead) -> wire.PieceResult:
        data = self._spool.read(command.transfer, command.offset, command.count)
        return wire.PieceResult(command.offset, base64.b64encode(data).decode())

    def _rows(self) -> list[wire.SpoolRow]:
        return [wire.SpoolRow(one.name, one.kind, one.size, one.there, self._local(one.wall_s)) for one in self._spool.files()]

    def _local(self, wall_s: int) -> str:
        return datetime.fromtimestamp(wall_s, self._zone()).isoformat(" ", "seconds")[:19]

    async def _finish(self, command: wire.TransferFinish) -> wire.DeliveredResult:
        piece, path = self._spool.finish(command.transfer)
        if piece.kind == "bundle":
            way = f"update install {path}"
            return wire.DeliveredResult(piece.kind, piece.name, piece.size, f"kept; `{way}` installs it", f"已保存；用 {way} 安装")
        if piece.kind == "prompt":
            return await self._prompt(piece, path)
        taker, argument = ("load", "text") if piece.kind == "site" else ("central offer", "document")
        reply = await self._given(piece, path, taker, argument)
        if piece.kind == "document":
            says = reply["result"]
            return wire.DeliveredResult(piece.kind, piece.name, piece.size, str(says["says"]), str(says["says_zh"]))
        count = reply["result"]["changes"]
        return wire.DeliveredResult(piece.kind, piece.name, piece.size, f"{count} changes in the candidate", f"候选配置有 {count} 项修改")

    async def _prompt(self, piece: Piece, path: Path) -> wire.DeliveredResult:
        name = prompts.checked(piece.name.removesuffix(".wav"))
        seconds = await asyncio.to_thread(prompts.add, site_root(self._state), name, str(path))
        await self._core("prompt load", prompt=name)
        self._spool.remove(piece.ident)
        return wire.DeliveredResult(piece.kind, name, piece.size, f"{seconds:.1f} s, in use now", f"{seconds:.1f} 秒，已启用")

    async def _given(self, piece: Piece, path: Path, command: str, argument: str) -> dict[str, Any]:
        """Reply to the command that takes the text of this file, under the name of who sent it. Raises FileRefused."""
        assert self._gate is not None
        try:
            text = (await asyncio.to_thread(path.read_bytes)).decode("utf-8")
        except UnicodeDecodeError as error:
            self._spool.remove(piece.ident)
            raise CommandError(f"{piece.name} is no text in UTF-8 ({error.reason} at byte {error.start})") from None
        reply = await self._gate.perform(Peer(asking(), "admin"), command, {argument: text})
        self._spool.remove(piece.ident)
        if not reply["ok"]:
            facts = {name: value for name, value in reply["error"].items() if name not in ("kind", "message")}
            raise FileRefused(str(reply["error"]["message"]), facts)
        return reply

    async def _open(self, command: wire.TransferOpen) -> wire.TransferResult:
        for piece in self._spool.files():
            if piece.digest == command.digest and piece.kind == f"out:{command.kind}":
                return self._told(piece)
        content = await asyncio.to_thread(_logs, self._state / "log")
        return self._told(self._spool.offer(command.kind, content))


def _logs(folder: Path) -> bytes:
    """Archive of the logs, the newest first, up to `LOG_MOST` bytes of them."""
    out, total = io.BytesIO(), 0
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=6) as archive:
        files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
        for path in sorted(files, key=lambda one: one.stat().st_mtime, reverse=True):
            content = path.read_bytes()
            total += len(content)
            if total > LOG_MOST:
                break
            facts = tarfile.TarInfo(f"log/{path.relative_to(folder).as_posix()}")
            facts.size, facts.mtime, facts.mode = len(content), int(path.stat().st_mtime), 0o600
            archive.addfile(facts, io.BytesIO(content))
    return out.getvalue()
