"""Every fault makes its step fail, that step only, with the right words; a good board passes with any tolerances."""

from __future__ import annotations

import random

import pytest

from firmware.factory.phrases import reason_in
from firmware.factory.runner import STEPS
from firmware.sim.fixture import FAULTS
from tests.conftest import soak
from tests.unit.factory_stage import bench_of, run, small, whole

BOARD, LIMITS = small()

# fault: (step that fails, words of the reason, is it a safety stop?)
EXPECTED: dict[str, tuple[str, str, bool]] = {
    "over-current": ("supply", "2600 mA, more than 1500 mA", True),
    "rail-low": ("supply", "rail 5V", True),
    "shorted-fxs:2": ("supply", "FXS 2, across the open jack", True),
    "shorted-fxo:2": ("supply", "FXO 2, across the open jack", True),
    "hungry-slic": ("supply-active", "all SLICs active", True),
    "eeprom-dead": ("identity", "CRC", False),
    "eeprom-unprotected": ("identity", "write protection does not hold", False),
    "clock-drift=120": ("clocks", "bit clock error", False),
    "clocks-dead": ("clocks", "no bit clock", False),
    "xrun": ("clocks", "breaks of the stream", False),
    "dead-fxo:2": ("spi", "expected 2 chips on /dev/spidev0.0, found 1", False),
    "dead-fxs:2": ("spi", "expected 2 chips on /dev/spidev0.1, found 1", False),
    "old-fxs:2": ("spi", "FXS 2, revision: 1, limit 2 .. 14; the chip is too old", False),
    "spi-flips-fxo=0.02": ("spi", "", False),
    "spi-flips-fxs=0.02": ("spi", "", False),
    "reset-open-fxo": ("reset", "FXO 1: RESET does not reset the chip", False),
    "reset-open-fxs": ("reset", "FXS chain: RESET does not reset the chips", False),
    "reset-crossed": ("reset", "the lines are joined", False),
    "int-stuck-fxo": ("interrupts", "INT of the FXO chain is low while no chip asks", False),
    "int-stuck-fxs": ("interrupts", "INT of the FXS chain is low while no chip asks", False),
    "int-open-fxo": ("interrupts", "INT falls after: never, limit <= 5 ms; INT of the FXO chain", False),
    "int-open-fxs": ("interrupts", "INT falls after: never, limit <= 5 ms; INT of the FXS chain", False),
    "slot-clash:4": ("slots", "FXS 1, loudest other slot", False),
    "slot-shift": ("slots", "delay of the own pattern: never", False),
    "no-link:2": ("link", "FXO 2, isolation link: never", False),
    "wrong-line-side:2": ("link", "a Si3018 cannot measure the line", False),
    "no-converter:2": ("converter", "FXS 2, converter rises in: never", True),
    "leaky-supply:2": ("converter", "FXS 2, left after 500 ms without converter", True),
    "endless-calibration:2": ("calibration", "calibration does not end", False),
    "relay-welded": ("lifeline", "smallest resistance, apart", False),
    "relay-dead": ("lifeline", "the relay does not pull", False),
    "relay-ohms=4": ("lifeline", "largest resistance, joined", False),
    "sense-wrong": ("lifeline", "wrong states of the sense contact in 4 cycles: 8", False),
    "swapped-fxs:2": ("idle-voltage", "tip and ring are swapped", False),
    "poor-feed:2": ("loop", "FXS 2, loop current at 20 mA, by the meter", False),
    "weak-ring:2": ("ringing", "FXS 2, ringing into 1 REN", False),
    "slow-ring:2": ("ringing", "ringing frequency", False),
    "line-meter:2": ("line-voltage", "FXO 2, +48 V", False),
    "swapped-fxo:2": ("line-voltage", "tip and ring are swapped", False),
    "hook-stuck:2": ("line-loop", "the hook switch does not follow", False),
    "series-fxo:2=2500": ("line-loop", "FXO 2, loop current, by the meter", False),
    "deaf-fxo:2": ("ring-detect", "FXO 2, 50 Vrms detected after: never", False),
    "chatter:2=0.3": ("ring-detect", "the ring detector is too sensitive", False),
    "noisy-fxo:2": ("analog", "FXO 2, idle noise", False),
    "noisy-fxs:2": ("analog", "FXS 2, idle noise", False),
    "echo-fxo:2": ("analog", "FXO 2, echo return loss", False),
    "echo-fxs:2": ("analog", "FXS 2, echo return loss", False),
    "weak-fxo:2": ("analog", "FXS 2 > FXO 2, level at 1004 Hz", False),
    "dull-fxo:2": ("analog", "response at 3400 Hz", False),
    "bent-fxo:2": ("analog", "FXS 2 > FXO 2, signal to distortion", False),
    "crosstalk-fxo:2": ("analog", "crosstalk into other ports", False),
    "notch-fxo:2": ("call", "FXS 2 > FXO 2, wrong or missing digits", False),
    "onhook-deaf:2": ("call", "caller ids not decoded", False),
    "led-dead:status": ("panel", "LED status is not on", False),
    "button-dead": ("panel", "the button was not seen", False),
    "half-duplex": ("ethernet", "half duplex", False),
    "packet-loss": ("ethernet", "packets lost", False),
    "foreign-mac": ("ethernet", "label and memory have 70:B3:D5:00:00:01", False),
    "rtc-slow": ("rtc", "clock error after 60 s without supply", False),
    "rtc-battery": ("rtc", "battery of the clock", False),
    "emmc-bad": ("storage", "on eMMC", False),
    "usb-missing": ("storage", "USB sticks", False),
    "hot": ("storage", "temperature sensor", False),
    "watchdog-dead": ("storage", "watchdog resets after: never", False),
    "watchdog-relay": ("storage", "relay is not released", False),
}


