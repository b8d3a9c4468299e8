"""Signed documents: why one is refused, what a trial leads to, and the tool that signs; over real HTTPS where a server takes part."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import ssl
import time
import tomllib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from firmware.app.central import CentralPart
from firmware.config.model import check, load
from firmware.config.schema.tree import SCHEMA_VERSION, Config
from firmware.control.gate import Gate, Peer, Reply
from firmware.fleet import trial
from firmware.fleet.document import Document, Envelope, Facts, Refusal, canonical, judge, key_id, open_secrets, read, seal_secrets, wrap
from firmware.fleet.parts import MOST_DATA, PartError, Parts, fields, lines
from firmware.fleet.trial import Progress, step
from firmware.runtime.bus import Bus
from firmware.runtime.clock import ManualClock
from firmware.store import audit, sealing
from firmware.store.certificates import ensure
from firmware.store.configuration import ConfigurationStore, in_force
from firmware.store.db import Database
from tools import sign_config

PRIVATE, PUBLIC = sealing.make_signing_key()
KEYS = {key_id(PUBLIC): PUBLIC}
NOW = 1_800_000_000
FACTS = Facts("d" * 16, "acme", 6, SCHEMA_VERSION, NOW, NOW - 1000, "hash-now")


def document(**changes: Any) -> Document:
    made = Document("d" * 16, "acme", 7, SCHEMA_VERSION, NOW + 60, 120, {"site": {"name": "B"}})
    return msgspec.structs.replace(made, **changes)


def signed(made: Document) -> bytes:
    return wrap(made, PUBLIC, lambda data: sealing.sign(PRIVATE, data))


def reason(made: Document, facts: Facts = FACTS) -> str:
    found = read(signed(made), KEYS, sealing.signed_by)
    assert not isinstance(found, Refusal)
    refusal = judge(found[0], facts)
    assert refusal is None or (refusal.text and refusal.text_zh)
    return refusal.reason if refusal is not None else ""


@pytest.mark.parametrize(
    ("changes", "facts", "wanted"),
    [
        ({}, {}, ""), ({"device": "e" * 16}, {}, "wrong-device"), ({"tenant": "other"}, {}, "wrong-tenant"),
        ({"revision": 5}, {}, "lower-revision"),
        ({"revision": 6}, {}, "known"), ({"schema": SCHEMA_VERSION + 1}, {}, "unknown-schema"), ({"schema": 0}, {}, "unknown-schema"),
        ({}, {"now": NOW + 61}, "expired"), ({}, {"now": NOW - 1001}, "clock-wrong"), ({"base_hash": "another"}, {}, "other-base"),
        ({"base_hash": "hash-now"}, {}, ""), ({"confirm_s": 5}, {}, "unreadable"),
    ],
)  # fmt: skip
def test_why_a_genuine_document_is_refused(changes: dict[str, Any], facts: dict[str, Any], wanted: str) -> None:
    assert reason(document(**changes), msgspec.structs.replace(FACTS, **facts)) == wanted


def test_a_document_that_was_changed_is_none() -> None:
    data = signed(document())
    envelope = msgspec.json.decode(data, type=Envelope)

    def refused(**changes: str) -> str:
        found = read(msgspec.json.encode(msgspec.structs.replace(envelope, **changes)), KEYS, sealing.signed_by)
        assert isinstance(found, Refusal)
        return found.reason

    other = sealing.b64(canonical(document(tenant="evil")))
    assert refused(signed=other) == "bad-signature"
    assert refused(signature=sealing.b64(bytes(64))) == "bad-signature"
    assert refused(key="0" * 16) == "unknown-key"
    assert refused(signed="%") == "unreadable"
    loose = b'{"device": "x"}'
    assert refused(signed=sealing.b64(loose), signature=sealing.b64(sealing.sign(PRIVATE, loose))) == "unreadable"
    spaced = canonical(document()).replace(b":", b": ", 1)
    assert refused(signed=sealing.b64(spaced), signature=sealing.b64(sealing.sign(PRIVATE, spaced))) == "unreadable"
    for wrong, why in ((b"", "unreadable"), (b"[" * 100_000, "unreadable"), (b"{}", "unreadable"), (b"x" * (2 << 20) + b"y", "too-large")):
        found = read(wrong, KEYS, sealing.signed_by)
        assert isinstance(found, Refusal)
        assert found.reason == why
    for at in range(0, len(data), 3):
        broken = bytearray(data)
        broken[at] ^= 4
        found = read(bytes(broken), KEYS, sealing.signed_by)
        assert isinstance(found, Refusal) or found[0] == document()


def test_secrets_are_for_one_box_and_one_place(tmp_path: Path) -> None:
    device, other = sealing.Device(tmp_path / "a"), sealing.Device(tmp_path / "b")
    name = device.public.device
    body = {"extensions": {"201": {"secret": "geheim-123"}, "202": {"secret": ""}}, "site": {"name": "B"}}

    def is_secret(path: str) -> bool:
        return path.endswith(".secret")

    def opened(what: dict[str, Any], box: sealing.Device, device_name: str) -> Any:
        def open_(data: bytes, bound: bytes) -> bytes | None:
            try:
                return box.open(data, bound)
            except sealing.SealError:
                return None

        return open_secrets(what, device_name, is_secret, open_)

    recipient = sealing.unb64(device.public.sealing, "key")
    sealed = seal_secrets(body, name, is_secret, lambda text, bound: sealing.seal(recipient, text, bound))
    assert "geheim" not in json.dumps(sealed)
    assert sealed["site"] == {"name": "B"}
    assert opened(sealed, device, name) == body
    assert opened(sealed, other, other.public.device).reason == "secrets"
    moved = {"extensions": {"203": sealed["extensions"]["201"]}}
    assert opened(moved, device, name).reason == "secrets"
    assert opened(body, device, name).reason == "secrets"            # in clear


def test_a_document_comes_as_lines_in_any_order_and_twice() -> None:
    data = signed(document(body={"note": "".join(hashlib.sha256(bytes([turn])).hexdigest() for turn in range(60))}))
    told, parts = lines(data), Parts()
    assert len(told) > 3 and max(map(len, told)) < MOST_DATA + 40
    for line in [*reversed(told[1:]), told[2]]:
        assert parts.take(*fields(line)) is None
    assert parts.missing == [1]
    other = lines(signed(document()))
    assert parts.take(*fields(told[0])) == data
    assert parts.take(*fields(told[0])) is None                       # it begins anew
    assert [parts.take(*fields(line)) for line in other][-1] == signed(document())


@pytest.mark.parametrize(
    "line",
    [
        "", "show calls", "central part 1/1 0123abcd", "central part 0/1 0123abcd AA", "central part 2/1 0123abcd AA",
        "central part 1/1 x AA", "central part 1/99 0123abcd AA", "central part 1/1 0123abcd " + "A" * (MOST_DATA + 1),
        "central part 1/1 0123abcd A", "central part 1/1 0123abcd ????", "central part 1/1 0123abcd eJwDAAAAAAE",
    ],
)  # fmt: skip
def test_what_is_no_part_is_refused(line: str) -> None:
    with pytest.raises(PartError):
        Parts().take(*fields(line))


def test_parts_that_unpack_without_end_are_refused_and_a_document_that_is_too_long_is_no_sheet() -> None:
    told, parts = lines(bytes(40 << 20)), Parts()
    with pytest.raises(PartError, match="fit"):
        for line in told:
            parts.take(*fields(line))
    with pytest.raises(PartError, match="at most"):
        lines(os.urandom(60_000))


def test_the_table_of_a_documents_way() -> None:
    assert trial.faults() == []
    now, _ = step(Progress(taken=3), "offer", revision=4, content="c")
    now, deeds = step(now, "good")
    assert deeds == ("begin",)
    now, deeds = step(now, "begun", local=12)
    assert (now.state, deeds) == ("trial", ("reach", "report"))
    assert step(now, "offer", revision=9) == (now, ())
    good, _ = step(now, "reached")
    assert (good.state, good.taken) == ("confirmed", 4)
    back, _ = step(now, "over", reason="not-confirmed")
    assert (back.state, back.taken, back.reason, back.reported) == ("rolled_back", 3, "not-confirmed", False)
    assert step(back, "reached") == (back, ())


# --- the part of manage -----------------------------------------------------------------------------------------------


class Box:
    """A box with its stored configuration; `perform` is the configuration's commands on the real store, applied at once."""

    def __init__(self, folder: Path, central: str = "") -> None:
        self.folder = folder
        self.store = ConfigurationStore(folder / "config")
        keys = f'[central]\ntenant = "acme"\nkeys = ["{sealing.b64(PUBLIC)}"]\n{central}'
        self.text = f'[site]\nname = "A"\n{keys}'
        self.store.commit(self.text, "test", "")
        self.candidate = self.text
        self.reverted = ""
        self.others = False
        self.now = NOW
        self.part = self.started()

    def started(self) -> CentralPart:
        return CentralPart(state=self.folder, config=self.config, perform=self.perform, wall_s=lambda: self.now)

    def config(self) -> Config:
        return load(self.store.text(self.store.book.running).encode(), file="running")

    async def perform(self, peer: Peer, path: str, args: dict[str, Any]) -> Reply:
        store = self.store
        result: dict[str, Any] = {}
        if path == "show diff":
            return {"ok": True, "result": [{"path": "x"}] if self.others else []}
        if path == "load":
            problems = check(args["text"].encode(), file="candidate")[1]
            if problems:
                return {"ok": False, "error": {"message": problems[0].text()}}
            self.candidate = args["text"]
        elif path == "commit confirmed":
            store.attempt(self.candidate, peer.name, args["note"], seconds=args["seconds"], start="s")
            result = {"revision": store.book.running}
        elif path == "confirm":
            store.confirm()
        elif path == "show trial":
            book = store.book
            author = book.trial.author if book.trial is not None else ""
            result = {
                "state": book.state.lower(), "running": book.running, "startup": book.startup, "author": author, "reverted": self.reverted
            }
        return {"ok": True, "result": result}

    def document(self, text: str | None = None, **changes: Any) -> bytes:
        name = self.part.device().public.device
        body = tomllib.loads(text or self.text.replace('"A"', '"B"'))
        return signed(document(**{"device": name, "body": body, **changes}))

    def state(self) -> tuple[str, str]:
        shown = self.part._shown()
        return shown.state, shown.reason


