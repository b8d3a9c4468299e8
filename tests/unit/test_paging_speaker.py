"""The loudspeaker: real alsa-lib through pyalsaaudio, packets of strangers, a device that is not there."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from firmware.call.paging import Loudspeaker
from firmware.config.schema.pbx import Speaker
from firmware.config.schema.tree import Config
from firmware.core.paging import ALARM, Loudspeakers
from firmware.errors import HardwareError
from firmware.hal.speaker import SoundOutput

HEAD = bytes([0x80, 8]) + bytes(10)


@pytest.fixture
def alsa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    played = tmp_path / "played"
    conf = tmp_path / "asound.conf"
    conf.write_text(f'pcm.quiet {{ type null }}\npcm.shop {{ type file slave.pcm quiet file "{played}" format raw }}\n')
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(conf))
    return played


def until(condition: Any) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_speech_of_the_engine_is_played_and_of_nobody_else(alsa: Path) -> None:
    engine, stranger = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    engine.bind(("127.0.0.1", 0))
    stranger.bind(("127.0.0.1", 0))
    output = SoundOutput("shop", "127.0.0.1", engine.getsockname()[1])
    output.start()
    try:
        stranger.sendto(HEAD + b"\x11" * 160, ("127.0.0.1", output.port))
        for bad in (b"", b"x", HEAD, bytes([0x80, 0]) + bytes(170), bytes([0, 8]) + bytes(170)):
            engine.sendto(bad, ("127.0.0.1", output.port))
        for n in range(5):
            engine.sendto(HEAD + bytes([0x20 + n]) * 160, ("127.0.0.1", output.port))
            until(lambda n=n: output.packets == n + 1)
    finally:
        output.stop()
        assert output.join(5)
        engine.close()
        stranger.close()
    data = alsa.read_bytes()
    assert data[:800] == b"".join(bytes([0x20 + n]) * 160 for n in range(5)) and b"\x11" not in data


def test_a_device_that_is_not_there_is_said_with_what_to_do(alsa: Path) -> None:
    with pytest.raises(HardwareError, match=r"sound device hw:9,9 cannot be opened.*aplay -L"):
        SoundOutput("hw:9,9", "127.0.0.1", 4000)


class _Media:
    def __init__(self) -> None:
        self.open: dict[int, dict[str, Any]] = {}
        self.joined: list[tuple[int, int, bool]] = []
        self.taken: set[int] = set()

    def allocate_rtp(self, tag: str) -> Any:
        self.taken.add(20)
        return SimpleNamespace(port=20, local_port=5004)

    def open_rtp(self, port: int, **path: Any) -> None:
        self.open[port] = path

    def close_rtp(self, port: int) -> None:
        self.taken.discard(port)
        self.open.pop(port, None)

    def join(self, bridge: int, port: int, *, hear: bool = True, speak: bool = True, whisper: int | None = None) -> None:
        self.joined.append((bridge, port, speak))


class _Output:
    port = 6004

    def __init__(self, device: str, host: str, sender: int) -> None:
        if device == "broken":
            raise HardwareError("sound device broken cannot be opened")
        self.running = False

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False


def test_a_page_takes_a_port_that_only_listens_and_a_broken_device_is_an_alarm_until_it_works() -> None:
    device = ["broken"]
    alarms: dict[str, str] = {}
    media, calls = _Media(), SimpleNamespace(executors={}, audio=SimpleNamespace(number=lambda room: 7))
    watch = SimpleNamespace(raise_=lambda name, en, zh: alarms.__setitem__(name, zh), clear=lambda name: alarms.pop(name, None))
    Loudspeakers(lambda: Config(speaker=Speaker(device=device[0])), calls, media, watch, "0.0.0.0", _Output)  # type: ignore[arg-type]

    def switch(on: bool) -> None:
        calls.executors[Loudspeaker]("C1", Loudspeaker("page/shop", on))

    switch(True)
    assert "扬声器" in alarms[ALARM] and not media.taken and not media.joined
    switch(False)
    device[0] = "works"
    switch(True)
    assert not alarms and media.joined == [(7, 20, False)]
    path = media.open[20]
    assert path["remote"] == ("127.0.0.1", 6004) and path["codec"] == "pcma" and path["send"] and not path["receive"]
    switch(True)
    assert len(media.joined) == 1, "once is enough"
    switch(False)
    assert not media.taken
    device[0] = ""
    switch(True)
    assert not media.taken, "without a device nothing is opened"
