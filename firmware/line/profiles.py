"""Country profiles of analogue lines as literal data (L1, pure).

Theory of operation
-------------------
Everything that differs between countries is a value here and nowhere else: a machine asks the profile, never the
country code. Two figures are given where one is what we send and the other what we accept. Sources, by mark:

* [T] published national tone tables after ITU-T E.180 Supplement 2 and BT SIN 350 (tones, cadences): well established.
* [G] general practice of the country, usual values to be verified against the operator (flash, disconnect, levels).
* [S] Silicon Labs Si3050/Si3019 data sheet table 18 and the line settings of the Linux DAHDI drivers (registers).
* [L] national law or ITU-T E.161.1 (emergency numbers).

Invariants: every profile has every tone of `TONE_NAMES`; cadences fit `ToneSpec`; all durations are ms, levels dBm0.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from firmware.errors import ConfigError
from firmware.line.tones import ToneSpec

#: Tones that every profile has. "unobtainable" and "sit" are optional: an exchange has one of them or both.
TONE_NAMES: Final = ("dial", "stutter", "ringback", "busy", "congestion", "call-waiting", "howler", "confirm")

Law = Literal["alaw", "ulaw"]
CallerIdStandard = Literal["bell202", "v23"]
CallerIdPlace = Literal["after-first-ring", "before-ring"]


class CallerIdProfile(msgspec.Struct, frozen=True):
    """How a country sends caller id: FSK kind, its place, what announces it, and whether DTMF is also met."""

    standard: CallerIdStandard
    place: CallerIdPlace
    polarity_first: bool          # a polarity reversal precedes the message (UK; DTMF countries)
    alert_tone: bool              # a dual tone 2130+2750 Hz precedes FSK before ringing (ETSI EN 300 659-1 6.1.2)
    dtmf: bool                    # exchanges or private exchanges of this country also send DTMF before ring 1
    charset: Literal["latin-1", "gbk"] = "latin-1"


class LineRegisters(msgspec.Struct, frozen=True):
    """DC and AC termination of the FXO chip (Si3050/Si3019 register fields)."""

    international_1: int          # register 16
    dc_termination: int           # register 26
    ac_impedance: int             # register 30 ACIM
    on_hook_speed_2: int          # register 31 OHS2
    spark_quench: int             # register 59


class Profile(msgspec.Struct, frozen=True):
    """All facts of one country's analogue network."""

    country: str
    law: Law
    tones: Mapping[str, ToneSpec]
    ring_cadence_ms: tuple[int, ...]             # (on, off, ...): what we send, and what the exchange sends
    ring_hz: int                                 # ring frequency we send
    ring_hz_accept: tuple[int, int]
    ring_vrms: tuple[int, int]                   # nominal range met on a line
    flash_ms: int                                # hook flash towards the exchange
    flash_accept_ms: tuple[int, int]             # what the country's exchanges accept
    disconnect: tuple[str, ...]                  # usual release signals, the commonest first
    caller_id: CallerIdProfile
    emergency: tuple[str, ...]
    dtmf_low_dbm0: float                         # low group level sent to the line
    dtmf_high_dbm0: float                        # high group level
    registers: LineRegisters
    impedance: str                               # balance network in words
    dtmf_on_ms: int = 100
    dtmf_off_ms: int = 100
    dial_tone_wait_ms: int = 5000                # then the line is at fault
    off_hook_settle_ms: int = 500                # after seizing, before a dial tone is believed
    dial_pause_ms: int = 300                     # from dial tone recognised to first digit, 200-500
    guard_ms: int = 2000                         # on-hook time before the next seizure
    loop_safe_ms: int = 650                      # loop dips after off-hook that mean nothing
    polarity_ignore_ms: int = 600                # reversals after dialling that mean nothing
    caller_id_wait_ms: int = 4000                # after the end of ring 1
    answer_assumed_ms: int = 30_000              # nothing recognised after dialling: assume an answer
    open_switch_ms: int = 500                    # FXS: open-switch interval when the far end hung up
    open_switch_quiet_ms: int = 300
    reorder_ms: int = 30_000                     # FXS: reorder tone before the howler
    howler_ms: int = 60_000                      # FXS: howler before lockout
    silence_release_ms: int = 1_800_000          # no speech from the line: last resort; a caller who queues is silent for long
    silence_suspect_ms: int = 60_000             # the same after half a sign of a release
    pulse_break_pct: int = 60                    # of 100 ms at 10 pulses per second

    def tone(self, name: str) -> ToneSpec:
        """The tone of this name; ConfigError where the country has none."""
        spec = self.tones.get(name)
        if spec is None:
            raise ConfigError(f"country profile {self.country} has no tone {name!r}; it has {', '.join(sorted(self.tones))}")
        return spec

    def ring_gap_ms(self) -> int:
        """The long silence of the ring cadence."""
        return max(self.ring_cadence_ms[1::2])

    def ring_burst_ms(self) -> int:
        """From the start of a ring to the end of its last burst (a double ring is one ring)."""
        return sum(self.ring_cadence_ms) - self.ring_cadence_ms[-1]

    def ring_join_ms(self) -> int:
        """Silences up to this length are inside one ring: the double ring of UK and AU, or a chattering burst."""
        inner = self.ring_cadence_ms[1:-1:2]
        return max(300, 2 * max(inner, default=0))