def test_a_document_by_hand_waits_for_a_person(tmp_path: Path) -> None:
    box = Box(tmp_path)
    asyncio.run(box.part.offer(box.document(), "stick"))
    assert box.state() == ("trial", "")
    assert box.config().site.name == "B"
    box.store.confirm()
    asyncio.run(box.part._follow())
    assert box.state() == ("confirmed", "")
    assert box.part._shown().taken == 7


def test_what_was_taken_back_is_told_and_not_tried_again(tmp_path: Path) -> None:
    box = Box(tmp_path)
    data = box.document()
    asyncio.run(box.part.offer(data, "stick"))
    box.store.over("not confirmed in time")
    asyncio.run(box.part._follow())
    assert box.state() == ("rolled_back", "not-confirmed")
    assert box.config().site.name == "A"
    before = box.store.book.next_number
    asyncio.run(box.part.offer(data, "stick"))
    assert box.store.book.next_number == before
    assert box.state() == ("rolled_back", "not-confirmed")
    asyncio.run(box.part.offer(box.document(revision=8), "stick"))
    assert box.state() == ("trial", "")


def test_a_restart_in_a_trial_goes_on_where_it_was(tmp_path: Path) -> None:
    box = Box(tmp_path)
    asyncio.run(box.part.offer(box.document(), "stick"))
    box.part = box.started()
    assert box.state() == ("trial", "")
    box.store.over("started anew")
    asyncio.run(box.part._follow())
    assert box.state() == ("rolled_back", "not-confirmed")