def test_every_fault_of_the_stand_and_every_step_is_covered() -> None:
    named = {fault.partition("=")[0].partition(":")[0] for fault in EXPECTED}
    assert named == set(FAULTS) - {"fixture-drift"}  # a fault of the fixture: the golden board finds it
    assert {step for step, _, _ in EXPECTED.values()} == {step.name for step in STEPS} - {"insulation"}


@pytest.mark.parametrize("fault", EXPECTED)
def test_a_fault_fails_its_step_only(fault: str, seed: int) -> None:
    step, words, safety = EXPECTED[fault]
    name, _, size = fault.partition("=")
    found = run(bench_of(BOARD, seed=seed, faults={name: float(size or 1)}), BOARD, LIMITS)
    assert found.failed == [step], found.reasons()
    assert any(words in reason for reason in found.reasons()), found.reasons()
    attempts = [one.attempt for one in found.results if one.step == step]
    if safety:
        assert found.verdict == "stopped"
        assert attempts == [1]
        after = found.results[[one.step for one in found.results].index(step) + 1 :]
        assert {one.status for one in after} <= {"not-run", "laboratory"}
        assert found.rig.fixture.supply_milliamps() == 0.0
    else:
        assert found.verdict == "repair"
        assert attempts == [1, 2]
    assert found.rig.faults_at_end == []
    assert powered_ports(found) == 0
    assert not any(trunk.state["closed"] for trunk in found.rig.fixture._stand.board.fxo)
    assert not found.rig.fixture._stand.relay


def powered_ports(found) -> int:  # type: ignore[no-untyped-def]
    """FXS ports that still feed something."""
    return sum(bool(phone.state["powered"]) for phone in found.rig.fixture._stand.board.fxs)


@pytest.mark.parametrize("number", range(4))
def test_a_good_board_passes_with_any_tolerances(number: int, seed: int) -> None:
    for more in range(soak()):
        bench = bench_of(BOARD, seed=seed + 4 * more + number)
        found = run(bench, BOARD, LIMITS)
        assert found.failed == [], found.reasons()
        assert found.verdict == "pass"
        assert found.restarts == 2
        assert {one.status for one in found.results} == {"pass", "laboratory"}
        assert powered_ports(found) == 0
        assert not bench.stand.relay
        # Nothing that a data sheet forbids: at the end chips are written while RESET is held, which reaches nobody.
        assert set(bench.stand.chips.illegal_counts()) <= {"in-reset"}


def test_the_whole_board_passes_within_its_budgets(seed: int) -> None:
    board, limits = whole()
    found = run(bench_of(board, seed=seed), board, limits)
    assert found.verdict == "pass", found.reasons()
    for one in found.results:
        assert one.seconds <= one.budget_s, (one.step, one.seconds)
    assert sum(one.seconds for one in found.results) < 600
    assert len([number for one in found.results for number in one.numbers]) > 250


def test_two_faults_are_both_told(seed: int) -> None:
    found = run(bench_of(BOARD, seed=seed, faults={"weak-ring:1": 1.0, "deaf-fxo:2": 1.0}), BOARD, LIMITS)
    assert found.failed == ["ringing", "ring-detect"]


def test_a_contact_that_was_cleaned_passes_the_repeat(seed: int) -> None:
    bench = bench_of(BOARD, seed=seed, faults={"series-fxo:2": 2500.0})

    def keep(result) -> None:  # type: ignore[no-untyped-def]
        if result.status == "fail":
            bench.stand.faults.clear()

    found = run(bench, BOARD, LIMITS, keep=keep)
    assert found.failed == ["line-loop"]
    assert found.of("line-loop").status == "pass"
    assert found.of("line-loop").attempt == 2
    assert found.verdict == "pass"


