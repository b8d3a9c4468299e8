"""The façade of core over the engine: answers, events, ports, clips, recordings, adoption; over the real rings and threads."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firmware.app.media import _on_channel, load_clips, read_clip, side_of
from firmware.dsp.engine import Engine
from firmware.dsp.ring import RingSegment
from firmware.errors import EngineBusy, EngineRefused
from firmware.line.tones import ToneSpec
from firmware.media import Digit, Media, MediaEvent, MediaLost, Played, PortState, Recorded
from firmware.media.pool import PortPool
from firmware.runtime.clock import EngineClock
from tests.unit.engine_stage import World, sine

CLIPS = 450  # more than two pages of names


class Plant:
    """The media process without the process: world, engine and the far end of the descriptor channel."""

    def __init__(self, tmp: Path) -> None:
        self.ring = RingSegment.create()
        self.event_fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.world = World()
        self.media_end, self.core_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.media_end.setblocking(False)
        self.sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
        for one in self.sockets:
            one.bind(("127.0.0.1", 0))
            one.setblocking(False)
        self.paths = {f"en/c{n}": tmp / "c.wav" for n in range(CLIPS)}
        with wave.open(str(tmp / "c.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(sine(1000, -10, 1600).tobytes())
        self.ring.set_core_present(True)
        self.new_engine()
        self._stop = threading.Event()
        self._turn = threading.Thread(target=self._turns)
        self._turn.start()

    def new_engine(self) -> None:
        self.engine = Engine(self.ring, self.event_fd, self.world.fd, [s.fileno() for s in self.sockets])
        load_clips(self.engine, sorted(self.paths.items()))
        self.engine.start(lock_memory=False)

    def _turns(self) -> None:
        """The world: the next block as soon as the last one was ticked."""
        while not self._stop.is_set():
            with contextlib.suppress(AssertionError):
                self.world.wait_ticked(self.world.delivered, lambda: None, 0.2)
                if self.world.ticked >= self.world.delivered:
                    self.world.deliver()

    def close(self) -> None:
        self._stop.set()
        self._turn.join()
        self.engine.stop()
        for one in (*self.sockets, self.media_end, self.core_end):
            one.close()




class Core:
    """A core process: its façade, what it heard."""

    def __init__(self, plant: Plant) -> None:
        self.clock = EngineClock(plant.ring)
        self.media: Media[EngineClock] = Media(plant.ring, plant.event_fd, plant.core_end, self.clock)
        self.events: list[MediaEvent] = []
        self.media.subscribe(self.events.append)
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self.media.subscribe(self._check)

    def _check(self, _event: MediaEvent) -> None:
        for waiter in list(self._waiters):
            if waiter[0]():
                self._waiters.remove(waiter)
                if not waiter[1].done():
                    waiter[1].set_result(None)

    async def until(self, condition: Callable[[], bool]) -> None:
        if condition():
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((condition, future))
        await asyncio.wait_for(future, 20)

    async def engine_ms(self, ms: int) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.clock.call_later(ms, lambda: future.set_result(None))
        await asyncio.wait_for(future, 20)

    def of(self, kind: type[MediaEvent]) -> list[Any]:
        return [event for event in self.events if type(event) is kind]


def scenario(tmp_path: Path, body: Callable[[Plant, Core, list[PortState]], Any]) -> None:
    """Run `body` in a loop with a started core."""

    async def run() -> None:
        plant = Plant(tmp_path)
        loop = asyncio.get_running_loop()
        side = side_of(plant.engine, loop, plant.media_end)
        loop.add_reader(plant.media_end.fileno(), lambda: _on_channel(plant.engine, plant.media_end, side))
        core = Core(plant)
        try:
            states = await core.media.start(plant.paths, ["en"])
            await body(plant, core, states)
        finally:
            core.media.detach()
            loop.remove_reader(plant.media_end.fileno())
            plant.close()

    asyncio.run(run())


def test_a_fresh_start_adopts_nothing_and_knows_every_clip_and_port(tmp_path: Path) -> None:
    async def body(plant: Plant, core: Core, states: list[PortState]) -> None:
        assert states == []
        assert not core.media.adopted
        assert core.media.lost_clips == []
        ports = [core.media.allocate_rtp(f"leg{n}") for n in range(3)]
        assert [p.local_port for p in ports] == [s.getsockname()[1] for s in plant.sockets]
        with pytest.raises(EngineBusy, match="RTP"):
            core.media.allocate_rtp("leg3")

    scenario(tmp_path, body)


def test_a_prompt_is_played_and_a_refused_command_fails_its_future(tmp_path: Path) -> None:
    async def body(plant: Plant, core: Core, states: list[PortState]) -> None:
        media = core.media
        await media.open_line(4, echo_tail_ms=32, rx_gain_db=0.0, tx_gain_db=-3.0, tag="L1")
        media.play(4, ["en/c0", "en/c449"], token=12)
        await core.until(lambda: bool(core.of(Played)))
        (played,) = core.of(Played)
        assert (played.port, played.token, played.finished, played.digit) == (4, 12, True, "")
        assert played.wall_ms == 1_767_225_600_000 + played.at
        with pytest.raises(EngineRefused, match="state"):
            await media.join(1, 16)

    scenario(tmp_path, body)


def test_a_prompt_of_unknown_clips_ends_at_once_instead_of_never(tmp_path: Path) -> None:
    async def body(plant: Plant, core: Core, states: list[PortState]) -> None:
        core.media.play(4, ["xx/nothing"], token=5)
        await core.until(lambda: bool(core.of(Played)))
        assert core.of(Played)[0].token == 5

    scenario(tmp_path, body)


def test_a_closed_rtp_port_is_free_again_after_the_engine_has_closed_it(tmp_path: Path) -> None:
    async def body(plant: Plant, core: Core, states: list[PortState]) -> None:
        media = core.media
        ports = [media.allocate_rtp(f"leg{n}").port for n in range(3)]
        await media.open_rtp(
            ports[0], remote=("127.0.0.1", 4000), codec="pcma", payload_type=8, dtmf_type=101, ptime_ms=20,
            send=True, receive=True, tag="leg0",
        )  # fmt: skip
        (state,) = await media.ports()
        assert (state.port, state.kind, state.tag, state.codec, state.remote) == (16, "rtp", "leg0", "pcma", ("127.0.0.1", 4000))
        answer = media.close_rtp(ports[0])
        with pytest.raises(EngineBusy):
            media.allocate_rtp("early")
        await answer
        await core.engine_ms(20)
        assert media.allocate_rtp("late").port == ports[0]

    scenario(tmp_path, body)


def test_releasing_commands_wait_for_room_and_others_are_refused(tmp_path: Path) -> None:
    async def body(plant: Plant, core: Core, states: list[PortState]) -> None:
        media = core.media
        answers = [media.stop(0) for _ in range(1500)]
        with pytest.raises(EngineBusy):
            media.join(0, 4)
        await asyncio.wait_for(asyncio.gather(*answers), 20)
        await media.join(0, 4)

    scenario(tmp_path, body)


def test_a_recording_travels_by_descriptor_and_is_whole(tmp_path: Path) -> None:
    async def body(plant: Plant, core: Core, states: list[PortState]) -> None:
        media = core.media
        media.open_line(4, echo_tail_ms=0, rx_gain_db=0, tx_gain_db=0, tag="L")
        media.tone(4, ToneSpec("t", (450.0,)))
        path = tmp_path / "rec.wav"
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        answer = media.record(4, fd, token=99)
        await answer
        os.close(fd)
        await core.engine_ms(1000)
        media.stop_record(4)
        await core.until(lambda: bool(core.of(Recorded)))
        (done,) = core.of(Recorded)
        with wave.open(str(path)) as file:
            assert file.getnframes() == done.samples
            frames = np.frombuffer(file.readframes(done.samples), np.int16).reshape(-1, 2)
        assert done.token == 99
        assert done.samples + done.lost_samples >= 7900
        if done.samples:
            assert np.abs(frames[:, 1]).max() > 5000

    scenario(tmp_path, body)


def test_keys_and_detectors_go_through_the_facade(tmp_path: Path) -> None:
    async def body(plant: Plant, core: Core, states: list[PortState]) -> None:
        media = core.media
        tone = ToneSpec("busy", (450.0,), cadence_ms=(350, 350))
        await media.detect(4, digits=True, fsk="v23", voice=True, tones=[tone] * 6)
        media.relay(4, 4)
        await media.send_dtmf(4, "5", token=1)
        long = b"\x80\xf0" + bytes(240)
        await media.send_fsk(4, long, standard="bell202", token=2)
        await media.mute_digits(4, True)
        with pytest.raises(ValueError, match="tones"):
            media.detect(4, digits=True, tones=[tone] * 9)

    scenario(tmp_path, body)


def test_a_new_core_adopts_the_ports_of_the_old_and_gets_what_was_missed(tmp_path: Path) -> None:
    async def body(plant: Plant, core: Core, states: list[PortState]) -> None:
        rtp = core.media.allocate_rtp("leg-a")
        core.media.open_rtp(
            rtp.port, remote=None, codec="pcmu", payload_type=0, dtmf_type=None, ptime_ms=20, send=True, receive=True, tag="leg-a"
        )
        core.media.watch_line(4, "fxs")
        core.media.play(4, ["en/c0"] * 3, token=44)
        await core.media.join(2, rtp.port)
        core.media.detach()  # killed
        plant.ring.set_core_present(False)
        late = plant.world.ticked + 70
        await asyncio.to_thread(plant.world.wait_ticked, late, lambda: None)

        plant.ring.set_core_present(True)
        heir = Core(plant)
        states = await heir.media.start(plant.paths, ["en"])
        heard_at_start = list(heir.events)
        assert heir.media.adopted
        assert {s.port: (s.tag, s.bridge) for s in states}[rtp.port] == ("leg-a", 2)
        assert heard_at_start == []  # events wait until the drivers have adopted
        await heir.until(lambda: bool(heir.of(Played)))
        assert heir.of(Played)[0].token == 44
        assert heir.media.allocate_rtp("new").port != rtp.port
        heir.media.detach()

    scenario(tmp_path, body)


def test_a_replaced_media_process_is_told_and_its_commands_fail(tmp_path: Path) -> None:
    async def body(plant: Plant, core: Core, states: list[PortState]) -> None:
        core.media.open_line(4, echo_tail_ms=0, rx_gain_db=0, tx_gain_db=0, tag="L")
        await core.engine_ms(50)
        await asyncio.to_thread(plant.engine.stop)
        waiting = core.media.stop(4)
        await asyncio.to_thread(plant.new_engine)
        with pytest.raises(EngineRefused, match="replaced"):
            await asyncio.wait_for(waiting, 20)
        await core.until(lambda: bool(core.of(MediaLost)))
        assert core.of(MediaLost)[0].epoch == 2
        assert await core.media.ports() == []

    scenario(tmp_path, body)


def test_a_failing_subscriber_does_not_keep_others_from_hearing(tmp_path: Path) -> None:
    async def body(plant: Plant, core: Core, states: list[PortState]) -> None:
        def broken(event: MediaEvent) -> None:
            raise RuntimeError("broken")

        core.media.subscribe(broken)
        heard: list[MediaEvent] = []
        core.media.subscribe(heard.append)
        core.media.play(4, ["en/c1"], token=1)
        await core.until(lambda: bool(core.of(Played)))
        assert len(heard) == len(core.events)
        assert not core.of(Digit)

    scenario(tmp_path, body)


def test_a_clip_of_another_format_is_named_with_what_differs(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "x.wav"), "wb") as file:
        file.setparams((2, 2, 44100, 0, "NONE", ""))
        file.writeframes(b"\0" * 400)
    with pytest.raises(ValueError, match="44100 Hz, 2 channels"):
        read_clip(tmp_path / "x.wav")


def test_the_lowest_port_that_has_rested_is_taken_and_else_the_one_that_rests_longest() -> None:
    at = 0
    pool = PortPool(lambda: at)
    pool.fill(range(16, 20), [17])
    assert [pool.take(), pool.take(), pool.take(), pool.take()] == [16, 18, 19, None]
    pool.give(19)
    pool.give(40)                                              # nobody's
    at = 100
    pool.give(16)
    assert pool.take() == 19                                   # nobody has rested enough
    pool.give(19)
    at = 10_000
    assert [pool.take(), pool.take(), pool.take()] == [16, 19, None]
    assert pool.taken == {16, 17, 18, 19}
