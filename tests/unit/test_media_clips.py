"""Prompts of a language that media did not start with: loaded before they are heard, whatever asks for them and whenever."""

from __future__ import annotations

import asyncio
import contextlib
import os
import wave
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from firmware.app.media import _on_channel, side_of
from firmware.line.tones import ToneSpec
from firmware.media import MediaLost, Played, Recorded
from tests.unit.engine_stage import sine
from tests.unit.test_media_facade import Core, Plant

HZ = {"en": 1000, "zh": 2000}
WORDS = 60                      # clips of each language


class Site:
    """Files of both languages; media starts with those of English. Each language is a tone of its own, so that what is heard tells."""

    def __init__(self, folder: Path) -> None:
        self.plant = Plant(folder)
        self.folder = folder
        self.files: dict[str, Path] = {}
        for language, hz in HZ.items():
            with wave.open(str(folder / f"{language}.wav"), "wb") as file:
                file.setparams((1, 2, 8000, 0, "NONE", ""))
                file.writeframes(sine(hz, -10, 4000).tobytes())
            self.files |= {f"{language}/w{n}": folder / f"{language}.wav" for n in range(WORDS)}
        self.plant.paths = {name: path for name, path in self.files.items() if name.startswith("en/")}
        self.plant.engine.stop()
        self.plant.new_engine()

    def has(self, language: str) -> int:
        """How many clips of a language media has."""
        return len({name for name in self.plant.engine.clips if name.startswith(f"{language}/")})

    async def replace_media(self, core: Core) -> None:
        """Media dies and comes back with what it starts with."""
        lost = len(core.of(MediaLost))
        await asyncio.to_thread(self.plant.engine.stop)
        await asyncio.to_thread(self.plant.new_engine)
        await core.until(lambda: len(core.of(MediaLost)) > lost)

    async def heard(self, core: Core, clips: list[str], token: int, between: Callable[[], Awaitable[None]] | None = None) -> float:
        """Play clips on a line; the share of the energy of what it hears that is Chinese (0 English, 1 Chinese)."""
        media = core.media
        await media.open_line(4, echo_tail_ms=0, rx_gain_db=0, tx_gain_db=0, tag="L")
        path = self.folder / f"heard{token}.wav"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        await media.record(4, descriptor, token=1000 + token)
        os.close(descriptor)
        media.play(4, clips, token=token)
        if between is not None:
            await between()
        await core.until(lambda: any(one.token == token for one in core.of(Played)))
        (played,) = [one for one in core.of(Played) if one.token == token]
        assert played.finished
        media.stop_record(4)
        await core.until(lambda: any(one.token == 1000 + token for one in core.of(Recorded)))
        with wave.open(str(path)) as file:
            sound = np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, 2)[:, 1].astype(float)
        power = np.abs(np.fft.rfft(sound)) ** 2
        bins = len(sound) / 8000
        english, chinese = (power[int((hz - 100) * bins) : int((hz + 100) * bins)].sum() for hz in HZ.values())
        assert english + chinese > 0, "nothing was heard"
        return float(chinese / (english + chinese))


def scenario(folder: Path, body: Callable[[Site, Core], Awaitable[None]]) -> None:
    """Run `body` with a core that was told to have English ready."""

    async def run() -> None:
        site = Site(folder)
        plant = site.plant
        loop = asyncio.get_running_loop()
        side = side_of(plant.engine, loop, plant.media_end)
        loop.add_reader(plant.media_end.fileno(), lambda: _on_channel(plant.engine, plant.media_end, side))
        core = Core(plant)
        try:
            await core.media.start(site.files, ["en"])
            await body(site, core)
        finally:
            core.media.detach()
            loop.remove_reader(plant.media_end.fileno())
            plant.close()

    asyncio.run(run())


