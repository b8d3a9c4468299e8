"""Country profiles of analogue lines: their shape, the data of each country, and custom ones (L1, pure).

Theory of operation
-------------------
Everything that differs between countries is a value in `countries/<code>.toml` and nowhere else: a machine asks the profile, never the
country code, so a changed profile touches no code. Each file names the source of every group of values in its table [sources]. The files
are package data, read once when a country is first asked for, as code would be. What the chips' registers hold for a country is a row of
`hal/countries.py`; `electrical` names the row. Two figures are given where one is what we send and the other what we accept.

A *custom* profile is a country with single values changed (`customised`): any field, a tone's too, by its path
("flash_ms", "caller_id/standard", "tones/busy/cadence_ms"). What comes out is marked as not approved: nobody has measured that
combination against a national specification.

Invariants: every profile has every tone of `TONE_NAMES`; cadences fit `ToneSpec`; all durations are ms, levels dBm0.
"""

from __future__ import annotations

import pkgutil
import tomllib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal

import msgspec

from firmware.errors import ConfigError
from firmware.line.tones import ToneSpec

#: Tones that every profile has. "unobtainable" and "sit" are optional: an exchange has one of them or both.
TONE_NAMES: Final = ("dial", "stutter", "ringback", "busy", "congestion", "call-waiting", "howler", "confirm")
#: Groups of values whose source each file names.
SOURCES: Final = ("law", "tones", "ring", "flash", "disconnect", "caller_id", "emergency", "levels", "redial", "registers")
COUNTRIES: Final = ("CN", "US", "UK", "DE", "FR", "AU")

Law = Literal["alaw", "ulaw"]
CallerIdStandard = Literal["bell202", "v23"]
CallerIdPlace = Literal["after-first-ring", "before-ring"]


class CallerIdProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a country sends caller id: FSK kind, its place, what announces it, and whether DTMF is also met."""

    standard: CallerIdStandard
    place: CallerIdPlace
    polarity_first: bool          # a polarity reversal precedes the message (UK; DTMF countries)
    alert_tone: bool              # a dual tone 2130+2750 Hz precedes FSK before ringing (ETSI EN 300 659-1 6.1.2)
    dtmf: bool                    # exchanges or private exchanges of this country also send DTMF before ring 1
    charset: Literal["latin-1", "gbk"] = "latin-1"


class RedialRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often equipment may try one number again by itself (`line/redial.py`)."""

    attempts: int                                # in a row
    busy_attempts: int                           # the same when every one met busy or congestion tone
    pauses_s: tuple[int, ...] = ()               # least pause before attempt 2, 3, ...; the last one holds for all that follow
    block_s: int = 3600                          # then the number rests this long


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All facts of one country's analogue network."""

    country: str
    name: str
    law: Law
    tones: Mapping[str, ToneSpec]
    ring_cadence_ms: tuple[int, ...]             # (on, off, ...): what we send, and what the exchange sends
    ring_burst_accept_ms: tuple[int, int]        # ringing shorter or longer than this is none
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
    redial: RedialRule
    electrical: str                              # row of `hal/countries.py`
    sources: Mapping[str, str]                   # group of values -> where they come from
    alert_cadence_ms: Mapping[str, tuple[int, ...]] = {}     # ringing of our telephones by kind of call, where it differs from ours
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
    pulse_gap_ms: int = 750                      # between two digits dialled by pulses
    changed: tuple[str, ...] = ()                # paths that differ from the country's own profile

    @property
    def approved(self) -> bool:
        """False for a custom profile: nobody measured it against the national specification."""
        return not self.changed

    @property
    def title(self) -> str:
        """The profile in words, for screens."""
        return self.name if self.approved else f"{self.name}, changed (not approved): {', '.join(self.changed)}"

    def rows(self) -> list[tuple[str, str, str]]:
        """What the profile holds, by group: (group, value, source); the first row says whether it is approved."""
        cid, dtmf = self.caller_id, f"DTMF {self.dtmf_low_dbm0:g}/{self.dtmf_high_dbm0:g} dBm0, {self.dtmf_on_ms}/{self.dtmf_off_ms} ms"
        found = {
            "law": self.law,
            "tones": "; ".join(_words(tone) for tone in self.tones.values()),
            "ring": f"{_phases(self.ring_cadence_ms)}, {self.ring_hz} Hz; bursts of {self.ring_burst_accept_ms[0]} to "
            f"{self.ring_burst_accept_ms[1]} ms count",
            "flash": f"{self.flash_ms} ms",
            "disconnect": ", ".join(self.disconnect),
            "caller_id": f"{cid.standard} {cid.place}{', reversal first' if cid.polarity_first else ''}{', DTMF met' if cid.dtmf else ''}",
            "emergency": " ".join(self.emergency),
            "levels": dtmf,
            "redial": f"{self.redial.attempts} attempts, {self.redial.busy_attempts} when busy, then {self.redial.block_s} s",
            "registers": self.electrical,
        }
        rows = [("profile", self.title, "as shipped" if self.approved else "this site; not approved")]
        return rows + [(group, text, self.sources[group]) for group, text in found.items()]

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


def _phases(cadence: tuple[int, ...]) -> str:
    return "/".join(str(ms) for ms in cadence) + " ms" if cadence else "steady"


