"""The simulated fixture: its wires carry what was put on them, its instruments read the copper, one seed gives one board."""

from __future__ import annotations

import math

import numpy as np
import pytest

from firmware.errors import HardwareError
from firmware.sim.fixture import FAULTS, SimStand
from firmware.sim.fixture_copper import Copper
from firmware.sim.fixture_instruments import level_of

PLAIN = {"loss_db": 0.0, "erl_db": 60.0, "noise_dbm0": -110.0, "crosstalk_db": 110.0, "low_pass": 1.0, "high_pass_hz": 0.0, "bend": 0.0}


def plain(ports: int) -> Copper:
    """Wires that add nothing."""
    copper = Copper(ports, 7)
    for port in range(ports):
        for name, value in PLAIN.items():
            copper.set(port, name, value)
    return copper


def tone(hertz: float, dbm0: float, count: int = 4000) -> np.ndarray:
    return np.round(22750 * 10 ** (dbm0 / 20) * np.sin(2 * np.pi * hertz * np.arange(count) / 8000)).astype("<i2")


def through(copper: Copper, sent: list[np.ndarray]) -> list[np.ndarray]:
    """What each port hears."""
    return list(np.frombuffer(copper.block(np.concatenate(sent).tobytes()), "<i2").reshape(len(sent), -1))


def level(samples: np.ndarray, hertz: float) -> float:
    return level_of(samples.tolist(), hertz)


def test_a_cable_carries_level_loss_and_sign() -> None:
    copper = plain(2)
    quiet = np.zeros(4000, "<i2")
    copper.join(0, 1, False)
    heard = through(copper, [tone(1000, -10), quiet])
    assert np.abs(heard[1].astype(int) - tone(1000, -10)).max() <= 1
    copper.join(0, 1, True)
    copper.set(1, "loss_db", 6.0)
    heard = through(copper, [tone(1000, -10), quiet])
    assert level(heard[1], 1000) == pytest.approx(-16, abs=0.02)
    assert np.dot(heard[1].astype(float), tone(1000, -10).astype(float)) < 0
    copper.part()
    assert level(through(copper, [tone(1000, -10), quiet])[1], 1000) < -80


@pytest.mark.parametrize("erl", [7.0, 20.0])
def test_a_hybrid_has_its_return_loss_over_the_band(erl: float) -> None:
    copper = plain(1)
    copper.set(0, "erl_db", erl)
    dice = np.random.default_rng(3)
    noise = (dice.standard_normal(8000) * 3000).astype("<i2")
    (heard,) = through(copper, [noise])
    assert 10 * math.log10(np.mean(noise.astype(float) ** 2) / np.mean(heard.astype(float) ** 2)) == pytest.approx(erl, abs=0.2)


def test_noise_crosstalk_source_and_filters_have_their_size() -> None:
    copper = plain(3)
    copper.set(0, "noise_dbm0", -50.0)
    copper.set(2, "crosstalk_db", 45.0)
    copper.source(1, 1000.0, -13.0)
    quiet = np.zeros(8000, "<i2")
    heard = through(copper, [tone(600, -10, 8000), quiet, quiet])
    rest = heard[0].astype(float)
    echo = tone(600, -70, 8000)
    assert 10 * math.log10(np.mean((rest - echo * 0) ** 2) / (22750**2 / 2)) == pytest.approx(-50, abs=0.3)
    assert level(heard[1], 1000) == pytest.approx(-13, abs=0.02)
    assert level(heard[2], 600) == pytest.approx(-55, abs=0.2)
    copper = plain(2)
    copper.join(0, 1, False)
    copper.set(1, "notch_hz", 1477.0)
    quiet = np.zeros(4000, "<i2")
    assert level(through(copper, [tone(1477, -10), quiet])[1][800:], 1477) < -30
    assert level(through(copper, [tone(1004, -10), quiet])[1][800:], 1004) == pytest.approx(-10, abs=0.3)


def test_bent_wires_make_the_third_harmonic() -> None:
    copper = plain(2)
    copper.join(0, 1, False)
    copper.set(1, "bend", 1.9)
    heard = through(copper, [tone(1000, -10), np.zeros(4000, "<i2")])[1]
    assert -46 < level(heard, 3000) < -40


