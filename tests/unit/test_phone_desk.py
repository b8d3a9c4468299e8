"""Who gets which file: arming, links, networks, strangers, hostile requests; and the same over real HTTPS."""

from __future__ import annotations

import asyncio
import itertools
import random
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from firmware.app.phones import PhonesPart
from firmware.config.model import load
from firmware.config.schema.tree import Config
from firmware.control.gate import Peer, Reply
from firmware.store.certificates import ensure
from firmware.surfaces.phones.desk import MOST_SOURCES, MOST_UNKNOWN, Book, Desk
from firmware.surfaces.phones.settings import Service
from firmware.surfaces.phones.zones import parse, tell
from tests.ports import free_port

MAC, SECRET = "001565000000", "s3cret-201-abcdefgh"
NEAR, FAR = "192.168.1.40", "203.0.113.9"
AGENT = "Yealink SIP-T46U 108.86.0.20 00:15:65:00:00:00"
ZONE = tell(parse("CST-8"), 28800)
HOUR = 3600


def site(extra: str = "", phones: str = f'[phones.{MAC}]\nvendor = "yealink"\nextensions = ["201"]\n') -> Config:
    text = "".join(f'[extensions.{number}]\nkind = "sip"\nsecret = "{SECRET}"\n' for number in (201, 202))
    text += f"[provisioning]\n{extra}\n{phones}"
    return load(text.encode(), file="test")


def desk(config: Config | None = None, book: Book | None = None) -> Desk:
    counter = itertools.count(1)
    made = Desk(book or Book(), lambda: f"token-{next(counter):016d}")
    made.configure(config or site(), Service("192.168.1.2", 5060, 5061, "https://192.168.1.2:8443/", ""), b"PEM", 0)
    return made


def get(one: Desk, path: str, source: str = NEAR, now: int = 10, *, agent: str = AGENT, secure: bool = True) -> tuple[int, bool]:
    reply = one.answer(path, source, agent, ZONE, now, secure=secure)
    assert reply.secret == (SECRET.encode() in reply.body)
    return reply.status, reply.secret


def test_passwords_are_served_once_until_it_is_armed_again() -> None:
    one = desk()
    assert get(one, f"/{MAC}.cfg") == (200, True)
    assert get(one, f"/{MAC}.cfg") == (200, False)
    assert get(one, f"/{one.book.phones[MAC].token}/{MAC}.cfg") == (200, False)
    one.arm(MAC, 20)
    assert get(one, f"/{MAC}.cfg", now=21) == (200, True)
    assert get(one, f"/{MAC}.cfg", now=22) == (200, False)


def test_from_elsewhere_only_with_its_own_link() -> None:
    one = desk()
    token = one.book.phones[MAC].token
    assert get(one, f"/{MAC}.cfg", FAR) == (404, False)
    assert get(one, f"/{'x' * len(token)}/{MAC}.cfg", FAR) == (404, False)
    assert get(one, f"/{token}/{MAC}.cfg", FAR) == (200, True)
    assert get(one, f"/{token}/{MAC}.cfg", FAR) == (200, False)
    one.arm(MAC, 20)
    assert get(one, f"/{token}/{MAC}.cfg", FAR, 21) == (200, False)      # the link of before: settings, no passwords
    assert get(one, f"/{one.book.phones[MAC].token}/{MAC}.cfg", FAR, 22) == (200, True)


def test_a_wrong_link_is_refused_also_on_the_site() -> None:
    one = desk()
    assert get(one, f"/{'x' * 22}/{MAC}.cfg") == (404, False)


def test_it_is_known_whether_a_telephone_has_the_settings_of_now() -> None:
    one = desk()
    get(one, f"/{MAC}.cfg")
    assert one.book.phones[MAC].digest == one.digest(MAC, ZONE)
    one.configure(site(phones=f'[phones.{MAC}]\nvendor = "yealink"\nextensions = ["202"]\n'), one.service, b"", 20)
    assert one.book.phones[MAC].digest != one.digest(MAC, ZONE)
    get(one, f"/{MAC}.cfg", now=30)
    assert one.book.phones[MAC].digest == one.digest(MAC, ZONE)


def test_arming_ends_by_itself() -> None:
    one = desk(site("armed_h = 2"))
    assert get(one, f"/{MAC}.cfg", now=2 * HOUR) == (200, False)


def test_plain_http_never_serves_a_password_and_does_not_disarm() -> None:
    one = desk()
    assert get(one, f"/{MAC}.cfg", secure=False) == (200, False)
    assert get(one, f"/{one.book.phones[MAC].token}/{MAC}.cfg", FAR, secure=False) == (404, False)
    reply = one.answer(f"/{MAC}.cfg", NEAR, AGENT, ZONE, 10, secure=False)
    assert one.book.phones[MAC].token.encode() not in reply.body
    assert get(one, f"/{MAC}.cfg") == (200, True)


