"""Makes every clip of the product: `python tools/make_prompts.py [FOLDER]` (default build/prompts).

Speech comes from espeak-ng until a person records it; music and beep are computed here, so nothing needs a licence but ours.
Each clip is 8 kHz, 16-bit, mono; speech is trimmed and levelled to -16 dBm0 while somebody speaks. A clip is made again only when
its words, its voice or this script changed.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import subprocess
import sys
import wave
from array import array
from concurrent.futures import ProcessPoolExecutor
from operator import mul
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parent.parent))

from firmware.call.speech import LANGUAGES, clip_words  # noqa: E402
from firmware.prompts import default_root, load_catalogue, site_clips  # noqa: E402

RATE = 8000
FULL_SCALE_RMS = 22750 / math.sqrt(2)  # 0 dBm0
SPEECH_DBM0 = -16.0
MUSIC_DBM0 = -20.0
BEEP_DBM0 = -13.0
PEAK = 30000
# The plain "cmn" voice spells the pinyin of many characters in English; this one speaks them.
VOICES = {"en": ("en", "155"), "zh": ("cmn-latn-pinyin", "165")}  # espeak-ng voice, words per minute
FRAME = RATE // 50
TAPS = 64
CUTOFF_HZ = 3400.0
WORKERS = 2

MUSIC_SECONDS = 30
# Eight bars of broken chords (semitones from the A at 220 Hz), soft enough to talk over and not to hear twice.
MUSIC_CHORDS = (
    (3, 7, 10, 14), (0, 3, 7, 10), (8, 12, 15, 19), (5, 8, 12, 17),
    (3, 7, 10, 15), (7, 10, 14, 17), (8, 12, 15, 20), (10, 14, 17, 22),
)  # fmt: skip
MUSIC_ORDER = (0, 1, 2, 3, 2, 1, 3, 2)


def rms_of(dbm0: float) -> float:
    """Sample root mean square of a level."""
    return float(FULL_SCALE_RMS * 10 ** (dbm0 / 20))


def write_wav(path: Path, samples: array[int]) -> None:
    """Write or replace one clip in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with wave.open(str(part), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        data = array("h", samples)
        if sys.byteorder == "big":
            data.byteswap()
        out.writeframes(data.tobytes())
    part.replace(path)


def to_samples(values: list[float], rms: float, reference: float) -> array[int]:
    """Scale so that `reference` (a root mean square) becomes `rms`, less where a peak would clip."""
    loudest = max(map(abs, values), default=0.0)
    gain = min(rms / reference, PEAK / loudest) if reference and loudest else 0.0
    return array("h", (round(value * gain) for value in values))


def active_rms(values: list[float]) -> float:
    """Root mean square over the frames within 25 dB of the loudest one: pauses do not count."""
    frames = [values[start : start + FRAME] for start in range(0, len(values), FRAME)]
    powers = [sum(map(mul, frame, frame)) / len(frame) for frame in frames]
    threshold = max(powers, default=0.0) / 300
    active = [power for power in powers if power > threshold]
    return math.sqrt(sum(active) / len(active)) if active else 0.0


def resample(samples: array[int], rate: int) -> list[float]:
    """Band-limit to the telephone channel and change the rate to 8 kHz (windowed sinc, one filter per output phase)."""
    common = math.gcd(rate, RATE)
    phases, step = RATE // common, rate // common
    half = TAPS // 2
    filters: list[list[float]] = []
    for phase in range(phases):
        shift = phase / phases
        taps = []
        for index in range(TAPS):
            x = index - half + 1 - shift
            window = 0.54 + 0.46 * math.cos(math.pi * x / half)
            angle = 2 * math.pi * CUTOFF_HZ / rate * x
            taps.append((math.sin(angle) / angle if angle else 1.0) * max(window, 0.0))
        total = sum(taps)
        filters.append([tap / total for tap in taps])
    padded = [0] * half + samples.tolist() + [0] * (half + 1)
    output = []
    for number in range(len(samples) * phases // step):
        position, phase = divmod(number * step, phases)
        output.append(sum(map(mul, filters[phase], padded[position + 1 : position + 1 + TAPS])))
    return output


def trim(values: list[float], before_ms: int = 20, after_ms: int = 60) -> list[float]:
    """Cut the silence off both ends, keep a breath, fade in and out over 5 ms."""
    loudest = max(map(abs, values), default=0.0)
    loud = [index for index, value in enumerate(values) if abs(value) > loudest / 60]
    if not loud:
        return []
    kept = values[max(0, loud[0] - before_ms * RATE // 1000) : loud[-1] + after_ms * RATE // 1000]
    fade = min(RATE // 200, len(kept) // 2)
    for index in range(fade):
        kept[index] *= index / fade
        kept[-1 - index] *= index / fade
    return kept


def check_voice(language: str, texts: list[str]) -> None:
    """Refuse a voice that switches to English for Chinese words. Raises RuntimeError."""
    if language == "en":
        return
    command = ["espeak-ng", "-b", "1", "-v", VOICES[language][0], "-q", "-x", "--stdin"]
    phonemes = subprocess.run(command, input="\n".join(texts).encode(), capture_output=True, check=True).stdout
    if b"(en)" in phonemes:
        raise RuntimeError(f"espeak-ng voice {VOICES[language][0]} speaks English for Chinese characters; install a newer espeak-ng-data")


def make_speech(words: str, language: str, path: Path) -> None:
    """Speak `words` into `path`. Raises RuntimeError where espeak-ng says nothing."""
    voice, speed = VOICES[language]
    command = ["espeak-ng", "-b", "1", "-v", voice, "-s", speed, "-z", "--stdin", "--stdout"]
    spoken = subprocess.run(command, input=words.encode(), capture_output=True, check=True).stdout
    rate = int.from_bytes(spoken[24:28], "little")
    samples = array("h", spoken[44 : len(spoken) // 2 * 2])
    if sys.byteorder == "big":
        samples.byteswap()
    values = trim(resample(samples, rate)) if samples else []
    if not values:
        raise RuntimeError(f"espeak-ng said nothing for {words!r} with voice {voice}; is its data package installed?")
    write_wav(path, to_samples(values, rms_of(SPEECH_DBM0), active_rms(values)))


def make_music(path: Path) -> None:
    """A thirty-second loop without a seam: the tails of the last notes ring into the first ones."""
    length = MUSIC_SECONDS * RATE
    values = [0.0] * length
    beats = len(MUSIC_CHORDS) * len(MUSIC_ORDER)
    for beat in range(beats):
        chord = MUSIC_CHORDS[beat // len(MUSIC_ORDER)]
        notes = [(chord[MUSIC_ORDER[beat % len(MUSIC_ORDER)]] + 12, 0.9, 1.4)]
        if beat % len(MUSIC_ORDER) == 0:
            notes += [(chord[0], 1.0, 3.0), (chord[2], 0.6, 3.0)]
        for semitone, strength, seconds in notes:
            pitch = 220.0 * 2 ** (semitone / 12)
            start = beat * length // beats
            count = int(seconds * RATE)
            for index in range(count):
                envelope = strength * min(1.0, index / 160) * (1 - index / count) ** 2
                angle = 2 * math.pi * pitch * index / RATE
                values[(start + index) % length] += envelope * (math.sin(angle) + 0.25 * math.sin(2 * angle))
    write_wav(path, to_samples(values, rms_of(MUSIC_DBM0), math.sqrt(sum(map(mul, values, values)) / length)))


def make_beep(path: Path) -> None:
    """Three tenths of a second at 1 kHz: "speak now", and what is heard where a prompt is missing."""
    count = RATE * 3 // 10
    values = [math.sin(2 * math.pi * 1000 * index / RATE) * min(1.0, index / 80, (count - 1 - index) / 80) for index in range(count)]
    write_wav(path, to_samples(values, rms_of(BEEP_DBM0), math.sqrt(0.5)))


def make(job: tuple[str, str, str, str]) -> None:
    """Make one clip: (path, kind, language, words)."""
    path, kind, language, words = job
    if kind == "speech":
        make_speech(words, language, Path(path))
    elif kind == "music":
        make_music(Path(path))
    else:
        make_beep(Path(path))


def plan(root: Path) -> dict[str, tuple[str, str, str, str]]:
    """Every clip name with the job that makes it."""
    catalogue = load_catalogue()
    jobs = {name: (str(root / f"{name}.wav"), kind, "", "") for name, kind in (("music.hold", "music"), ("beep", "beep"))}
    for language in LANGUAGES:
        words = clip_words(catalogue, language)
        words.update({clip: names[language] for clip, names in site_clips().items() if language in names})
        for clip, text in words.items():
            jobs[f"{language}/{clip}"] = (str(root / language / f"{clip}.wav"), "speech", language, text)
    return jobs


def main(arguments: list[str]) -> int:
    """Make what is not there or not current; remove what nobody names any more."""
    root = Path(arguments[0]) if arguments else default_root()
    if not shutil.which("espeak-ng"):
        print("prompts: espeak-ng is not installed; type: apt-get install espeak-ng", file=sys.stderr)
        return 2
    root.mkdir(parents=True, exist_ok=True)
    recipe = hashlib.sha256(HERE.read_bytes()).hexdigest()
    manifest = root / "manifest.json"
    try:
        made: dict[str, str] = json.loads(manifest.read_text())
    except (OSError, ValueError):
        made = {}
    jobs = plan(root)
    keys = {name: hashlib.sha256(f"{recipe}\0{job[1:]}".encode()).hexdigest() for name, job in jobs.items()}
    wanted = [name for name in jobs if made.get(name) != keys[name] or not Path(jobs[name][0]).is_file()]
    for path in root.rglob("*.wav"):
        if path.relative_to(root).with_suffix("").as_posix() not in jobs:
            path.unlink()
    if wanted:
        for language in LANGUAGES:
            check_voice(language, [words for _, _, spoken, words in jobs.values() if spoken == language])
        print(f"== Making {len(wanted)} of {len(jobs)} prompts")
        with ProcessPoolExecutor(WORKERS) as pool:
            list(pool.map(make, (jobs[name] for name in wanted), chunksize=4))
        manifest.write_text(json.dumps(keys, indent=0, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