def powered(stand: SimStand) -> None:
    """Chips with what a call needs, written as a driver would, without one."""
    stand.highway.start()
    for kind in ("fxo", "fxs"):
        stand.line(f"reset-{kind}").write(True)
    stand.line("relay").write(True)
    fxo, fxs = stand.spi("fxo"), stand.spi("fxs")
    for register, value in ((6, 0x00), (2, 0x03), (24, 0)):
        fxo.transfer([0x20, register, value])
    fxs.transfer([0])
    fxs.transfer([0x80])
    stand.clock.sleep(200)
    for register, value in ((108, 0), (14, 0)):
        fxs.transfer([1, register, value])
    stand.clock.sleep(300)
    fxs.transfer([1, 64, 1])
    stand.clock.sleep(50)


def test_both_ends_of_a_cable_have_the_same_current() -> None:
    stand = SimStand(1, 1, tolerances=False)
    powered(stand)
    fixture = stand.fixture
    fixture.join("fxs:1", "fxo:1", False)
    assert fixture.volts("fxo:1") == pytest.approx(fixture.volts("fxs:1"), abs=0.5)
    assert fixture.milliamps("fxs:1") == 0
    stand.spi("fxo").transfer([0x20, 5, 0x01])
    stand.clock.sleep(50)
    assert stand.board.fxo[0].state["closed"]
    assert fixture.milliamps("fxo:1") == pytest.approx(fixture.milliamps("fxs:1"), abs=0.3)
    assert fixture.milliamps("fxo:1") == pytest.approx(20, abs=0.5)
    fixture.part()
    fixture.join("fxo:1", "fxs:1", True)
    assert fixture.volts("fxo:1") < 0 < fixture.volts("fxs:1")


def test_the_lifeline_relay_cuts_its_jacks_off() -> None:
    stand = SimStand(2, 2, tolerances=False)
    powered(stand)
    fixture = stand.fixture
    assert fixture.volts("fxs:1") == pytest.approx(48, abs=1)
    assert fixture.ohms("fxo:1", "fxs:1") > 1e8
    stand.line("relay").write(False)
    assert fixture.volts("fxs:1") == 0
    assert fixture.ohms("fxo:1", "fxs:1") < 1
    assert fixture.ohms("fxo:2", "fxs:2") > 1e8
    assert not stand.line("sense").read()


def test_a_feeder_keeps_its_current_limit() -> None:
    stand = SimStand(1, 1, tolerances=False, lifeline=None)
    powered(stand)
    stand.fixture.feed("fxo:1", 48.0, 600.0, 25.0)
    stand.spi("fxo").transfer([0x20, 5, 0x01])
    stand.clock.sleep(20)
    assert stand.fixture.milliamps("fxo:1") == pytest.approx(25, abs=0.5)


def test_one_seed_gives_one_board_and_another_one_another() -> None:
    def drawn(seed: int) -> tuple[object, ...]:
        stand = SimStand(4, 4, seed=seed)
        return (stand.supply_factor, stand.ppm, stand.rails, [port.get("lvs_gain") for port in stand.board.fxo])

    assert drawn(5) == drawn(5)
    assert drawn(5) != drawn(6)
    for seed in range(200):
        stand = SimStand(2, 2, seed=seed)
        assert abs(stand.ppm) <= 30
        assert 0.09 < stand.contact_ohms < 0.61
        assert all(abs(port.get("lvs_gain") - 1) <= 0.0801 for port in stand.board.fxo)


def test_a_held_tone_goes_on_between_exchanges() -> None:
    stand = SimStand(1, 1)
    stand.highway.start()
    held = tone(1000, -10, 80).tobytes()
    stand.highway.hold({0: held})
    _, _ = stand.highway.run({}, 100)
    assert stand.highway._repeated(0, 80) == held[40:] + held[:40]


@pytest.mark.parametrize("call", [("volts", "fxo:3"), ("volts", "xyz"), ("rail_volts", "9V"), ("hertz", "nothing")])
def test_the_fixture_refuses_what_it_has_not(call: tuple[str, str]) -> None:
    with pytest.raises(HardwareError):
        getattr(SimStand(1, 1).fixture, call[0])(call[1])


def test_unknown_faults_are_refused_and_known_ones_listed() -> None:
    with pytest.raises(HardwareError, match="noisy-fxo"):
        SimStand(1, 1, faults={"gremlins": 1.0})
    assert len(FAULTS) == len(set(FAULTS))
