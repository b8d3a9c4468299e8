"""Registers of the Si3050 + Si3019 (data; L3): names for messages, bits, values after reset.

Numbers are decimal as in the datasheet (Si3050+Si3011/18/19, revision 1.5).
"""

from __future__ import annotations

CONTROL_1 = 1
CONTROL_2 = 2
INTERRUPT_MASK = 3
INTERRUPT_SOURCE = 4
DAA_1 = 5
DAA_2 = 6
REVISION = 11
LINE_STATUS = 12
LINE_REVISION = 13
MUTE = 15
INTERNATIONAL_1 = 16
INTERNATIONAL_2 = 17
INTERNATIONAL_3 = 18
INTERNATIONAL_4 = 19
RING_1, RING_2, RING_3 = 22, 23, 24
DC_TERMINATION = 26
LOOP_CURRENT = 28
LINE_VOLTAGE = 29
AC_TERMINATION = 30
DAA_3 = 31
PCM_MODE = 33
TX_START_LOW, TX_START_HIGH, RX_START_LOW, RX_START_HIGH = 34, 35, 36, 37
TX_GAIN, RX_GAIN, TX_GAIN_TENTHS, RX_GAIN_TENTHS = 38, 39, 40, 41
HYBRID_FIRST, HYBRID_TAPS = 45, 8
SPARK_QUENCH = 59

NAMES: dict[int, str] = {
    1: "control 1", 2: "control 2", 3: "interrupt mask", 4: "interrupt source", 5: "DAA control 1", 6: "DAA control 2", 7: "sample rate",
    10: "DAA control 3", 11: "chip revision", 12: "line status", 13: "line-side revision", 15: "mute", 16: "international 1",
    17: "international 2", 18: "international 3", 19: "international 4", 22: "ring validation 1", 23: "ring validation 2",
    24: "ring validation 3", 25: "resistor calibration", 26: "DC termination",
    28: "loop current", 29: "line voltage", 30: "AC termination", 31: "DAA control 4",
    32: "ground start", 33: "PCM mode", 34: "TX start low", 35: "TX start high", 36: "RX start low", 37: "RX start high", 38: "TX gain",
    39: "RX gain", 40: "TX gain tenths", 41: "RX gain tenths", 43: "threshold", 44: "threshold control", 59: "spark quench",
    **{HYBRID_FIRST + tap: f"hybrid {tap + 1}" for tap in range(HYBRID_TAPS)},
}  # fmt: skip

RESET_VALUES: dict[int, int] = {1: 0x00, 2: 0x03, 5: 0x00, 6: 0x10, 16: 0x00, 17: 0x00, 22: 0x96, 23: 0x2D, 24: 0x19, 31: 0x20}

SOFT_RESET = 0x80  # reg 1
INTERRUPT_ENABLE = 0x80  # reg 2
EVENTS = 0x80 | 0x20 | 0x08 | 0x01  # regs 3 and 4: ringing, isolation link, drop-out, polarity
# reg 5
RING_NEGATIVE, RING_POSITIVE, ON_HOOK_MONITOR, RING_LATCHED, OFF_HOOK = 0x40, 0x20, 0x08, 0x04, 0x01
NEVER_SET_5 = 0x92  # b7, b4, b1 read 0
LINE_SIDE_DOWN = 0x10  # reg 6 PDL
FRAME_LOCK, LOOP_CURRENT_MASK = 0x40, 0x1F  # reg 12
ALWAYS_SET_13 = 0x40
MUTE_TO_LINE, MUTE_FROM_LINE = 0x80, 0x08  # reg 15
NO_AUTO_CALIBRATION, OVERLOAD_PROTECT = 0x20, 0x08  # reg 17
RING_FULL_WAVE = 0x02  # reg 18
OVERLOAD, DROP_OUT, OVERLOAD_DETECTED = 0x04, 0x02, 0x01  # reg 19
RING_VALIDATION = 0x80  # reg 24
FULL_SCALE_2 = 0x10  # reg 30
FULL_SCALE, OFF_HOOK_COUNTER, SLOW_ON_HOOK, LOW_CORNER, LOW_VOLTAGE_SHOWN = 0x80, 0x60, 0x08, 0x02, 0x01  # reg 31
OFF_HOOK_COUNTER_MS = (512, 128, 64, 8)
PCM_LOOP, PCM_ENABLE, PCM_LINEAR, PCM_EARLY_RELEASE = 0x80, 0x20, 0x18, 0x01  # reg 33
ATTENUATE = 0x10  # reg 38..41

LINE_SIDES = {1: "Si3018", 3: "Si3019"}
LOOP_CURRENT_STEP_MA = 3.3  # reg 12
LOOP_CURRENT_2_STEP_MA = 1.1  # reg 28
RING_CONFIRM_MS = (100, 150, 200, 256, 384, 512, 640, 1024)  # reg 23 b2..0