def test_strangers_are_noted_and_get_nothing() -> None:
    one = desk()
    assert get(one, "/805ec0123456.cfg", agent="Yealink SIP-T31P 124.86") == (404, False)
    unknown = one.book.unknown["805ec0123456"]
    assert (unknown.vendor, unknown.model, unknown.address) == ("yealink", "T31P", NEAR)
    get(one, "/805ec0123457.cfg", FAR)
    assert "805ec0123457" not in one.book.unknown
    for number in range(3 * MOST_UNKNOWN):
        get(one, f"/805ec1{number:06x}.cfg", f"192.168.2.{number % 200}", 60 * number)
    assert len(one.book.unknown) == MOST_UNKNOWN


def test_in_the_window_a_stranger_is_to_be_assigned() -> None:
    one = desk()
    one.open_window(10, 100)
    reply = one.answer("/805ec0123456.cfg", NEAR, AGENT, ZONE, 101, secure=True)
    assert reply.assign == ("805ec0123456", "yealink", "T46U")
    assert one.free_extension() == "202"
    late = one.answer("/805ec0123456.cfg", NEAR, AGENT, ZONE, 100 + 600, secure=True)
    assert late.assign is None
    assert one.answer("/805ec0123456.cfg", FAR, AGENT, ZONE, 101, secure=True).assign is None


def test_telephones_that_left_the_configuration_are_forgotten() -> None:
    one = desk()
    one.configure(site(phones=""), one.service, b"", 50)
    assert not one.book.phones
    assert get(one, f"/{MAC}.cfg", now=51) == (404, False)


def test_one_address_is_slowed_down_and_others_are_not() -> None:
    one = desk(site("per_minute = 5"))
    assert [get(one, f"/{MAC}.cfg", now=60)[0] for _ in range(7)] == [200] * 5 + [429] * 2
    assert get(one, f"/{MAC}.cfg", "192.168.1.41", 61)[0] == 200
    assert get(one, f"/{MAC}.cfg", now=120)[0] == 200
    for number in range(2 * MOST_SOURCES):
        get(one, "/x", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(one._sources) <= MOST_SOURCES


HOSTILE = [
    "", "/", "//", "/..", "/../phones.json", "/..%2f..%2fetc/passwd", "/%2e%2e/secrets.json", "/tls/ca.key", "/ca.key", "/secrets.json",
    f"/{MAC}.cfg/../../secrets.json", f"/{MAC}.cfg%00", f"/{MAC}.cfg?x=1", f"/./{MAC}.cfg", f"//{MAC}.cfg", f"/x/{MAC}.cfg",
    "/" + "a" * 5000,
    f"/{MAC.upper()}\n.cfg", "http://other/" + MAC + ".cfg", "/\x00", "/{{7*7}}.cfg", f"/{MAC}.cfg.bak", f"\\{MAC}.cfg",
]  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE)
def test_hostile_paths_lead_nowhere(path: str) -> None:
    one = desk()
    assert get(one, path) == (404, False)
    assert one.book.phones[MAC].armed_until


def test_random_paths_serve_no_password() -> None:
    one, rng = desk(site("per_minute = 600")), random.Random(11)
    for number in range(5000):
        path = "".join(rng.choice(f"/.%{MAC}cfg\x00\\:?&=") for _ in range(rng.randint(0, 60)))
        get(one, path, FAR, number * 60)


# --- over the network ------------------------------------------------------------------------------------------------


class Stage:
    """The part of manage with certificates, on a free port of loopback; commands end in `given`."""

    def __init__(self, folder: Path, config: Config) -> None:
        (folder / "run").mkdir(exist_ok=True)
        ensure(folder / "tls", ["127.0.0.1"], "box")
        self.folder = folder
        self.given: list[tuple[str, str]] = []
        self.part = PhonesPart(
            config=config, state=folder, bind="127.0.0.1", sip_port=5060, sip_tls_port=5061, perform=self.perform, core=self.core
        )

    async def perform(self, peer: Peer, path: str, args: dict[str, str]) -> Reply:
        self.given.append((peer.name, " ".join([path, *map(str, args.values())])))
        return {"ok": True, "result": []}

    async def core(self, path: str, **args: str) -> object:
        return [{"extension": args["extension"], "contact": "sip:201@x"}]

    async def serving(self) -> asyncio.Task[None]:
        task = asyncio.ensure_future(self.part.run())
        await asyncio.wait_for(self.part.listening.wait(), 30)
        return task


async def fetch(port: int, request: bytes, ca: Path | None, *, most: float = 5.0) -> bytes:
    context = ssl.create_default_context(cafile=str(ca)) if ca is not None else None
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.read(1 << 20), most)
    except ConnectionError:
        return b""
    finally:
        writer.close()


def staged(folder: Path, config: Config, body: Callable[[Stage], Awaitable[None]]) -> None:
    async def main() -> None:
        stage = Stage(folder, config)
        task = await stage.serving()
        try:
            await body(stage)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


