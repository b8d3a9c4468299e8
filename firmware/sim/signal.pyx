# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What the simulated world says: tones, keys, caller-id bursts, speech and noise, 80 samples at a time.

Theory of operation. A `Mouth` is a person's mouth, an exchange's tone rack or a line's noise: a few `Source` objects whose
samples are added for each block of 10 ms. A source starts at a block boundary and is dropped when it is done. Levels are
dBm0 of one sine (0 dBm0 = peak 22 750). Nothing here is shared with the product's own generators: the world is its oracle.
Tones: ITU-T Q.23 (keys), E.180 (call progress). FSK: Bell 202 and ITU-T V.23, EN 300 659-3 framing (seizure, marks, start/stop).
Invariant: a source is a pure function of its arguments and of the blocks drawn so far, so a seed repeats a day exactly.
"""

from libc.math cimport M_PI, pow, sin
from libc.stdlib cimport calloc, free

import random
import wave

RATE = 8000
PEAK_0_DBM0 = 22750.0
KEY_ROWS = (697.0, 770.0, 852.0, 941.0)
KEY_COLUMNS = (1209.0, 1336.0, 1477.0, 1633.0)
KEYS = "123A456B789C*0#D"
FSK_TONES = {"bell202": (1200.0, 2200.0), "v23": (1300.0, 2100.0)}


def peak_of(double level_dbm0):
    """Peak sample value of a sine of `level_dbm0`."""
    return PEAK_0_DBM0 * pow(10.0, level_dbm0 / 20.0)


cdef class Source:
    """Something that sounds for a while; `done` becomes true when it has nothing more to say."""

    cdef int mix(self, float *out) except -1:
        self.done = True
        return 0


cdef class ToneSource(Source):
    """A list of phases `(freqs_hz, levels_dbm0, ms)`, run `cycles` times (0 = for ever). One phase of 0 ms never ends.

    `levels_dbm0` is one number for all frequencies or one for each. An empty `freqs_hz` is a pause.
    """

    def __cinit__(self, phases, long long cycles=0):
        cdef int i, k
        self.phase_count = len(phases)
        if self.phase_count == 0:
            raise ValueError("a tone needs at least one phase")
        self.phases = <tone_phase *>calloc(self.phase_count, sizeof(tone_phase))
        if self.phases == NULL:
            raise MemoryError
        for i in range(self.phase_count):
            freqs, levels, ms = phases[i]
            if len(freqs) > MAX_FREQS:
                raise ValueError(f"a tone has at most {MAX_FREQS} frequencies, not {len(freqs)}")
            self.phases[i].count = len(freqs)
            for k in range(self.phases[i].count):
                level = levels[k] if isinstance(levels, (tuple, list)) else levels
                self.phases[i].step[k] = 2.0 * M_PI * <double>freqs[k] / 8000.0
                self.phases[i].peak[k] = peak_of(level)
            self.phases[i].samples = <long long>(<double>ms * 8.0)
        self.cycles = cycles
        self.index = 0
        self.left = self.phases[0].samples

    def __dealloc__(self):
        free(self.phases)

    cdef int mix(self, float *out) except -1:
        cdef int i, k
        cdef double value
        cdef tone_phase *phase = &self.phases[self.index]
        cdef bint endless = self.phase_count == 1 and phase.samples == 0
        for i in range(BLOCK):
            value = 0.0
            for k in range(phase.count):
                value += phase.peak[k] * sin(self.angle[k])
                self.angle[k] += phase.step[k]
                if self.angle[k] > 2.0 * M_PI:
                    self.angle[k] -= 2.0 * M_PI
            out[i] += <float>value
            if endless:
                continue
            self.left -= 1
            while self.left <= 0:
                self.index += 1
                if self.index == self.phase_count:
                    self.index = 0
                    if self.cycles > 0:
                        self.cycles -= 1
                        if self.cycles == 0:
                            self.done = True
                            return 0
                if phase.count == 0:                    # sound to sound goes on without a jump, such as a turn cut in two
                    for k in range(MAX_FREQS):
                        self.angle[k] = 0.0
                phase = &self.phases[self.index]
                self.left = phase.samples
        return 0


def dtmf(str digits, *, double on_ms=100.0, double off_ms=100.0, double low_dbm0=-9.0, double high_dbm0=-7.0, double lead_ms=0.0):
    """A `ToneSource` that keys `digits` (0-9*#A-D; a comma is a pause of one second)."""
    phases = [((), 0.0, lead_ms)] if lead_ms > 0 else []
    for digit in digits:
        if digit == ",":
            phases.append(((), 0.0, 1000.0))
            continue
        place = KEYS.find(digit.upper())
        if place < 0:
            raise ValueError(f"{digit!r} is not a telephone key: use 0-9, *, #, A-D or a comma")
        phases.append(((KEY_ROWS[place // 4], KEY_COLUMNS[place % 4]), (low_dbm0, high_dbm0), on_ms))
        phases.append(((), 0.0, off_ms))
    if not phases:
        raise ValueError("no keys to send")
    return ToneSource(phases, 1)


cdef class FskSource(Source):
    """1200 bit/s phase-continuous FSK: `seizure` alternating bits, `marks` ones, then each byte with start and stop bit."""

    def __cinit__(self, bytes payload, str standard="bell202", double level_dbm0=-13.5, int seizure=300, int marks=180, double rate=1200.0):
        if standard not in FSK_TONES:
            raise ValueError(f"FSK standard {standard!r} is not one of {sorted(FSK_TONES)}")
        mark, space = FSK_TONES[standard]
        self.mark_step = 2.0 * M_PI * <double>mark / 8000.0
        self.space_step = 2.0 * M_PI * <double>space / 8000.0
        self.peak = peak_of(level_dbm0)
        self.bit_step = rate / 8000.0
        bits = bytearray()
        for i in range(seizure):
            bits.append(i & 1)
        bits.extend(b"\x01" * marks)
        for byte in payload:
            bits.append(0)
            for i in range(8):
                bits.append((byte >> i) & 1)
            bits.append(1)
        bits.extend(b"\x01" * 10)
        self.bits = bytes(bits)

    cdef int mix(self, float *out) except -1:
        cdef int i
        cdef Py_ssize_t bit, total = len(self.bits)
        cdef const unsigned char *data = self.bits
        for i in range(BLOCK):
            bit = <Py_ssize_t>self.bit_position
            if bit >= total:
                self.done = True
                return 0
            out[i] += <float>(self.peak * sin(self.angle))
            self.angle += self.mark_step if data[bit] else self.space_step
            if self.angle > 2.0 * M_PI:
                self.angle -= 2.0 * M_PI
            self.bit_position += self.bit_step
        return 0


cdef class ClipSource(Source):
    """16-bit little-endian samples at 8 kHz, once or in a loop."""

    def __cinit__(self, bytes samples, bint loop=False, double gain_db=0.0):
        if len(samples) < 2 or len(samples) % 2:
            raise ValueError("a clip is a whole, non-zero number of 16-bit samples")
        self.samples = samples
        self.loop = loop
        self.gain = <float>pow(10.0, gain_db / 20.0)

    cdef int mix(self, float *out) except -1:
        cdef int i
        cdef Py_ssize_t total = len(self.samples) // 2
        cdef const unsigned char *data = self.samples
        cdef short value
        for i in range(BLOCK):
            if self.position >= total:
                if not self.loop:
                    self.done = True
                    return 0
                self.position = 0
            value = <short>(<unsigned short>data[2 * self.position] | (<unsigned short>data[2 * self.position + 1] << 8))
            out[i] += value * self.gain
            self.position += 1
        return 0


cdef class NoiseSource(Source):
    """White noise of a total power of `level_dbm0`, repeatable for a seed."""

    def __cinit__(self, double level_dbm0, unsigned int seed=1):
        self.state = seed * 2654435761u + 1u
        # The sum of four uniform values in -1..1 has a variance of 4/3; a 0 dBm0 sine has a power of peak^2 / 2.
        self.scale = <float>(peak_of(level_dbm0) * 0.7071067811865476 / 1.1547005383792515)

    cdef int mix(self, float *out) except -1:
        cdef int i, k
        cdef float value
        for i in range(BLOCK):
            value = 0.0
            for k in range(4):
                self.state ^= self.state << 13
                self.state ^= self.state >> 17
                self.state ^= self.state << 5
                value += <float>self.state * <float>4.656612873e-10 - <float>1.0
            out[i] += value * self.scale
        return 0


cdef class Mouth:
    """A few sources that sound together. `play` adds one, `stop` drops all, `active` tells whether any still sounds."""

    def __cinit__(self):
        self.sources = []

    def play(self, Source source not None):
        if len(self.sources) >= MAX_SOURCES:
            raise ValueError(f"a mouth has at most {MAX_SOURCES} sources")
        self.sources.append(source)
        self.count = len(self.sources)
        return source

    def stop(self):
        self.sources.clear()
        self.count = 0

    @property
    def active(self):
        return self.count > 0

    def block(self):
        """Draw one block as 16-bit little-endian bytes (softphones and tests; wires draw it without Python)."""
        cdef float out[BLOCK]
        cdef int i
        cdef float value
        for i in range(BLOCK):
            out[i] = 0.0
        self.mix(out)
        result = bytearray(2 * BLOCK)
        cdef unsigned char *raw = result
        cdef short sample
        for i in range(BLOCK):
            value = out[i]
            sample = 32767 if value > 32767.0 else (-32768 if value < -32768.0 else <short>value)
            raw[2 * i] = <unsigned short>sample & 0xFF
            raw[2 * i + 1] = (<unsigned short>sample >> 8) & 0xFF
        return bytes(result)

    cdef int mix(self, float *out) except -1:
        cdef Source source
        cdef bint ended = False
        if self.count == 0:
            return 0
        for source in self.sources:
            source.mix(out)
            ended = ended or source.done
        if ended:
            self.sources = [s for s in self.sources if not (<Source>s).done]
            self.count = len(self.sources)
        return 1


def babble(double seconds, int seed=1, double level_dbm0=-18.0):
    """Speech-like sound: a gliding pitch with ten harmonics under a syllable envelope. Returns 16-bit samples."""
    rng = random.Random(seed)
    cdef double base = rng.uniform(105.0, 210.0), angle = 0.0, value, envelope, pitch, at
    cdef double syllable = rng.uniform(3.2, 4.6), peak = peak_of(level_dbm0)
    cdef double tilt[10]
    cdef int i, k, total = <int>(seconds * 8000)
    cdef short sample
    for k in range(10):
        tilt[k] = rng.uniform(0.5, 1.0) / (1 + 0.35 * k)
    result = bytearray(2 * total)
    cdef unsigned char *raw = result
    for i in range(total):
        at = i / 8000.0
        pitch = base * (1.0 + 0.12 * sin(2 * M_PI * 0.7 * at))
        angle += 2 * M_PI * pitch / 8000.0
        envelope = 0.5 - 0.5 * sin(2 * M_PI * syllable * at)
        value = 0.0
        for k in range(10):
            value += tilt[k] * sin((k + 1) * angle)
        value = value * envelope * peak * 0.6
        sample = 32767 if value > 32767 else (-32768 if value < -32768 else <short>value)
        raw[2 * i] = <unsigned short>sample & 0xFF
        raw[2 * i + 1] = (<unsigned short>sample >> 8) & 0xFF
    return bytes(result)


def read_wav(path):
    """Samples of an 8 kHz mono 16-bit WAV file; ValueError names the file and what to convert."""
    with wave.open(str(path), "rb") as handle:
        shape = (handle.getframerate(), handle.getnchannels(), handle.getsampwidth())
        if shape != (RATE, 1, 2):
            raise ValueError(f"{path} has {shape[0]} Hz, {shape[1]} channels, {8 * shape[2]} bit: convert it to 8000 Hz mono 16 bit")
        return handle.readframes(handle.getnframes())


def sound(str text, int seed=1):
    """The source a user names: `tone:440[@-16]`, `speech:SECONDS`, or a WAV file."""
    kind, _, rest = text.partition(":")
    if kind == "tone":
        freq, _, level = rest.partition("@")
        return ToneSource([((float(freq),), float(level or -16.0), 0.0)])
    if kind == "speech":
        return ClipSource(babble(float(rest or 3.0), seed))
    return ClipSource(read_wav(text))


# --- G.711 (ITU-T G.711 tables 1 and 2), written from the segment definitions --------------------------------------------


cdef unsigned char to_alaw(int value) noexcept nogil:
    cdef int sign = 0x80, magnitude = value, segment = 0
    if value < 0:
        sign = 0
        magnitude = -value - 1
    magnitude >>= 4                       # 12-bit magnitude
    if magnitude > 2047:
        magnitude = 2047
    while (magnitude >> segment) > 31:
        segment += 1
    if magnitude > 15:
        magnitude = ((segment + 1) << 4) | ((magnitude >> segment) & 15)
    return <unsigned char>((sign | magnitude) ^ 0x55)


cdef int from_alaw(unsigned char code) noexcept nogil:
    cdef int segment, mantissa, value
    code ^= 0x55
    segment = (code >> 4) & 7
    mantissa = code & 15
    value = (mantissa << 4) + 8 if segment == 0 else ((mantissa << 4) + 264) << (segment - 1)
    return value if code & 0x80 else -value


cdef unsigned char to_ulaw(int value) noexcept nogil:
    cdef int sign = 0, segment = 7, mask = 0x4000
    if value < 0:
        sign = 0x80
        value = -value
    if value > 32635:
        value = 32635
    value += 132
    while segment > 0 and not value & mask:
        mask >>= 1
        segment -= 1
    return <unsigned char>(~(sign | (segment << 4) | ((value >> (segment + 3)) & 15)) & 0xFF)


cdef int from_ulaw(unsigned char code) noexcept nogil:
    cdef int value
    code = ~code & 0xFF
    value = ((((code & 15) << 3) + 132) << ((code >> 4) & 7)) - 132
    return -value if code & 0x80 else value


def g711_encode(bytes samples, bint alaw):
    """Companded bytes of 16-bit little-endian samples."""
    cdef Py_ssize_t i, total = len(samples) // 2
    cdef const unsigned char *data = samples
    cdef short value
    result = bytearray(total)
    cdef unsigned char *out = result
    for i in range(total):
        value = <short>(<unsigned short>data[2 * i] | (<unsigned short>data[2 * i + 1] << 8))
        out[i] = to_alaw(value) if alaw else to_ulaw(value)
    return bytes(result)


def g711_decode(bytes codes, bint alaw):
    """16-bit little-endian samples of companded bytes."""
    cdef Py_ssize_t i, total = len(codes)
    cdef const unsigned char *data = codes
    cdef int value
    result = bytearray(2 * total)
    cdef unsigned char *out = result
    for i in range(total):
        value = from_alaw(data[i]) if alaw else from_ulaw(data[i])
        out[2 * i] = value & 0xFF
        out[2 * i + 1] = (value >> 8) & 0xFF
    return bytes(result)