def _tones(*specs: ToneSpec) -> Mapping[str, ToneSpec]:
    return MappingProxyType({spec.name: spec for spec in specs})


def _stutter(freqs: tuple[float, ...], level: float) -> ToneSpec:
    # three short interruptions, then steady for a while; messages are waiting
    return ToneSpec("stutter", freqs, level, (100, 100, 100, 100, 100, 100, 1400, 100), 1)


def _confirm(freqs: tuple[float, ...], level: float) -> ToneSpec:
    return ToneSpec("confirm", freqs, level, (100, 100), 3)


#: [T] ITU-T E.180 section 3.6: 950, 1400 and 1800 Hz (each +-50 Hz) of 330 +-70 ms, at most 30 ms apart, then 1 s of silence.
_SIT = ToneSpec(
    "sit", (950.0, 1400.0, 1800.0), -10.0, (330, 330, 330, 1000), 1, phase_freqs_hz=((950.0,), (1400.0,), (1800.0,), ())
)


def _rising(freqs: tuple[float, ...], level: float, steps: int) -> ToneSpec:
    # the level goes up by 3 dB a second and starts again
    freqs_of = (freqs,) * steps
    return ToneSpec("howler", freqs, level, (1000,) * steps, 10, freqs_of, tuple(3.0 * i for i in range(steps)))


_HOWLER_US = ToneSpec("howler", (1400.0, 2060.0, 2450.0, 2600.0), -6.0, (100, 100), 5)   # [T] GR-506 receiver off-hook

_CN = Profile(
    country="CN",
    law="alaw",
    tones=_tones(                                                                   # [T] GB/T 3380: 450 +-25 Hz, -10 +-3 dBm
        ToneSpec("dial", (450.0,), -10.0, (), 5),
        _stutter((450.0,), -10.0),
        ToneSpec("ringback", (450.0,), -10.0, (1000, 4000), 1),
        ToneSpec("busy", (450.0,), -10.0, (350, 350), 3),
        ToneSpec("congestion", (450.0,), -10.0, (700, 700), 3),
        ToneSpec("call-waiting", (450.0,), -20.0, (400, 4000), 1),
        ToneSpec("unobtainable", (450.0,), -10.0, (100, 100, 100, 100, 100, 100, 400, 400), 2),
        _rising((950.0,), -18.0, 6),                                                # the exchange raises the level
        _confirm((450.0,), -10.0),
    ),
    ring_cadence_ms=(1000, 4000), ring_hz=25, ring_hz_accept=(15, 68), ring_vrms=(75, 105),      # [T]
    flash_ms=100, flash_accept_ms=(80, 120),                                        # [G] some exchanges want 500-600
    disconnect=("busy-tone", "polarity"),                                           # [G] reversal only by subscription
    caller_id=CallerIdProfile("bell202", "after-first-ring", False, False, True, "gbk"),         # [G] YD/T 1277.1
    emergency=("110", "119", "120", "122"),                                         # [L]
    dtmf_low_dbm0=-9.0, dtmf_high_dbm0=-7.0,                                        # [G] GB/T 15279
    registers=LineRegisters(0x00, 0xC0, 0xA, 0, 0x00),                              # [S]
    impedance="200 ohm + (680 ohm || 100 nF)",
)

