"""Registers of the Si3210 and Si3215 (data; L3): names for messages, bits, values after reset, indirect registers.

Numbers are decimal as in the datasheet (Si3215, revision 0.92); indirect numbers are those of the Si3210 and are translated.
"""

from __future__ import annotations

SPI_MODE = 0
PCM_MODE = 1
TX_START_LOW, TX_START_HIGH, RX_START_LOW, RX_START_HIGH = 2, 3, 4, 5
LOOPBACK = 8
AUDIO = 9
IMPEDANCE = 10
HYBRID = 11
POWER_DOWN = 14
INTERRUPTS = (18, 19, 20)
INTERRUPT_ENABLES = (21, 22, 23)
ALARMS = 19
INDIRECT_LOW, INDIRECT_HIGH, INDIRECT_ADDRESS, INDIRECT_STATUS = 28, 29, 30, 31
RING_CONTROL = 34
LINEFEED = 64
BIAS = 66
AUTOMATION = 67
DETECTORS = 68
LOOP_DEBOUNCE, TRIP_DEBOUNCE = 69, 70
LOOP_LIMIT = 71
OPEN_VOLTAGE, COMMON_VOLTAGE, HIGH_BATTERY, LOW_BATTERY = 72, 73, 74, 75
LOOP_VOLTAGE, LOOP_CURRENT = 78, 79
TIP_VOLTAGE, RING_VOLTAGE, BATTERY_1, BATTERY_2 = 80, 81, 82, 83
GAIN_5_CURRENT, GAIN_6_CURRENT = 88, 89
DC_PERIOD, DC_TIMING = 92, 93
CALIBRATION_START, CALIBRATION_SELECT = 96, 97
CALIBRATION_TIP, CALIBRATION_RING = 98, 99
PEAK_CURRENT = 107
ENHANCEMENTS = 108

NAMES: dict[int, str] = {
    0: "SPI mode", 1: "PCM mode", 2: "TX start low", 3: "TX start high", 4: "RX start low", 5: "RX start high", 8: "loopback",
    9: "audio gain", 10: "two-wire impedance", 11: "hybrid", 14: "power down", 18: "interrupt 1", 19: "interrupt 2", 20: "interrupt 3",
    21: "interrupt enable 1", 22: "interrupt enable 2", 23: "interrupt enable 3", 24: "DTMF digit", 28: "indirect low", 29: "indirect high",
    30: "indirect address", 31: "indirect status", 34: "ring control", 64: "linefeed", 66: "bias", 67: "automation", 68: "detectors",
    69: "loop debounce", 70: "ring-trip debounce", 71: "loop current limit", 72: "open-circuit voltage", 73: "common voltage",
    74: "high battery", 75: "low battery", 78: "loop voltage", 79: "loop current", 80: "tip voltage", 81: "ring voltage",
    82: "battery sense 1", 83: "battery sense 2", 88: "transistor 5 current", 89: "transistor 6 current", 92: "DC-DC period",
    93: "DC-DC timing", 94: "DC-DC pulse", 96: "calibration start", 97: "calibration select", 98: "calibration tip", 99: "calibration ring",
    107: "DC-DC peak current", 108: "enhancements",
}  # fmt: skip

RESET_VALUES: dict[int, int] = {
    8: 0x02, 10: 0x08, 11: 0x33, 14: 0x10, 64: 0x00, 66: 0x03, 67: 0x1F, 69: 0x0A, 70: 0x0A, 72: 0x20, 73: 0x02, 74: 0x32, 75: 0x10,
    92: 0xFF,
}  # fmt: skip

DAISY_CHAIN, REVISION_MASK = 0x80, 0x0F  # reg 0
FAMILY_3215, PCM_ENABLE, PCM_LINEAR, PCM_16_BIT, PCM_EARLY_RELEASE = 0x80, 0x20, 0x18, 0x04, 0x01  # reg 1
AFTER_RESET_8 = 0x02
FULL_LOOP, DIGITAL_LOOP = 0x04, 0x02  # reg 8
MUTE_FROM_LINE, MUTE_TO_LINE = 0x20, 0x10  # reg 9: TX is from the line to the bus
IMPEDANCE_ENABLE = 0x08  # reg 10
CONVERTER_OFF = 0x10  # reg 14
POWER_ALARMS, LOOP_CLOSURE_ALARM, RING_TRIP_ALARM = 0xFC, 0x02, 0x01  # reg 19
INDIRECT_DONE = 0x02  # reg 20
INDIRECT_BUSY = 0x01  # reg 31
TRAPEZOID = 0x01  # reg 34
FEED_ACTUAL_SHIFT, FEED_MASK = 4, 0x07  # reg 64
RING_TRIP, LOOP_CLOSED = 0x02, 0x01  # reg 68
CALIBRATE = 0x40  # reg 96
PEAK_CURRENT_SANE, PEAK_CURRENT_DEFAULT = range(0x02, 0x0E), 0x08

BATTERY_STEP_V = 0.376  # regs 80..83
SETTING_STEP_V = 1.5  # regs 72..75, 78
LOOP_CURRENT_STEP_MA = 1.25  # reg 79
DEBOUNCE_STEP_MS = 1.25  # regs 69, 70
BATTERY_GOOD = 0xC0  # reg 82: 72 V
LEAK_LIMIT = 6  # reg 82: 2.2 V

# Indirect registers (numbers of the Si3210).
RING_OFFSET, RING_FREQUENCY, RING_AMPLITUDE, RING_PHASE = 19, 20, 21, 22
DAC_GAIN, ADC_GAIN = 26, 27
LOOP_FILTER, TRIP_FILTER, POWER_FILTERS = 35, 36, (37, 38, 39)
FILTERS = (35, 36, 37, 38, 39)
TRIP_THRESHOLD = 29
SCRATCH = 97
NO_FILTER = 0x8000
UNITY_GAIN = 0x4000

# Values proven in the field, but for 26: drivers in the field give telephones 6 dB less (0x2000).
# 32..34 and 37..39 belong to the transistors of the board and may be replaced by it.
INDIRECT_VALUES: dict[int, int] = {
    20: 0x7EF0, 21: 0x0160, 26: 0x4000, 27: 0x4000, 28: 0x1000, 29: 0x3600, 30: 0x1000, 31: 0x0200, 32: 0x07C0, 33: 0x2600, 34: 0x1B80,
    35: 0x8000, 36: 0x0320, 37: 0x008C, 38: 0x0100, 39: 0x0010, 40: 0x0C00, 41: 0x0C00, 42: 0x1000, 43: 0x1000,
}  # fmt: skip
INDIRECT_VALUES_3215 = {**INDIRECT_VALUES, 40: 0x0000}  # the datasheet of the Si3215 recommends 0

INDIRECT_3215: dict[int, int] = {
    **{number: number - 13 for number in range(13, 23)},
    **{number: number - 13 for number in range(26, 41)},
    41: 64, 43: 66,
    **{number: number - 30 for number in range(99, 105)},
}  # fmt: skip

# Ring trip by frequency (Hz up to which the row holds): filter NRTP, debounce RTDI.
RING_TRIP_ROWS: tuple[tuple[float, int, int], ...] = (
    (18.3, 0x0200, 0x0F), (22.5, 0x0320, 0x0B), (35.0, 0x0380, 0x09), (45.0, 0x0400, 0x07), (55.0, 0x06A8, 0x05), (70.0, 0x0800, 0x05),
)  # fmt: skip
