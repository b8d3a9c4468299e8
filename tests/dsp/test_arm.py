"""The blocks on ARM with NEON decide as on x86 and sound the same; their loops really are vector code.

The armhf build and its Python come from `tools/dsp_arm.sh` and run under user-mode emulation. A missing compiler or emulator is a failure,
not a reason to leave this out: `make test` installs both.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.dsp import arm_probe
from tests.dsp import signals as s

ROOT = Path(__file__).resolve().parent.parent.parent
SITE = ROOT / "build/armhf/site/firmware/dsp"
CROSS = "arm-linux-gnueabihf-"


@pytest.fixture(scope="module")
def arm() -> str:
    """The command that runs the armhf Python."""
    script = ROOT / "tools/dsp_arm.sh"
    done = subprocess.run([script, "build"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return str(script)


def sounds(rng: np.random.Generator, group: str) -> dict[str, s.Sound]:
    """What the blocks of a group are given."""
    found: dict[str, s.Sound] = {}
    if group in ("echo", "voice"):
        for rate in (8000, 16000):
            far = s.speech(rng, 3.0, rate)
            near = np.convolve(far, s.hybrid(rng, 20.0, 10.0, rate=rate))[: len(far)]
            near[rate * 3 // 2 : rate * 2] += s.speech(rng, 4.0, rate)[-rate // 2 :]
            if group == "echo":     # an answering modem: 2100 Hz with a phase reversal each 450 ms, after the talk
                t = np.arange(rate * 2) / rate
                answer = np.sqrt(2.0) * s.rms(-14.0) * np.sin(2.0 * np.pi * 2100.0 * t) * np.where((t / 0.45).astype(int) % 2, -1.0, 1.0)
                far, near = np.concatenate([far, np.zeros(len(t))]), np.concatenate([near, answer])
            found[f"far{rate}"], found[f"near{rate}"] = far, near + s.noise(rng, len(near), -60.0)
    if group == "detectors":
        for rate in (8000, 16000):
            keys = []
            for key in s.KEYS:
                off = rng.uniform(-0.012, 0.012)
                keys += [s.digit(rng, key, 55, -14.0, rng.uniform(-4.0, 6.0), (off, off), rate), s.silence(50, rate)]
            talk = np.concatenate([*keys, s.speech(rng, 3.0, rate)])
            found[f"dtmf{rate}"] = talk + s.noise(rng, len(talk), -48.0)
        busy = np.concatenate([part for _ in range(6) for part in (s.sine(425.0, 350, -20.0), s.silence(350))])
        found["busy"] = busy + s.noise(rng, len(busy), -50.0)
        t = np.arange(3 * 8000) / 8000.0
        answer = np.sqrt(2.0) * s.rms(-16.0) * np.sin(2.0 * np.pi * 2100.0 * t) * np.where((t / 0.45).astype(int) % 2, -1.0, 1.0)
        found["answer"] = np.concatenate([s.sine(1100.0, 500, -20.0), s.silence(1000), answer, s.silence(500)])
        found["alert"] = np.concatenate([s.silence(300), s.sine(2130.0, 80, -18.0) + s.sine(2750.0, 80, -18.0), s.silence(300)])
        for standard in ("bell202", "v23"):
            sender = arm_probe.block_class("fsk.FskTransmitter")(bytes([0x80, 4, 2, 2, 0x31, 0x32, 0x15]), standard, -20.0)
            message = np.concatenate([s.silence(200), s.samples(sender.generate(sender.samples)), s.silence(200)])
            found[standard] = message + s.noise(rng, len(message), -36.0)
    return found


def agree(name: str, here: bytes, there: bytes) -> None:
    """Within 1 LSB, or 80 dB below the signal."""
    a, b = s.samples(here), s.samples(there)
    assert len(a) == len(b), name
    off = np.abs(a - b)
    if off.max(initial=0.0) > 1.0:
        ratio = 10.0 * np.log10(np.sum(a**2) / np.sum(off**2))
        assert ratio >= 80.0, f"{name}: {off.max():.0f} LSB at {int(off.argmax())}, {ratio:.1f} dB"


@pytest.mark.parametrize("group", sorted(arm_probe.GROUPS))
def test_arm_decides_and_sounds_as_x86(group: str, arm: str, rng: np.random.Generator, tmp_path: Path) -> None:
    given = {name: s.pcm(sound[: len(sound) // 320 * 320]) for name, sound in sounds(rng, group).items()}
    for name, data in given.items():
        (tmp_path / f"{name}.raw").write_bytes(data)
    done = subprocess.run([arm, "run", arm_probe.__file__, group, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    there: dict[str, dict[str, Any]] = json.loads((tmp_path / "answer.json").read_text())
    here: dict[str, dict[str, Any]] = json.loads(json.dumps(arm_probe.GROUPS[group](given.__getitem__)))
    if group == "detectors":    # else equal answers would say nothing
        assert here["decisions"]["answer"] and here["decisions"]["alert"] and here["figures"]["learned"]
        assert len(here["decisions"]["dtmf8000"]) >= 16 and here["decisions"]["tone"][-1][0] >= 4
        assert all(any(isinstance(word, str) for block in here["decisions"][name][0] for word in block) for name in ("bell202", "v23"))
    assert here["decisions"] == there["decisions"]
    assert here["sounds"].keys() == there["sounds"].keys() and here["figures"].keys() == there["figures"].keys()
    for name, sound in here["sounds"].items():
        agree(name, bytes.fromhex(sound), bytes.fromhex(there["sounds"][name]))
    for name, figures in here["figures"].items():
        assert there["figures"][name] == pytest.approx(figures, abs=0.01, rel=0.01), name


def arithmetic(path: Path) -> dict[str, tuple[int, int]]:
    """Float operations on four lanes and on one, of each function in an object file."""
    text = subprocess.run([f"{CROSS}objdump", "-d", "--no-show-raw-insn", path], capture_output=True, text=True, check=True).stdout
    found: dict[str, tuple[int, int]] = {}
    name = ""
    for line in text.splitlines():
        head = re.match(r"[0-9a-f]+ <(.+)>:", line)
        if head:
            name = head[1]
            found.setdefault(name, (0, 0))
        operation = re.search(r"\tv(?:mul|mla|mls|nmul|add|sub|div|max|min|abs|neg|cge|cgt)\.f32\t([qs])", line)
        if operation and name:
            lanes, single = found[name]
            found[name] = (lanes + 1, single) if operation[1] == "q" else (lanes, single + 1)
    return found


def kernels() -> dict[str, list[str]]:
    """Functions of the C headers that work on four lanes, by header."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "firmware/dsp").glob("*.h")):
        text = re.sub(r"__attribute__\(\(\w+\)\)\s*", "", path.read_text())
        for name, body in re.findall(r"^static inline [^;{]*?(\w+)\([^;{]*\)\n\{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL):
            if re.search(r"vec_load\(|\bvec4 \w", body) and re.search(r"[-+*]", body):
                found.setdefault(path.name, []).append(name)
    return found


def test_the_kernels_are_neon_code(arm: str, tmp_path: Path) -> None:
    """Each on its own, not inlined, with the product's flags: GCC falls back to one lane at a time without a word."""
    listed = kernels()
    assert {"kernels.h", "fft.h", "spectrum.h"} <= listed.keys()
    flags = subprocess.run([ROOT / ".venv/bin/python", "-c", "import dsp_arm; dsp_arm.modules(); print('\\n'.join(dsp_arm.flags()))"],
                           capture_output=True, text=True, check=True, cwd=ROOT / "tools").stdout.split()
    for header, names in listed.items():
        unit, target = tmp_path / "unit.c", tmp_path / "unit.o"
        # The system's headers first, then every function is given a symbol of its own.
        unit.write_text("#include <math.h>\n#include <stdint.h>\n#include <stdlib.h>\n#include <string.h>\n#define static\n#define inline\n"
                        f'#include "{header}"\n')
        done = subprocess.run([f"{CROSS}gcc", *flags, "-w", f"-I{ROOT / 'firmware/dsp'}", "-c", unit, "-o", target],
                              capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        counted = arithmetic(target)
        for name in names:
            lanes, single = counted[name]
            assert lanes or not single, f"{header}: {name} has no vector operation, {single} scalar ones"     # neither: it only moves lanes
        total = [sum(counted[name][kind] for name in names) for kind in (0, 1)]
        assert total[0] > 0, header
        if header == "spectrum.h":      # loops over bins: scalar is only what joins four lanes, and divisions, which NEON lacks
            assert total[0] > total[1], f"{header}: {total[1]} scalar operations beside {total[0]}"


@pytest.mark.parametrize("module", ["echo", "dtmf", "fsk", "tone"])
def test_the_built_modules_use_neon_and_never_fuse(module: str, arm: str) -> None:
    path = next(SITE.glob(f"{module}.*.so"))
    assert sum(lanes for lanes, _ in arithmetic(path).values()) >= 4
    text = subprocess.run([f"{CROSS}objdump", "-d", "--no-show-raw-insn", path], capture_output=True, text=True, check=True).stdout
    assert "vfma" not in text and "vfms" not in text


HANDSHAKE = """
import time
from firmware.dsp.dtls import DtlsCertificate, DtlsSession
ours, theirs = DtlsCertificate(), DtlsCertificate()
a, b = DtlsSession("active", ours, theirs.digest), DtlsSession("passive", theirs, ours.digest)
end = time.monotonic() + 20
while not (a.keys() and b.keys()) and time.monotonic() < end:
    for one, other in ((a, b), (b, a)):
        for datagram in one.output():
            other.receive(datagram)
        one.expire()
suite, send, receive = a.keys()
print(suite, b.keys() == (suite, receive, send))
"""


def test_a_dtls_handshake_gives_keys_on_arm(arm: str) -> None:
    done = subprocess.run([arm, "run", "-c", HANDSHAKE], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["AES_CM_128_HMAC_SHA1_80", "True"], done.stderr