async def settled(site: Site, language: str) -> None:
    """Until media has the whole language."""
    deadline = asyncio.get_running_loop().time() + 20
    while site.has(language) < WORDS:
        assert asyncio.get_running_loop().time() < deadline, f"media has {site.has(language)} clips of {language}"
        await asyncio.sleep(0.01)


def test_media_has_the_languages_of_the_configuration_alone_until_another_is_asked_for(tmp_path: Path) -> None:
    async def body(site: Site, core: Core) -> None:
        assert core.media.lost_clips == []
        assert await site.heard(core, ["en/w3"], 1) < 0.01
        assert (site.has("en"), site.has("zh")) == (WORDS, 0)

    scenario(tmp_path, body)


def test_a_call_that_asks_for_another_language_hears_it_and_the_rest_of_it_follows(tmp_path: Path) -> None:
    async def body(site: Site, core: Core) -> None:
        assert await site.heard(core, ["zh/w41", "zh/w3", "zh/w41"], 1) > 0.99
        await settled(site, "zh")
        assert await site.heard(core, ["en/w41"], 2) < 0.01
        assert await site.heard(core, ["zh/w59"], 3) > 0.99
        assert sorted(site.plant.engine.clips) == sorted(site.files), "each was loaded once"

    scenario(tmp_path, body)


def test_another_configuration_has_its_language_loaded_and_who_asks_before_waits(tmp_path: Path) -> None:
    async def body(site: Site, core: Core) -> None:
        core.media.speak(["en", "zh"])
        assert site.has("zh") == 0                      # nothing is there yet when the first caller asks
        assert await site.heard(core, ["zh/w59"], 1) > 0.99
        await settled(site, "zh")
        core.media.speak(["en"])                        # taken back: a call may be in the middle of it
        assert await site.heard(core, ["zh/w1"], 2) > 0.99

    scenario(tmp_path, body)


@pytest.mark.parametrize("told", [True, False])
def test_after_media_was_replaced_the_language_is_loaded_again(tmp_path: Path, told: bool) -> None:
    async def body(site: Site, core: Core) -> None:
        if told:
            core.media.speak(["zh"])
        else:
            await site.heard(core, ["zh/w7"], 1)
        await settled(site, "zh")
        await site.replace_media(core)
        assert await site.heard(core, ["zh/w7"], 2) > 0.99      # at once: before media has said what it has
        assert await site.heard(core, ["en/w7"], 3) < 0.01
        await settled(site, "zh")

    scenario(tmp_path, body)