_US = Profile(
    country="US",
    law="ulaw",
    tones=_tones(                                                                   # [T] dial -13, ringback -19, busy -24 dBm
        ToneSpec("dial", (350.0, 440.0), -13.0, (), 5),
        _stutter((350.0, 440.0), -13.0),
        ToneSpec("ringback", (440.0, 480.0), -19.0, (2000, 4000), 1),
        ToneSpec("busy", (480.0, 620.0), -24.0, (500, 500), 3),
        ToneSpec("congestion", (480.0, 620.0), -24.0, (250, 250), 3),
        ToneSpec("call-waiting", (440.0,), -13.0, (300, 10_000), 1),
        _SIT,
        _HOWLER_US,
        _confirm((350.0, 440.0), -13.0),
    ),
    ring_cadence_ms=(2000, 4000), ring_hz=20, ring_hz_accept=(15, 68), ring_vrms=(40, 90),       # [T]
    flash_ms=550, flash_accept_ms=(300, 1000),                                      # [T]
    disconnect=("loop-drop", "congestion-tone"),                                    # [T] 250-900 ms, then dial or reorder tone
    caller_id=CallerIdProfile("bell202", "after-first-ring", False, False, False),  # [T] GR-30
    emergency=("911",),                                                             # [L]
    dtmf_low_dbm0=-10.0, dtmf_high_dbm0=-10.0,                                      # [T]
    registers=LineRegisters(0x00, 0xC0, 0x0, 0, 0x00),                              # [S]
    impedance="600 ohm",
)

_UK = Profile(
    country="UK",
    law="alaw",
    tones=_tones(                                                                   # [T] BT SIN 350
        ToneSpec("dial", (350.0, 440.0), -13.0, (), 5),
        _stutter((350.0, 440.0), -13.0),
        ToneSpec("ringback", (400.0, 450.0), -13.0, (400, 200, 400, 2000), 1),
        ToneSpec("busy", (400.0,), -10.0, (375, 375), 3),
        ToneSpec("congestion", (400.0,), -10.0, (400, 350, 225, 525), 3),
        ToneSpec("call-waiting", (400.0,), -16.0, (100, 4000), 1),
        ToneSpec("unobtainable", (400.0,), -10.0, (), 30),
        _SIT,
        _HOWLER_US,                                                                 # rising howler; a four-tone burst is as loud
        _confirm((350.0, 440.0), -13.0),
    ),
    ring_cadence_ms=(400, 200, 400, 2000), ring_hz=25, ring_hz_accept=(15, 68), ring_vrms=(40, 90),   # [T], [G]
    flash_ms=100, flash_accept_ms=(50, 130),                                        # [G] timed break recall
    disconnect=("loop-drop", "busy-tone"),                                          # [G] 100-800 ms
    caller_id=CallerIdProfile("v23", "before-ring", True, True, False),             # [T] BT SIN 227
    emergency=("999", "112"),                                                       # [L]
    dtmf_low_dbm0=-11.0, dtmf_high_dbm0=-9.0,                                       # [T]
    registers=LineRegisters(0x00, 0xC2, 0x5, 1, 0x00),                              # [S]
    impedance="320 ohm + (1050 ohm || 230 nF)",
    pulse_break_pct=67,
)

_DE = Profile(
    country="DE",
    law="alaw",
    tones=_tones(                                                                   # [T]
        ToneSpec("dial", (425.0,), -10.0, (), 5),
        _stutter((425.0,), -10.0),
        ToneSpec("ringback", (425.0,), -10.0, (1000, 4000), 1),
        ToneSpec("busy", (425.0,), -10.0, (480, 480), 3),
        ToneSpec("congestion", (425.0,), -10.0, (240, 240), 3),
        ToneSpec("call-waiting", (425.0,), -16.0, (200, 200, 200, 5000), 1),
        _SIT,
        _HOWLER_US,                                                                 # none is standardised: ours
        _confirm((425.0,), -10.0),
    ),
    ring_cadence_ms=(1000, 4000), ring_hz=25, ring_hz_accept=(15, 68), ring_vrms=(40, 90),       # [T] 25 (50) Hz
    flash_ms=100, flash_accept_ms=(80, 120),                                        # [G]
    disconnect=("busy-tone",),                                                      # [G]
    caller_id=CallerIdProfile("v23", "after-first-ring", False, False, False),      # [G] ETSI EN 300 659-1
    emergency=("110", "112"),                                                       # [L]
    dtmf_low_dbm0=-11.0, dtmf_high_dbm0=-9.0,                                       # [G]
    registers=LineRegisters(0x00, 0xC2, 0x2, 1, 0x00),                              # [S]
    impedance="220 ohm + (820 ohm || 115 nF)",
    pulse_break_pct=67,
)

