"""The centre's documents as manage takes them: fetched, handed in or found on a stick; tried, confirmed or taken back; reported.

Theory of operation
-------------------
`fleet/document.py` judges and `fleet/trial.py` says what comes next; this part carries it out. A document goes in as the candidate and
runs by
`commit confirmed`: reverting is that machine's work and happens even if this process dies. While it runs, the box reports to the address
of its
*new* configuration; an answer means that the centre can still be reached, and the trial is confirmed. Where no address is configured, a
person
confirms. What was taken and what was not yet told is in `central.json`, written before anything is begun. Pulls come at the interval give
or
take a third, so that thousands of boxes do not ask in the same second. A box makes itself known first (`hello`: keys and labels, signed),
and one without any document asks each minute: it was just plugged in. Clock: the latest time that is known to have passed is that of the
last
revision and of this software; before it nothing can be said of expiry.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from firmware.app.audit import next_batch
from firmware.config.diff import content_hash, setting
from firmware.config.model import load
from firmware.config.render import toml_of
from firmware.config.schema.tree import SCHEMA_VERSION, Config
from firmware.control import central_commands as cc
from firmware.control.central_commands import CentralOffer, CentralResult, DeviceResult, ShowCentral, ShowDevice
from firmware.control.configuration_commands import (
    CommitConfirmed,
    ConfigurationDiscard,
    ConfigurationLoad,
    Confirm,
    ShowDiff,
    ShowTrial,
)
from firmware.control.gate import Gate, Peer, Reply
from firmware.control.provision_commands import ShowIdentity
from firmware.errors import ConfigError, StoreError
from firmware.fleet import trial
from firmware.fleet.document import MOST_BYTES, Document, Facts, Refusal, judge, key_id, open_secrets, read
from firmware.fleet.document import content_hash as fingerprint
from firmware.fleet.parts import PartError, Parts
from firmware.fleet.trial import Progress, report
from firmware.net import tls
from firmware.store import sealing
from firmware.store.audit import AuditTrail
from firmware.store.configuration import in_force
from firmware.store.files import write_atomic

CENTRE = Peer("centre", "admin")
RELEASED = 1_767_225_600        # 2026-01-01: this software is younger than that
LOOK_S = 2.0
REACH_S = 5.0
FETCH_S = 20.0
NEW_S = 60.0             # between questions of a box that has no document yet: its installer waits
AUDIT_S = 60.0           # between batches of the audit trail
SUFFIX = ".bpx"
PASSING = ("busy", "clock-wrong", "other-base")       # reasons that go away without another document

log = logging.getLogger("branchpbx.central")


class CentralPart:
    """See the theory of operation above. `perform` gives a command in somebody's name; `config` is what runs."""

    def __init__(
        self, *, state: Path, config: Callable[[], Config], perform: Callable[[Peer, str, Any], Awaitable[Reply]],
        wall_s: Callable[[], int] = lambda: int(time.time()), trail: AuditTrail | None = None,
    ) -> None:  # fmt: skip
        self._state = state
        self._config = config
        self._perform = perform
        self._wall_s = wall_s
        self._device: sealing.Device | None = None
        self._progress = self._load()
        self._busy = asyncio.Lock()
        self._seen: set[tuple[str, int, int]] = set()
        self._parts = Parts()
        self._greeted = ""               # address that knows this box
        self._trail = trail
        self._tell_audit_at = 0.0        # monotonic

    def attach(self, gate: Gate) -> None:
        """Answer the commands."""
        gate.handle(ShowDevice, lambda _: self._shown_device())
        gate.handle(ShowCentral, lambda _: self._shown())
        gate.handle(CentralOffer, self._offered)
        gate.handle(cc.CentralPart, self._part)

    async def run(self) -> None:
        """Ask, look for sticks, follow a trial to its end. A child of manage's supervisor."""
        ask_at = time.monotonic() + random.uniform(0, 20)
        while True:
            await asyncio.sleep(LOOK_S)
            settings = self._config().central
            try:
                if self._progress.state == "trial":
                    await self._follow()
                elif not self._progress.reported and settings.url:
                    await self._tell()
                if settings.folder:
                    await self._look(Path(settings.folder))
                if settings.url and settings.keys and time.monotonic() >= ask_at:
                    pause_s = settings.interval_min * 60 if self._progress.taken else min(NEW_S, settings.interval_min * 60)
                    ask_at = time.monotonic() + pause_s * random.uniform(2 / 3, 4 / 3)
                    await self._pull()
                if settings.url and settings.keys and time.monotonic() >= self._tell_audit_at:
                    await self._tell_audit()
            except StoreError as error:
                log.error("%s", error)

    # --- commands -----------------------------------------------------------------------------------------------------

    def device(self) -> sealing.Device:
        """The keys of this box. Raises StoreError."""
        if self._device is None:
            self._device = sealing.Device(self._state / "device")
        return self._device

    def _shown_device(self) -> DeviceResult:
        public = self.device().public
        return DeviceResult(public.device, public.sealing, public.identity)

    def _shown(self) -> CentralResult:
        now = self._progress
        return CentralResult(
            now.state, now.revision, now.taken, now.reason, now.text, now.text_zh, now.content[:12], now.source, now.reported
        )

    async def _offered(self, command: CentralOffer) -> CentralResult:
        await self.offer(command.document.encode(), "console")
        return self._shown()

    async def _part(self, command: cc.CentralPart) -> cc.PartResult:
        try:
            whole = self._parts.take(command.part, command.name, command.data)
        except PartError as error:
            return cc.PartResult(0, [], "unreadable", str(error), "不是文档的一段，或各段不匹配；请重新扫描全部二维码")
        there, missing = len(self._parts.there), self._parts.missing
        if whole is None:
            rest = " ".join(map(str, missing))
            return cc.PartResult(there, missing, "incomplete", f"still missing: {rest}", f"还缺：{rest}")
        await self.offer(whole, "QR")
        now = self._progress
        return cc.PartResult(int(command.part.partition("/")[2]), [], now.state, now.text or now.state, now.text_zh or now.state)

    # --- a document on its way ----------------------------------------------------------------------------------------

    async def offer(self, data: bytes, source: str) -> None:
        """Take a document as far as its trial; what came of it is in `_progress`. Raises StoreError."""
        async with self._busy:
            await self._end_of_trial()
            if self._progress.state not in ("idle", "confirmed", "refused", "rolled_back"):
                log.warning("a document from %s waits: another one is on trial", source)
                return
            found = read(data, self._keys(), sealing.signed_by)
            if isinstance(found, Refusal):
                # Whoever sent it is not known: nothing of it is kept but that it came.
                came = fingerprint(data)
                if not self._ended_so(came):
                    self._take("offer", content=came, source=source)
                    self._refuse(found)
                return
            document, content = found
            refusal = judge(document, self._facts())
            if (refusal is not None and refusal.reason == "known") or self._ended_so(content):
                return
            self._take("offer", revision=document.revision, content=content, source=source)
            if refusal is None:
                body = open_secrets(document.body, document.device, lambda path: setting(path).secret, self._opened)
                refusal = body if isinstance(body, Refusal) else await self._begin(document, body)
            if refusal is not None:
                self._refuse(refusal)

    def _ended_so(self, content: str) -> bool:
        """True for a document that was refused or taken back as it is: it is not tried again and again."""
        now = self._progress
        return now.content == content and now.state in ("refused", "rolled_back") and now.reason not in PASSING

    def _keys(self) -> dict[str, bytes]:
        keys = [sealing.unb64(key, "central.keys") for key in self._config().central.keys]
        return {key_id(key): key for key in keys}

    def _facts(self) -> Facts:
        config = self._config()
        return Facts(
            self.device().public.device, config.central.tenant, self._progress.taken, SCHEMA_VERSION, self._wall_s(), self._earliest(),
            self._running_hash,
        )  # fmt: skip

    def _earliest(self) -> int:
        """A time that has passed: when the last revision of the configuration was made, or this software."""
        with contextlib.suppress(OSError):
            return max(RELEASED, int((self._state / "config" / "startup.toml").stat().st_mtime) - 86_400)
        return RELEASED

    def _opened(self, sealed: bytes, bound_to: bytes) -> bytes | None:
        try:
            return self.device().open(sealed, bound_to)
        except sealing.SealError:
            return None

    @property
    def _running_hash(self) -> str:
        """Of what is stored: what runs has generated passwords filled in, which no centre knows."""
        kept = in_force(self._state / "config")
        with contextlib.suppress(ConfigError):
            return content_hash(load(kept.text.encode(), file="startup.toml")) if kept is not None else ""
        return ""

    async def _begin(self, document: Document, body: dict[str, Any]) -> Refusal | None:
        """Put the document on trial; why that does not go."""
        if await self._ask(ShowDiff.path, {}):
            return Refusal("busy", "somebody edits the configuration here; it is tried again once that is committed or discarded",
                           "有人正在编辑本机配置，提交或放弃后将重试")  # fmt: skip
        self._take("good")
        reply = await self._perform(CENTRE, ConfigurationLoad.path, {"text": toml_of({"schema": document.schema, **body})})
        if reply["ok"] and reply["result"].get("problems"):
            reply = {"ok": False, "error": {"message": str(reply["result"]["problems"][0])}}
        if reply["ok"]:
            note = f"document {document.revision} of the centre"
            reply = await self._perform(CENTRE, CommitConfirmed.path, {"seconds": document.confirm_s, "note": note})
        if not reply["ok"]:
            await self._perform(CENTRE, ConfigurationDiscard.path, {})
            message = str(reply["error"]["message"])
            return Refusal("configuration", f"the configuration in it is refused: {message}", f"其中的配置被拒绝：{message}")
        self._take("begun", local=int(reply["result"]["revision"]))
        return None

    def _refuse(self, refusal: Refusal) -> None:
        given: trial.Given = "bad" if self._progress.state == "offered" else "not_begun"
        self._take(given, reason=refusal.reason, text=refusal.text, text_zh=refusal.text_zh)
        log.warning("document %d refused: %s", self._progress.revision, refusal.text)

    async def _follow(self) -> None:
        """While a trial runs: reach the centre with the new settings, or see that it is over."""
        async with self._busy:
            if await self._end_of_trial() or self._progress.state != "trial":
                return
            if self._config().central.url and await self._post():
                reply = await self._perform(CENTRE, Confirm.path, {})
                if reply["ok"]:
                    self._take("reached")
                    log.info("document %d confirmed: the centre is reached with it", self._progress.revision)
                    await self._post()

    async def _end_of_trial(self) -> bool:
        """Look what became of the trial, here or in an earlier process."""
        if self._progress.state not in ("valid", "trial"):
            return False
        shown = await self._ask(ShowTrial.path, {})
        now = self._progress
        if now.state == "valid":       # this process ended between the commit and its note
            if shown["state"] == "trial" and shown["author"] == CENTRE.name:
                self._take("begun", local=int(shown["running"]))
            else:
                self._take("not_begun", reason="configuration", text="its trial was never begun", text_zh="未能开始试用")
            return self._progress.state != "trial"
        if shown["state"] == "trial" and int(shown["running"]) == now.local:
            return False
        if int(shown["startup"]) == now.local:
            self._take("confirmed_here")
            return True
        why = str(shown.get("reverted") or "it was not confirmed in time")
        chinese = str(shown.get("reverted_zh") or "未在规定时间内确认")
        self._take("over", reason="not-confirmed", text=f"taken back: {why}", text_zh=f"已恢复：{chinese}")
        log.warning("document %d taken back: %s", now.revision, why)
        return True

    # --- the server ---------------------------------------------------------------------------------------------------

    async def _hello(self) -> None:
        """Tell the centre who this box is and which keys it has, signed; once for each start and address."""
        settings, device = self._config().central, self.device()
        reply = await self._perform(CENTRE, ShowIdentity.path, {})
        known = reply["result"] if reply["ok"] else {}
        facts = {name: str(known.get(name, "")) for name in ("product", "version", "model", "serial", "mac")}
        keys = {"device": device.public.device, "sealing": device.public.sealing, "identity": device.public.identity}
        body = msgspec.json.encode({**facts, **keys, "tenant": settings.tenant, "revision": self._progress.taken}, order="sorted")
        if await self._posted("hello", body, "a hello"):
            self._greeted = settings.url

    async def _pull(self) -> None:
        from firmware.net.https import HttpError, fetch

        settings, public = self._config().central, self.device().public
        if self._greeted != settings.url:
            await self._hello()
        try:
            data = await fetch(
                f"{settings.url}/{public.device}", self._context(), most=MOST_BYTES, timeout_s=FETCH_S,
                headers={"X-Branchpbx-Revision": str(self._progress.taken)},
            )  # fmt: skip
        except (HttpError, OSError) as error:
            log.info("the centre does not answer: %s", error)
            return
        if data:
            await self.offer(data, settings.url)

    async def _tell(self) -> None:
        async with self._busy:
            await self._post()

    async def _post(self) -> bool:
        """Report the present state, signed by this box; True when the centre took it."""
        now = self._progress
        body = msgspec.json.encode(report(now, self.device().public.device), order="sorted")
        if not await self._posted("report", body, "a report"):
            return False
        if now.state in ("confirmed", "refused", "rolled_back"):
            self._note(msgspec.structs.replace(now, reported=True))
        return True

    async def _tell_audit(self) -> None:
        """Give the centre what it lacks of the audit trail, one batch."""
        device, settings = self.device(), self._config().central
        batch = next_batch(self._trail, device.public.device) if self._trail is not None else None
        self._tell_audit_at = time.monotonic() + AUDIT_S
        if batch is None or self._trail is None:
            return
        body = msgspec.json.encode(batch, order="sorted")
        if await self._posted("audit", body, "records of the audit trail"):
            self._trail.note_sent(batch.records[-1].seq)
        else:
            self._tell_audit_at = time.monotonic() + settings.interval_min * 60

    async def _posted(self, what: str, body: bytes, named: str) -> bool:
        """POST this to the centre, signed by this box; True when it was taken."""
        from firmware.net.https import HttpError, post

        device, settings = self.device(), self._config().central
        signed = json.dumps({"report": sealing.b64(body), "signature": sealing.b64(device.sign(body))}).encode()
        try:
            await post(f"{settings.url}/{device.public.device}/{what}", self._context(), signed, timeout_s=REACH_S)
        except (HttpError, OSError) as error:
            log.info("the centre does not take %s: %s", named, error)
            return False
        return True

    def _context(self) -> Any:
        settings = self._config().central
        return tls.client_context(Path(settings.ca) if settings.ca else None)

    # --- sticks -------------------------------------------------------------------------------------------------------

    async def _look(self, folder: Path) -> None:
        """Take documents for this box from a stick, each once."""
        name = f"{self.device().public.device}{SUFFIX}"
        path = folder / name
        try:
            stat = path.stat()
            mark = (str(path), stat.st_mtime_ns, stat.st_size)
            if mark in self._seen or stat.st_size > 2 * MOST_BYTES or not path.is_file() or path.is_symlink():
                return
            data = path.read_bytes()
        except OSError:
            return
        self._seen = {mark}
        await self.offer(data, f"stick {name}")
        if self._progress.reason == "busy":
            self._seen.clear()

    # --- what is kept -------------------------------------------------------------------------------------------------

    def _take(self, given: trial.Given, **facts: Any) -> None:
        after, _ = trial.step(self._progress, given, **facts)
        self._note(after)

    def _note(self, after: Progress) -> None:
        try:
            write_atomic(self._state / "central.json", msgspec.json.encode(after), mode=0o600)
        except OSError as error:
            raise StoreError(f"{self._state / 'central.json'}: cannot be written ({error.strerror}); no document is taken") from error
        self._progress = after

    def _load(self) -> Progress:
        try:
            return msgspec.json.decode((self._state / "central.json").read_bytes(), type=Progress)
        except FileNotFoundError:
            return Progress()
        except (OSError, msgspec.DecodeError) as error:
            log.error("central.json cannot be read (%s): which documents were taken is not known", error)
            return Progress()

    async def _ask(self, path: str, args: dict[str, Any]) -> Any:
        reply = await self._perform(CENTRE, path, args)
        if not reply["ok"]:
            raise StoreError(f"{path}: {reply['error']['message']}")
        return reply["result"]