def test_nothing_is_played_by_numbers_of_media_that_is_gone(tmp_path: Path) -> None:
    async def body(site: Site, core: Core) -> None:
        await site.heard(core, ["zh/w7"], 1)
        await settled(site, "zh")
        with wave.open(str(tmp_path / "short.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(sine(HZ["en"], -10, 80).tobytes())
        site.plant.paths |= {f"en/x{n}": tmp_path / "short.wav" for n in range(WORDS)}     # the numbers that Chinese had until now
        core.media.subscribe(lambda event: core.media.play(4, ["zh/w7"], token=5) if isinstance(event, MediaLost) else None)
        await site.replace_media(core)
        await core.until(lambda: len(core.of(Played)) == 2)
        played, lost = core.of(Played)[1], core.of(MediaLost)[-1]
        assert (played.token, played.finished) == (5, True)
        assert played.at - lost.at >= 500, "the words were heard, not what had their number"

    scenario(tmp_path, body)


def test_media_that_is_replaced_while_it_loads_is_asked_anew(tmp_path: Path) -> None:
    async def body(site: Site, core: Core) -> None:
        core.media.speak(["zh"])
        await site.replace_media(core)
        await settled(site, "zh")
        assert await site.heard(core, ["zh/w59"], 1) > 0.99

    scenario(tmp_path, body)


@pytest.mark.parametrize("languages", [["en", "zh"], ["en"]])
def test_the_next_core_finds_what_was_loaded_or_has_it_loaded(tmp_path: Path, languages: list[str]) -> None:
    async def body(site: Site, core: Core) -> None:
        await site.heard(core, ["zh/w7"], 1)                    # some of Chinese is there, the rest is on its way
        core.media.detach()
        site.plant.ring.set_core_present(False)
        site.plant.ring.set_core_present(True)
        heir = Core(site.plant)
        await heir.media.start(site.files, languages)
        with contextlib.ExitStack() as stack:
            stack.callback(heir.media.detach)
            assert await site.heard(heir, ["zh/w58"], 2) > 0.99  # a call that went on in its language
            assert await site.heard(heir, ["zh/w7"], 3) > 0.99
            assert await site.heard(heir, ["en/w58"], 4) < 0.01
            await settled(site, "zh")

    scenario(tmp_path, body)


@pytest.mark.parametrize("how", ["stop", "tone", "play", "close", "dtmf"])
def test_what_would_have_stopped_a_prompt_ends_one_that_waits(tmp_path: Path, how: str) -> None:
    async def body(site: Site, core: Core) -> None:
        media = core.media
        await media.open_line(4, echo_tail_ms=0, rx_gain_db=0, tx_gain_db=0, tag="L")
        media.play(4, ["zh/w0"], token=1)
        match how:
            case "stop":
                media.stop(4)
            case "tone":
                media.tone(4, ToneSpec("t", (450.0,)))
            case "play":
                media.play(4, ["en/w0"], token=2)
            case "close":
                media.close(4)
            case "dtmf":
                media.send_dtmf(4, "1", token=3)
        await core.until(lambda: bool(core.of(Played)))
        assert (core.of(Played)[0].token, core.of(Played)[0].finished) == (1, False)
        await settled(site, "zh")
        await core.engine_ms(1000)
        assert [one.token for one in core.of(Played)] == ([1, 2] if how == "play" else [1])

    scenario(tmp_path, body)


def test_what_is_heard_ends_when_a_prompt_begins_to_wait(tmp_path: Path) -> None:
    async def body(site: Site, core: Core) -> None:
        await core.media.open_line(4, echo_tail_ms=0, rx_gain_db=0, tx_gain_db=0, tag="L")
        await core.media.play(4, ["en/w0"], token=1, loop=True)
        core.media.play(4, ["zh/w0"], token=2)
        await core.until(lambda: len(core.of(Played)) == 2)
        assert [(one.token, one.finished) for one in core.of(Played)] == [(1, False), (2, True)]

    scenario(tmp_path, body)


def test_a_file_that_cannot_be_had_is_left_out_and_the_rest_is_heard(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def body(site: Site, core: Core) -> None:
        (tmp_path / "broken.wav").write_bytes(b"RIFF")
        site.files["zh/w1"] = tmp_path / "broken.wav"
        site.files["zh/w2"] = tmp_path / "gone.wav"
        assert await site.heard(core, ["zh/w1", "zh/w0", "zh/w2"], 1) > 0.99
        core.media.play(4, ["zh/w2"], token=2)
        await core.until(lambda: any(one.token == 2 for one in core.of(Played)))
        told = [one for one in caplog.messages if "cannot be had" in one]
        assert sorted(one.split()[1] for one in told) == ["zh/w1", "zh/w2"], "each is told once"

    scenario(tmp_path, body)


def test_many_who_ask_at_once_are_all_served(tmp_path: Path) -> None:
    async def body(site: Site, core: Core) -> None:
        for slot in range(8):
            await core.media.open_line(slot, echo_tail_ms=0, rx_gain_db=0, tx_gain_db=0, tag=f"L{slot}")
            core.media.play(slot, [f"zh/w{n}" for n in range(slot, WORDS, 20)], token=slot + 1)
        await core.until(lambda: len(core.of(Played)) == 8)
        assert {(one.token, one.finished) for one in core.of(Played)} == {(n, True) for n in range(1, 9)}
        await settled(site, "zh")

    scenario(tmp_path, body)