_FR = Profile(
    country="FR",
    law="alaw",
    tones=_tones(                                                                   # [T]
        ToneSpec("dial", (440.0,), -10.0, (), 5),
        _stutter((440.0,), -10.0),
        ToneSpec("ringback", (440.0,), -10.0, (1500, 3500), 1),
        ToneSpec("busy", (440.0,), -10.0, (500, 500), 3),
        ToneSpec("congestion", (440.0,), -10.0, (250, 250), 3),
        ToneSpec("call-waiting", (440.0,), -16.0, (300, 10_000), 1),
        _SIT,
        _HOWLER_US,                                                                 # none is standardised: ours
        _confirm((440.0,), -10.0),
    ),
    ring_cadence_ms=(1500, 3500), ring_hz=50, ring_hz_accept=(15, 68), ring_vrms=(40, 90),       # [T] 50 (25) Hz
    flash_ms=270, flash_accept_ms=(250, 300),                                       # [G]
    disconnect=("busy-tone", "loop-drop"),                                          # [G]
    caller_id=CallerIdProfile("v23", "after-first-ring", False, False, False),      # [G] ETSI EN 300 659-1
    emergency=("112", "15", "17", "18"),                                            # [L]
    dtmf_low_dbm0=-11.0, dtmf_high_dbm0=-9.0,                                       # [T]
    registers=LineRegisters(0x00, 0xC2, 0x2, 1, 0x00),                              # [S]
    impedance="270 ohm + (750 ohm || 150 nF)",
    pulse_break_pct=67,
)

_AU = Profile(
    country="AU",
    law="alaw",
    tones=_tones(                                                                   # [T]
        ToneSpec("dial", (413.0, 438.0), -13.0, (), 5),
        _stutter((413.0, 438.0), -13.0),
        ToneSpec("ringback", (413.0, 438.0), -13.0, (400, 200, 400, 2000), 1),
        ToneSpec("busy", (425.0,), -10.0, (375, 375), 3),
        # every second burst is about 10 dB lower: else it would equal busy
        ToneSpec("congestion", (425.0,), -10.0, (375, 375, 375, 375), 2, phase_levels_db=(0.0, 0.0, -10.0, 0.0)),
        ToneSpec("call-waiting", (425.0,), -16.0, (200, 200, 200, 4400), 1),
        ToneSpec("unobtainable", (425.0,), -10.0, (2500, 500), 2),
        _HOWLER_US,                                                                 # rising howler; a four-tone burst is as loud
        _confirm((413.0, 438.0), -13.0),
    ),
    ring_cadence_ms=(400, 200, 400, 2000), ring_hz=25, ring_hz_accept=(15, 68), ring_vrms=(40, 90),   # [T], [G]
    flash_ms=100, flash_accept_ms=(80, 150),                                        # [G]
    disconnect=("busy-tone", "polarity"),                                           # [G] reversal by order
    caller_id=CallerIdProfile("bell202", "after-first-ring", False, False, False),  # [G] AS/CA S002
    emergency=("000", "112", "106"),                                                # [L]
    dtmf_low_dbm0=-11.0, dtmf_high_dbm0=-9.0,                                       # [G]
    registers=LineRegisters(0x40, 0x50, 0x3, 0, 0x50),                              # [S]
    impedance="220 ohm + (820 ohm || 120 nF)",
)

#: Profile by country code of `config.schema.system.Country`.
PROFILES: Final[Mapping[str, Profile]] = MappingProxyType({p.country: p for p in (_CN, _US, _UK, _DE, _FR, _AU)})


def profile(country: str) -> Profile:
    """The profile of a country; ConfigError names those there are."""
    found = PROFILES.get(country)
    if found is None:
        raise ConfigError(f"no country profile {country!r}; there are {', '.join(PROFILES)}")
    return found