def test_refusals_change_nothing(tmp_path: Path) -> None:
    box = Box(tmp_path)
    cases: list[tuple[bytes, str]] = [
        (b"noise", "unreadable"), (box.document(device="e" * 16), "wrong-device"),
        (box.document(text='[site]\nnmae = "B"\n'), "configuration"),
        (box.document(body={"extensions": {"201": {"kind": "sip", "secret": "in-clear-12"}}}), "secrets"),
        (box.document(base_hash="other"), "other-base"),
    ]  # fmt: skip
    for data, why in cases:
        asyncio.run(box.part.offer(data, "test"))
        assert box.state() == ("refused", why)
        assert box.config().site.name == "A"
        assert box.store.book.state == "SETTLED"
        assert box.part._shown().says_zh
    box.others = True
    asyncio.run(box.part.offer(box.document(), "test"))
    assert box.state() == ("refused", "busy")
    box.others = False
    asyncio.run(box.part.offer(box.document(), "test"))
    assert box.state() == ("trial", "")


def test_a_clock_that_lost_its_time_judges_no_expiry(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.now = 1_000_000_000
    asyncio.run(box.part.offer(box.document(), "test"))
    assert box.state() == ("refused", "clock-wrong")
    box.now = NOW
    asyncio.run(box.part.offer(box.document(), "test"))
    assert box.state() == ("trial", "")


def test_a_stick_is_read_once_and_only_its_own_file(tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    (tmp_path / "box").mkdir()
    box = Box(tmp_path / "box")
    (stick / "other.bpx").write_bytes(box.document())
    asyncio.run(box.part._look(stick))
    assert box.state() == ("idle", "")
    path = stick / f"{box.part.device().public.device}.bpx"
    path.symlink_to(stick / "other.bpx")
    asyncio.run(box.part._look(stick))
    assert box.state() == ("idle", "")
    path.unlink()
    path.write_bytes(box.document())
    asyncio.run(box.part._look(stick))
    assert box.state() == ("trial", "")


class Centre:
    """A server of the centre on loopback: gives `data`, takes reports while `open`."""

    def __init__(self, folder: Path) -> None:
        ensure(folder / "tls", ["127.0.0.1"], "centre")
        self.ca = folder / "tls" / "ca.crt"
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(folder / "tls" / "server.crt", folder / "tls" / "server.key")
        self.data = b""
        self.open = True
        self.reports: list[dict[str, Any]] = []
        self.hellos: list[dict[str, Any]] = []
        self.batches: list[dict[str, Any]] = []
        self.port = 0

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next((int(line.split(":")[1]) for line in head.lower().split("\r\n") if line.startswith("content-length")), 0)
        body = await reader.readexactly(length)
        status, answer = "200 OK", self.data
        if head.startswith("POST"):
            told = json.loads(body)
            report = json.loads(sealing.unb64(told["report"], "report"))
            kept = {"hello": self.hellos, "audit": self.batches}.get(head.split()[1].rpartition("/")[2], self.reports)
            kept.append(report | {"signature": told["signature"], "body": told["report"]})
            status, answer = ("200 OK", b"") if self.open else ("503 Closed", b"")
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(answer)}\r\nConnection: close\r\n\r\n".encode() + answer)
        await writer.drain()
        writer.close()


def with_centre(folder: Path, body: Callable[[Centre, Box], Awaitable[None]]) -> None:
    async def main() -> None:
        (folder / "centre").mkdir()
        (folder / "box").mkdir()
        centre = Centre(folder / "centre")
        server = await centre.start()
        box = Box(folder / "box", f'url = "https://127.0.0.1:{centre.port}/boxes"\nca = "{centre.ca}"\n')
        try:
            await body(centre, box)
        finally:
            server.close()

    asyncio.run(main())


def test_a_new_box_makes_itself_known_and_gets_its_site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def body(centre: Centre, box: Box) -> None:
        centre.open = False
        await box.part._pull()
        centre.open = True
        await box.part._pull()
        await box.part._pull()
        assert len(centre.hellos) == 2                # until it was taken, and then no more
        hello = centre.hellos[-1]
        (tmp_path / "hello.json").write_text(json.dumps({"report": hello["body"], "signature": hello["signature"]}))
        assert sign_config.main(["known", str(tmp_path / "hello.json")]) == 0
        (tmp_path / "device.json").write_text(capsys.readouterr().out)
        forged = json.dumps({"report": hello["body"][:-8] + "AAAAAAA=", "signature": hello["signature"]})
        (tmp_path / "forged.json").write_text(forged)
        assert sign_config.main(["known", str(tmp_path / "forged.json")]) == 1
        # The centre signs for the box that nobody has described to it, secrets and all; the box comes for it.
        key, site, out = tmp_path / "centre.key", tmp_path / "site.toml", tmp_path / "x.bpx"
        key.write_text(sealing.b64(PRIVATE))
        key.chmod(0o600)
        site.write_text(box.text.replace('"A"', '"B"') + '[extensions.201]\nkind = "sip"\nsecret = "geheim-12345"\n')
        words = ["sign", str(site), "--key", str(key), "--device", str(tmp_path / "device.json"), "--tenant", "acme", "--revision", "1"]
        assert sign_config.main([*words, "--out", str(out)]) == 0
        box.now = int(time.time())
        centre.data = out.read_bytes()
        await box.part._pull()
        await box.part._follow()
        assert box.state() == ("confirmed", "")
        assert (box.config().site.name, box.config().extensions["201"].secret) == ("B", "geheim-12345")

    with_centre(tmp_path, body)


def test_the_audit_trail_goes_to_the_centre_signed_and_each_record_once(tmp_path: Path) -> None:
    database = Database(tmp_path / "manage.db", "manage", functions=audit.FUNCTIONS)
    trail = audit.AuditTrail(database)

    def given(count: int) -> None:
        for number in range(count):
            trail.add(NOW * 1000 + number, "anna@ttyS0", "admin", "set", f'{{"value": {number}}}', "ok")
        assert database.flush()

    async def body(centre: Centre, box: Box) -> None:
        box.part._trail = trail
        given(3)
        centre.open = False
        await box.part._tell_audit()
        assert database.flush() and trail.sent() == 0
        centre.open = True
        await box.part._tell_audit()
        given(2)
        await box.part._tell_audit()
        await box.part._tell_audit()                 # the centre has all
        assert database.flush() and trail.sent() == 5
        refused, first, second = centre.batches
        assert [one["seq"] for one in first["records"]] == [1, 2, 3] == [one["seq"] for one in refused["records"]]
        assert [one["seq"] for one in second["records"]] == [4, 5] and second["before"] == first["records"][-1]["chain"]
        for batch in (first, second):
            identity = sealing.unb64(box.part.device().public.identity, "key")
            assert sealing.signed_by(identity, sealing.unb64(batch["signature"], "s"), sealing.unb64(batch["body"], "b"))
            records = msgspec.convert(batch["records"], list[audit.Record])
            assert audit.broken_at(batch["before"], records) == 0
            forged = [msgspec.structs.replace(records[0], peer="bob@ttyS0"), *records[1:]]
            assert audit.broken_at(batch["before"], forged) == records[0].seq

    with_centre(tmp_path, body)
    database.close()


def test_pulled_tried_reached_confirmed_reported(tmp_path: Path) -> None:
    async def body(centre: Centre, box: Box) -> None:
        centre.data = box.document()
        await box.part._pull()
        assert box.state() == ("trial", "")
        await box.part._follow()
        assert box.state() == ("confirmed", "")
        assert box.config().site.name == "B"
        assert box.store.book.state == "SETTLED"
        assert [told["state"] for told in centre.reports] == ["trial", "confirmed"]
        last = centre.reports[-1]
        identity = sealing.unb64(box.part.device().public.identity, "key")
        assert sealing.signed_by(identity, sealing.unb64(last["signature"], "s"), sealing.unb64(last["body"], "b"))
        await box.part._pull()                       # the same document again: nothing happens
        assert len(centre.reports) == 2

    with_centre(tmp_path, body)


def test_a_document_that_cuts_the_box_off_is_taken_back_and_reported_later(tmp_path: Path) -> None:
    async def body(centre: Centre, box: Box) -> None:
        away = box.text.replace('"A"', '"B"').replace(f":{centre.port}/", ":1/")
        centre.data = box.document(text=away)
        await box.part._pull()
        await box.part._follow()
        assert box.state() == ("trial", "")
        assert centre.reports == []
        box.store.over("not confirmed in time")
        await box.part._follow()
        assert box.state() == ("rolled_back", "not-confirmed")
        assert box.config().site.name == "A"
        await box.part._tell()                       # with the old settings the centre is reached again
        assert [told["state"] for told in centre.reports] == ["rolled_back"]
        assert box.part._shown().reported

    with_centre(tmp_path, body)


def test_a_server_that_cannot_prove_itself_is_not_believed(tmp_path: Path) -> None:
    async def body(centre: Centre, box: Box) -> None:
        centre.data = box.document()
        ensure(tmp_path / "other", ["127.0.0.1"], "x")
        centre.ca.write_bytes((tmp_path / "other" / "ca.crt").read_bytes())
        await box.part._pull()
        assert box.state() == ("idle", "")

    with_centre(tmp_path, body)


def test_the_signing_tool_makes_what_a_box_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, site, shown = tmp_path / "centre.key", tmp_path / "site.toml", tmp_path / "device.json"
    assert sign_config.main(["new-key", str(key)]) == 0
    public = capsys.readouterr().out.strip()
    assert sign_config.main(["new-key", str(key)]) == 1
    assert sign_config.main(["public", str(key)]) == 0
    assert capsys.readouterr().out.strip() == public
    (tmp_path / "box").mkdir()
    box = Box(tmp_path / "box")
    text = box.text.replace(sealing.b64(PUBLIC), public).replace('"A"', '"B"') + '[extensions.201]\nkind = "sip"\nsecret = "geheim-12345"\n'
    box.store.commit(box.text.replace(sealing.b64(PUBLIC), public), "test", "")
    site.write_text(text)
    shown.write_text(json.dumps({"ok": True, "result": msgspec.to_builtins(box.part._shown_device())}))
    out = tmp_path / "x.bpx"
    words = ["sign", str(site), "--key", str(key), "--device", str(shown), "--tenant", "acme", "--revision", "3", "--out", str(out)]
    box.now = int(time.time())
    assert sign_config.main([*words, "--base", str(site)]) == 0
    asyncio.run(box.part.offer(out.read_bytes(), "test"))
    assert box.state() == ("refused", "other-base")
    assert sign_config.main(words) == 0
    assert b"geheim" not in out.read_bytes()
    assert sign_config.main(["qr", str(out), str(tmp_path / "sheet.pdf")]) == 0
    assert (tmp_path / "sheet.pdf").read_bytes().startswith(b"%PDF-")
    assert sign_config.main(["qr", str(out), str(tmp_path / "sheet.doc")]) == 1
    gate = Gate(Bus(), ManualClock())
    box.part.attach(gate)

    async def scan(line: str) -> Reply:
        part, name, data = fields(line)
        return await gate.perform(Peer("anna", "admin"), "central part", {"part": part, "name": name, "data": data})

    told = [asyncio.run(scan(line)) for line in lines(out.read_bytes())]
    assert told[-1]["result"]["state"] == "trial", told
    wrong = asyncio.run(scan("central part 1/1 00000000 AAAA"))
    assert wrong["result"]["state"] == "unreadable"
    assert box.state() == ("trial", "")
    assert box.config().extensions["201"].secret == "geheim-12345"
    key.chmod(0o644)
    assert sign_config.main(words) == 1
    kept = in_force(tmp_path / "box" / "config")
    assert kept is not None