def line(path: str, headers: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: box\r\nUser-Agent: {AGENT}\r\n{headers}Connection: close\r\n\r\n".encode()


def test_over_https_with_the_boxs_own_ca(tmp_path: Path) -> None:
    async def body(stage: Stage) -> None:
        port, ca = stage.part.https_port, tmp_path / "tls" / "ca.crt"
        first = await fetch(port, line(f"/{MAC}.cfg"), ca)
        assert first.startswith(b"HTTP/1.1 200")
        assert SECRET.encode() in first
        assert b"no-store" in first
        assert SECRET.encode() not in await fetch(port, line(f"/{MAC}.cfg"), ca)
        assert b"BEGIN CERTIFICATE" in await fetch(port, line("/ca.crt"), ca)
        assert b"PRIVATE" not in await fetch(port, line("/ca.key"), ca)
        plain = await fetch(stage.part.http_port, line(f"/{MAC}.cfg"), None)
        assert b"auto_provision.server.url = https://127.0.0.1" in plain
        assert SECRET.encode() not in plain
        with pytest.raises(ssl.SSLError):
            ensure(tmp_path / "other", ["127.0.0.1"], "other")
            await fetch(port, line("/ca.crt"), tmp_path / "other" / "ca.crt")

    staged(tmp_path, _open_site(), body)


def _open_site() -> Config:
    free = free_port()
    return site(f"enabled = true\nport = 0\nbootstrap_port = {free}\npnp = false")


def test_hostile_requests_are_harmless(tmp_path: Path) -> None:
    async def body(stage: Stage) -> None:
        port, ca = stage.part.https_port, tmp_path / "tls" / "ca.crt"
        for request in (
            line("/" + "a" * 100_000),
            line("/x", "X: " + "b" * 100_000 + "\r\n"), line("/x", "".join(f"H{n}: v\r\n" for n in range(20_000))),
            b"\x16\x03\x01" * 200, b"GET\r\n\r\n", b"POST /x HTTP/1.1\r\nHost: b\r\nContent-Length: 99999999999\r\n\r\n" + b"z" * 70_000,
            b"GET /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", line("/../../secrets.json"),
            line("/%2e%2e/%2e%2e/secrets.json"),
        ):  # fmt: skip
            answer = await fetch(port, request, ca)
            assert not answer.startswith(b"HTTP/1.1 2"), answer[:80]
        held = [await asyncio.open_connection("127.0.0.1", stage.part.http_port) for _ in range(40)]
        await asyncio.sleep(0.2)
        refused = [reader.at_eof() for reader, _ in held].count(True)
        assert refused >= 40 - 12                     # bounded for one address
        for _, writer in held:
            writer.close()
        await asyncio.sleep(0.1)
        assert (await fetch(port, line(f"/{MAC}.cfg"), ca)).startswith(b"HTTP/1.1 200")

    staged(tmp_path, _open_site(), body)


def test_a_connection_that_dawdles_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firmware.net.https.CONNECTION_S", 0.4)

    async def body(stage: Stage) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.part.http_port)
        writer.write(b"GET /")
        try:
            assert await asyncio.wait_for(reader.read(10), 5) == b""
        except ConnectionError:
            pass
        writer.close()

    staged(tmp_path, _open_site(), body)


def test_passwords_do_not_leave_before_that_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(stage: Stage) -> None:
        port, ca = stage.part.https_port, tmp_path / "tls" / "ca.crt"

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr("firmware.app.phones.write_atomic", full)
            answer = await fetch(port, line(f"/{MAC}.cfg"), ca)
            assert answer.startswith(b"HTTP/1.1 503")
        assert SECRET.encode() in await fetch(port, line(f"/{MAC}.cfg"), ca)
        assert SECRET.encode() not in (tmp_path / "phones.json").read_bytes()
        assert (tmp_path / "phones.json").stat().st_mode & 0o077 == 0

    staged(tmp_path, _open_site(), body)


def test_what_was_served_is_remembered_over_a_restart(tmp_path: Path) -> None:
    async def first(stage: Stage) -> None:
        assert SECRET.encode() in await fetch(stage.part.https_port, line(f"/{MAC}.cfg"), tmp_path / "tls" / "ca.crt")

    async def second(stage: Stage) -> None:
        assert SECRET.encode() not in await fetch(stage.part.https_port, line(f"/{MAC}.cfg"), tmp_path / "tls" / "ca.crt")

    staged(tmp_path, _open_site(), first)
    staged(tmp_path, _open_site(), second)


def test_a_stranger_in_the_window_gets_an_extension_and_its_file(tmp_path: Path) -> None:
    async def body(stage: Stage) -> None:
        part = stage.part
        part.open_desk().open_window(5, int(time.time()))
        await fetch(part.https_port, line("/805ec0123456.cfg"), tmp_path / "tls" / "ca.crt")
        assert stage.given[0] == ("provisioning", "show diff")
        assert [said for _, said in stage.given[1:]] == [
            'set phones.805ec0123456.vendor "yealink"', 'set phones.805ec0123456.extensions ["202"]',
            'set phones.805ec0123456.model "T46U"',
            "commit telephone 805ec0123456 for extension 202",
        ]  # fmt: skip

    staged(tmp_path, _open_site(), body)