def test_steps_whose_predecessor_failed_are_skipped_with_the_reason(seed: int) -> None:
    found = run(bench_of(BOARD, seed=seed, faults={"dead-fxs:1": 1.0}), BOARD, LIMITS)
    assert found.of("ringing").status == "skip"
    assert found.of("reset").reasons == ["needs spi, which did not pass"]
    assert found.of("panel").status == "pass"


def test_a_failure_of_an_earlier_run_counts(seed: int) -> None:
    found = run(bench_of(BOARD, seed=seed, faults={"led-dead:status": 1.0}), BOARD, LIMITS, earlier=["panel"])
    assert found.verdict == "repair"
    assert [one.attempt for one in found.results if one.step == "panel"] == [1]


def test_a_failed_step_leaves_every_port_at_rest(seed: int) -> None:
    """A hook that did not follow is told to open again: when it comes loose later, the line is not seized by nobody."""
    bench = bench_of(BOARD, seed=seed, faults={"hook-stuck:2": 1.0})

    def keep(result) -> None:  # type: ignore[no-untyped-def]
        if result.status == "fail":
            bench.stand.repair()

    found = run(bench, BOARD, LIMITS, keep=keep)
    assert found.of("line-loop").status == "pass", found.reasons()
    assert found.verdict == "pass"


@pytest.mark.parametrize("number", range(3))
def test_a_bus_that_breaks_in_the_middle_never_ends_the_program_nor_leaves_power(number: int, seed: int) -> None:
    """Lost bytes, flipped bits, a dead bus, a chip that resets itself, at any time: a verdict, and nothing fed any more."""
    for more in range(soak()):
        dice = random.Random(seed + 3 * more + number)
        bench = bench_of(BOARD, seed=dice.getrandbits(30))
        moment = dice.choice([step.name for step in STEPS[2:19]])
        kind = dice.choice(["fxo", "fxs"])
        what, size = dice.choice(
            [("all_ff", 1.0), ("all_00", 1.0), ("flip_in", 0.003), ("flip_out", 0.003), ("slip", 0.002), ("slip_next", 1.0), ("reset", 1.0)]
        )

        def keep(result, bench=bench, dice=dice, moment=moment, kind=kind, what=what, size=size) -> None:  # type: ignore[no-untyped-def]
            if result.step != moment:
                return
            if what == "reset":
                dice.choice(bench.stand.ports[kind]).self_reset()
            else:
                bench.stand.board.spi[kind].set(**{what: size})

        found = run(bench, BOARD, LIMITS, keep=keep)
        assert found.verdict in ("pass", "fail", "repair", "stopped"), (moment, kind, what)
        assert powered_ports(found) == 0, (moment, kind, what)
        assert not any(trunk.state["closed"] for trunk in bench.stand.board.fxo), (moment, kind, what)
        assert all(one.reasons for one in found.results if one.status == "fail")


@pytest.mark.parametrize("number", range(3))
def test_any_two_faults_fail_steps_of_theirs_only(number: int, seed: int) -> None:
    for more in range(soak()):
        dice = random.Random(seed + 3 * more + number)
        chosen = dice.sample(sorted(EXPECTED), 2)
        steps = {EXPECTED[fault][0] for fault in chosen}
        faults = {fault.partition("=")[0]: float(fault.partition("=")[2] or 1) for fault in chosen}
        found = run(bench_of(BOARD, seed=dice.getrandbits(30), faults=faults), BOARD, LIMITS)
        order = [step.name for step in STEPS]
        assert found.failed, chosen
        assert set(found.failed) <= steps, (chosen, found.reasons())
        assert found.failed[0] == min(steps, key=order.index), (chosen, found.reasons())
        assert powered_ports(found) == 0


def test_every_number_has_a_chinese_name(seed: int) -> None:
    found = run(bench_of(BOARD, seed=seed), BOARD, LIMITS)
    plain = {"+48 V", "-48 V", "+24 V", "-24 V", "link"}  # understood as they are
    missing = {
        number.name
        for one in found.results
        for number in one.numbers
        if number.name not in plain and reason_in("zh", number.name) == number.name
    }
    assert not missing
    reason = "FXS 2, ringing into 1 REN: never, limit >= 45 Vrms"
    assert reason_in("en", reason) == reason
    assert reason_in("zh", reason) == "FXS 2, 振铃电压，负载 1 REN: 始终未出现, 限值 >= 45 Vrms"