def _words(tone: ToneSpec) -> str:
    return f"{tone.name} {'+'.join(f'{hz:g}' for hz in tone.freqs_hz)} Hz {tone.level_dbm0:g} dBm0 {_phases(tone.cadence_ms)}"


def read_profile(data: bytes) -> Profile:
    """A profile from the bytes of its file; ConfigError says what is wrong with it."""
    try:
        return _made(tomllib.loads(data.decode("utf-8")))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"country profile cannot be read: {error}") from None


def _made(tree: dict[str, Any]) -> Profile:
    where = f"country profile {tree.get('country', '?')}"
    try:
        tones = msgspec.convert(tree.get("tones", []), list[ToneSpec])
        named = {**tree, "tones": {tone.name: msgspec.to_builtins(tone) for tone in tones}}
        made = msgspec.convert(named, Profile)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}") from None
    missing = [name for name in TONE_NAMES if name not in made.tones]
    missing += [f"source of {name}" for name in SOURCES if name not in made.sources]
    if missing:
        raise ConfigError(f"{where} lacks {', '.join(missing)}")
    _check_sense(made, where)
    return msgspec.structs.replace(made, tones=MappingProxyType(dict(made.tones)))


def _check_sense(made: Profile, where: str) -> None:
    for name, cadence in (("ring_cadence_ms", made.ring_cadence_ms), *made.alert_cadence_ms.items()):
        if not cadence or len(cadence) % 2 or len(cadence) > 8 or min(cadence) < 100:
            raise ConfigError(f"{where}: {name} {cadence} must be 1 to 4 pairs of ringing and silence, each of 100 ms or more")
    for name in ("ring_burst_accept_ms", "ring_hz_accept", "ring_vrms", "flash_accept_ms"):
        low, high = getattr(made, name)
        if not 0 < low <= high:
            raise ConfigError(f"{where}: {name} {low} to {high} is no range")
    low, high = made.ring_burst_accept_ms
    if any(not low <= burst <= high for burst in made.ring_cadence_ms[::2]):
        raise ConfigError(f"{where}: its own ringing {made.ring_cadence_ms} is not within ring_burst_accept_ms {low} to {high}")
    numbers = [name for name in made.__struct_fields__ if name.endswith("_ms") and isinstance(getattr(made, name), int)]
    if wrong := [name for name in numbers if not 0 < getattr(made, name) <= 3_600_000]:
        raise ConfigError(f"{where}: {', '.join(wrong)} must be 1 ms to 1 hour")
    if not 30 <= made.pulse_break_pct <= 80:
        raise ConfigError(f"{where}: pulse_break_pct {made.pulse_break_pct} must be 30 to 80")
    if made.redial.attempts < 1 or made.redial.busy_attempts < made.redial.attempts or made.redial.block_s < 0:
        raise ConfigError(f"{where}: redial must allow 1 attempt or more, and not fewer when the number is busy")
    if not made.emergency:
        raise ConfigError(f"{where}: no emergency number")


def customised(base: Profile, values: Mapping[str, str]) -> Profile:
    """`base` with single values changed: path -> TOML value as text, "flash_ms": "200". ConfigError names what cannot be."""
    if not values:
        return base
    tree: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(base, tones=dict(base.tones)))
    for path, text in values.items():
        _change(tree, path, text)
    tree["tones"] = list(tree["tones"].values())
    tree["changed"] = [*base.changed, *(path for path in values if path not in base.changed)]
    return _made(tree)


def _change(tree: dict[str, Any], path: str, text: str) -> None:
    *steps, last = path.split("/")
    place: Any = tree
    for step in steps:
        place = place.get(step) if isinstance(place, dict) else None
    fixed = ("country", "name", "changed", "sources", "emergency")       # emergency numbers are added, never taken away
    unknown = not isinstance(place, dict) or (last not in place and steps != ["alert_cadence_ms"])
    if unknown or path == "tones" or path.split("/")[0] in fixed:
        known = [name for name in tree if name not in ("country", "name", "changed", "sources", "emergency")]
        raise ConfigError(f"{path!r} is no value of a country profile; there are {', '.join(known)}; tones/NAME/FIELD changes a tone")
    try:
        place[last] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        raise ConfigError(f"{path!r}: {text!r} is no value; write it as TOML, text in quotes and lists in [ ]") from None


class _Shipped(Mapping[str, Profile]):
    """The countries' files, each read when it is first asked for."""

    def __init__(self) -> None:
        self._read: dict[str, Profile] = {}

    def __getitem__(self, country: str) -> Profile:
        if country not in COUNTRIES:
            raise KeyError(country)
        if country not in self._read:
            data = pkgutil.get_data("firmware.line", f"countries/{country}.toml")
            assert data is not None
            self._read[country] = read_profile(data)
        return self._read[country]

    def __iter__(self) -> Iterator[str]:
        return iter(COUNTRIES)

    def __len__(self) -> int:
        return len(COUNTRIES)


#: Profile by country code of `config.schema.system.Country`.
PROFILES: Final[Mapping[str, Profile]] = _Shipped()


def profile(country: str) -> Profile:
    """The profile of a country; ConfigError names those there are."""
    if country not in PROFILES:
        raise ConfigError(f"no country profile {country!r}; there are {', '.join(PROFILES)}")
    return PROFILES[country]
