# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What the simulated world hears: level and tone meters, a key decoder, a caller-id receiver, a tape.

Theory of operation. An `Ear` is given each block of 80 samples that reached it and the number of that block, the only
clock here. It keeps 10 s of block levels and of a bank of up to eight Goertzel meters over the last 20 ms (what it did not hear is
silence there, never what lay in that place 10 s ago: who lifts a telephone must not hear how the last call ended), decodes keys from
the same 20 ms window (ITU-T Q.24: 40 ms minimum here 30, twist +8/-4 dB wide open to 10 dB because the oracle must not be
fussier than an exchange), and copies everything to memory while recording. `FskReceiver` demodulates by quadrature correlation over one bit and
frames messages (type, length, data, checksum). None of it shares code with the product.
Invariants: an ear never changes what it hears; without `listening` it costs nothing; `news` is raised when Python should look.
"""

from libc.math cimport M_PI, cos, log10, sin
from libc.stdint cimport int16_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from firmware.sim.signal import FSK_TONES, KEY_COLUMNS, KEY_ROWS, KEYS

cdef double POWER_0_DBM0 = 22750.0 * 22750.0 / 2.0
cdef double KEY_COEFFICIENT[8]
for _i, _freq in enumerate(KEY_ROWS + KEY_COLUMNS):
    KEY_COEFFICIENT[_i] = 2.0 * cos(2.0 * M_PI * <double>_freq / 8000.0)
cdef float WINDOW[160]
for _i in range(160):
    WINDOW[_i] = <float>(0.54 - 0.46 * cos(2.0 * M_PI * _i / 159.0))
cdef double WINDOW_GAIN = 0.0
for _i in range(160):
    WINDOW_GAIN += WINDOW[_i]


cdef inline double to_dbm0(double power) noexcept nogil:
    return -99.0 if power <= 1e-3 else 10.0 * log10(power / POWER_0_DBM0)


cdef double goertzel(const float *data, int count, double coefficient) noexcept nogil:
    cdef double s0, s1 = 0.0, s2 = 0.0
    cdef int i
    for i in range(count):
        s0 = data[i] + coefficient * s1 - s2
        s2 = s1
        s1 = s0
    return s1 * s1 + s2 * s2 - coefficient * s1 * s2


cdef class FskReceiver:
    """Messages of a 1200 bit/s FSK burst: `messages` holds `(type, data)` with a right checksum, `errors` counts wrong ones."""

    def __cinit__(self, str standard="bell202"):
        mark, space = FSK_TONES[standard]
        self.mark_step = 2.0 * M_PI * <double>mark / 8000.0
        self.space_step = 2.0 * M_PI * <double>space / 8000.0
        self.bit_time = 8000.0 / 1200.0
        self.messages = []
        self.message = bytearray()

    cdef int hear(self, const int16_t *data) except -1:
        cdef int i, k
        cdef double x, a, level
        cdef bint line
        if self.quiet > 2 * BLOCK and self.state == 0:          # nothing was heard for long: only a sound can change that
            i = 0
            while i < BLOCK and data[i] == 0:
                i += 1
            if i == BLOCK:
                return 0
        for i in range(BLOCK):
            x = data[i]
            k = self.slot
            self.slot = k + 1 if k < 6 else 0
            a = x * cos(self.mark_angle); self.mi += a - self.mark_i[k]; self.mark_i[k] = a
            a = x * sin(self.mark_angle); self.mq += a - self.mark_q[k]; self.mark_q[k] = a
            a = x * cos(self.space_angle); self.si += a - self.space_i[k]; self.space_i[k] = a
            a = x * sin(self.space_angle); self.sq += a - self.space_q[k]; self.space_q[k] = a
            self.mark_angle += self.mark_step
            self.space_angle += self.space_step
            if self.mark_angle > 2 * M_PI: self.mark_angle -= 2 * M_PI
            if self.space_angle > 2 * M_PI: self.space_angle -= 2 * M_PI
            level = self.mi * self.mi + self.mq * self.mq
            a = self.si * self.si + self.sq * self.sq
            line = level >= a
            if level + a < 7.0 * 7.0 * 80.0 * 80.0:            # about -46 dBm0: no carrier
                self.quiet += 1
                if self.quiet > 80:
                    self.collecting = False
                    self.mark_run = 0
                    self.state = 0
                line = True
            else:
                self.quiet = 0
                self.mark_run = self.mark_run + 1 if line else 0
                if self.mark_run == 200:                       # thirty bits of mark: a message may begin
                    self.collecting = True
                    self.message.clear()
            if self.state == 0:
                if self.line and not line:                     # edge into a start bit
                    self.state = 1
                    self.clock = self.bit_time / 2
            else:
                self.clock -= 1.0
                if self.clock <= 0.0:
                    self.clock += self.bit_time
                    if self.state == 1:
                        self.state = 0 if line else 2
                        self.bits = 0
                        self.shift = 0
                    elif self.bits < 8:
                        self.shift |= (1 if line else 0) << self.bits
                        self.bits += 1
                    else:
                        self.state = 0
                        if line and self.collecting:
                            self.take_byte(<int>self.shift)
            self.line = line
        return 0

    cdef int take_byte(self, int value) except -1:
        self.message.append(value)
        if len(self.message) >= 2 and len(self.message) == self.message[1] + 3:
            self.collecting = False
            if sum(self.message) & 0xFF:
                self.errors += 1
            else:
                self.messages.append((self.message[0], bytes(self.message[2 : len(self.message) - 1])))
            self.message.clear()
        return 0


cdef class Ear:
    """Hears one side of a wire. `tones(...)` sets the meter bank; `record()`/`cut()` run the tape (16-bit samples)."""

    def __cinit__(self, *, double seconds=600.0):
        self.tape_limit = <long long>(seconds * 8000)
        self.tape_room = 0
        self.last_block = -1
        self.loud_dbm0 = -45.0
        self.first_loud = self.last_loud = self.loud_start = -1
        self.digit_now = self.digit_seen = -1
        self.digits = []

    def __dealloc__(self):
        free(self.tape)

    # --- what Python asks -------------------------------------------------------------------------------------------

    def restart(self):
        """Forget levels, keys and tape: a new conversation begins."""
        self.first_loud = self.last_loud = self.loud_start = -1
        self.loud_blocks = self.quiet_run = self.loud_run = 0
        self.digit_now = self.digit_seen = -1
        self.digit_hits = self.digit_misses = 0
        self.digits.clear()
        self.tape_length = 0
        self.last_block = -1
        memset(self.previous, 0, sizeof(self.previous))
        memset(self.level_history, 0, sizeof(self.level_history))
        memset(self.bank_history, 0, sizeof(self.bank_history))

    def tones(self, *freqs):
        """Meter up to eight frequencies over 20 ms windows, from now on: what other meters showed is forgotten."""
        if len(freqs) > BANK:
            raise ValueError(f"the meter bank has {BANK} meters, not {len(freqs)}")
        self.bank_size = len(freqs)
        memset(self.bank_history, 0, sizeof(self.bank_history))
        for i, freq in enumerate(freqs):
            self.bank_coefficient[i] = 2.0 * cos(2.0 * M_PI * <double>freq / 8000.0)

    def record(self, long long block):
        """Start an empty tape; its first sample belongs to `block`."""
        self.tape_length = 0
        self.tape_start = block
        self.recording = True
        self.listening = True

    def cut(self):
        """Stop the tape and return it."""
        self.recording = False
        return self.tape_bytes()

    def tape_bytes(self):
        return (<char *>self.tape)[: 2 * self.tape_length] if self.tape_length else b""

    def level(self, int blocks=10):
        """Mean level in dBm0 of the last `blocks` blocks (at most 1024)."""
        cdef double power = 0.0
        cdef int i, count = 0
        if self.last_block < 0:
            return -99.0
        for i in range(min(blocks, HISTORY)):
            if self.last_block - i < 0:
                break
            power += self.level_history[(self.last_block - i) % HISTORY]
            count += 1
        return to_dbm0(power / count) if count else -99.0

    def bank(self, int back=0):
        """Levels in dBm0 of the metered frequencies, `back` blocks ago."""
        if self.last_block < back:
            return [-99.0] * self.bank_size
        return [to_dbm0(self.bank_history[(self.last_block - back) % HISTORY][i]) for i in range(self.bank_size)]

    def pattern(self, int index, double level_dbm0=-40.0, int blocks=600):
        """On and off times of metered frequency `index` in the last `blocks`: list of `(on, ms)`, oldest first, ends cut off."""
        cdef long long at, first = max(0, self.last_block - min(blocks, HISTORY - 1))
        cdef bint on, before = False
        cdef int length = 0
        runs = []
        for at in range(first, self.last_block + 1):
            on = to_dbm0(self.bank_history[at % HISTORY][index]) > level_dbm0
            if length and on != before:
                runs.append((bool(before), length))
                length = 0
            before = on
            length += 10
        return runs[1:]

    def take_digits(self):
        """Keys heard since the last call: list of `(key, start_ms, duration_ms)` on the block clock."""
        heard = list(self.digits)
        self.digits.clear()
        return heard

    def feed(self, bytes samples, long long block):
        """Hear one block from Python (softphones, tests)."""
        cdef const unsigned char *raw = samples
        cdef int16_t data[BLOCK]
        cdef int i
        if len(samples) != 2 * BLOCK:
            raise ValueError(f"a block has {2 * BLOCK} bytes, not {len(samples)}")
        for i in range(BLOCK):
            data[i] = <short>(<unsigned short>raw[2 * i] | (<unsigned short>raw[2 * i + 1] << 8))
        self.hear(data, block)

    # --- per block -----------------------------------------------------------------------------------------------------

    cdef int hear(self, const int16_t *data, long long block) except -1:
        cdef double power = 0.0
        cdef float window[160]
        cdef int i
        cdef bint loud
        if not self.listening:
            return 0
        for i in range(BLOCK):
            power += <double>data[i] * data[i]
        power /= BLOCK
        if self.last_block >= 0:
            self.skip(block)
        self.level_history[block % HISTORY] = <float>power
        self.last_block = block
        loud = to_dbm0(power) > self.loud_dbm0
        if loud:
            if self.first_loud < 0:
                self.first_loud = block
            if self.loud_run == 0:
                self.loud_start = block
            self.last_loud = block
            self.loud_blocks += 1
            self.loud_run += 1
            self.quiet_run = 0
        else:
            self.quiet_run += 1
            if self.quiet_run > 30:
                self.loud_run = 0
        if self.bank_size > 0:
            for i in range(BLOCK):
                window[i] = self.previous[i] * WINDOW[i]
                window[BLOCK + i] = data[i] * WINDOW[BLOCK + i]
            for i in range(self.bank_size):
                # |X|^2 of a sine of peak A is (A * gain / 2)^2, and its power is A^2 / 2.
                self.bank_history[block % HISTORY][i] = <float>(2.0 * goertzel(window, 160, self.bank_coefficient[i]) / (WINDOW_GAIN * WINDOW_GAIN))
        if self.wants_digits:
            self.find_digit(data, block)
        if self.fsk is not None:
            i = len(self.fsk.messages)
            self.fsk.hear(data)
            if len(self.fsk.messages) != i:
                self.news = True
        memcpy(self.previous, data, sizeof(self.previous))
        if self.recording:
            self.keep(data)
        return 0

    cdef void skip(self, long long block) noexcept:
        """Blocks between the last one and `block` were not heard: silence."""
        cdef long long at = self.last_block + 1
        if at < block - HISTORY:
            at = block - HISTORY
        while at < block:
            self.level_history[at % HISTORY] = 0.0
            memset(self.bank_history[at % HISTORY], 0, sizeof(self.bank_history[0]))
            at += 1

    cdef int find_digit(self, const int16_t *data, long long block) except -1:
        """Two windows in a row with one strong row and column make a key; two without end it."""
        cdef float window[160]
        cdef double power[8]
        cdef double total = 0.0, row_second = 0.0, column_second = 0.0
        cdef int i, row = 0, column = 4, found = -1
        for i in range(BLOCK):
            window[i] = self.previous[i]
            window[BLOCK + i] = data[i]
            total += window[i] * window[i] + window[BLOCK + i] * window[BLOCK + i]
        if total > 160.0 * 300.0 * 300.0 / 2:                       # about -37 dBm0
            for i in range(8):
                power[i] = 2.0 * goertzel(window, 160, KEY_COEFFICIENT[i]) / 160.0
            for i in range(4):
                if power[i] > power[row]: row = i
                if power[4 + i] > power[column]: column = 4 + i
            for i in range(4):
                if i != row and power[i] > row_second: row_second = power[i]
                if 4 + i != column and power[4 + i] > column_second: column_second = power[4 + i]
            if (power[row] + power[column] > 0.75 * total and power[row] > 5.0 * row_second and power[column] > 5.0 * column_second
                    and power[row] < 10.0 * power[column] and power[column] < 10.0 * power[row]):
                found = row * 4 + column - 4
        if found == self.digit_seen and found >= 0:
            self.digit_hits += 1
        else:
            self.digit_hits = 1 if found >= 0 else 0
        self.digit_seen = found
        if self.digit_now < 0:
            if self.digit_hits == 2:
                self.digit_now = found
                self.digit_start = block - 2
                self.digit_misses = 0
        else:
            self.digit_misses = 0 if found == self.digit_now else self.digit_misses + 1
            if self.digit_misses == 2:
                self.digits.append((KEYS[self.digit_now], self.digit_start * 10, (block - 1 - self.digit_start) * 10))
                self.digit_now = -1
                self.digit_hits = 1 if found >= 0 else 0
                self.news = True
        return 0

    cdef int keep(self, const int16_t *data) except -1:
        cdef int16_t *larger
        cdef long long room
        if self.tape_length + BLOCK > self.tape_limit:
            return 0
        if self.tape_length + BLOCK > self.tape_room:
            room = self.tape_room * 2 if self.tape_room else 8000 * 16
            larger = <int16_t *>realloc(self.tape, <size_t>(room * sizeof(int16_t)))
            if larger == NULL:
                raise MemoryError
            self.tape = larger
            self.tape_room = room
        memcpy(self.tape + self.tape_length, data, BLOCK * sizeof(int16_t))
        self.tape_length += BLOCK
        return 0


def measure(bytes samples, double freq, double start_s=0.0, double stop_s=-1.0):
    """Level in dBm0 of one frequency in a stretch of a tape (Hann window over the whole stretch)."""
    cdef Py_ssize_t first = <Py_ssize_t>(start_s * 8000), total = len(samples) // 2, last, i
    cdef const unsigned char *raw = samples
    cdef double coefficient = 2.0 * cos(2.0 * M_PI * freq / 8000.0), s0, s1 = 0.0, s2 = 0.0, w, gain = 0.0
    last = total if stop_s < 0 else min(total, <Py_ssize_t>(stop_s * 8000))
    if last - first < 80:
        return -99.0
    for i in range(first, last):
        w = 0.5 - 0.5 * cos(2.0 * M_PI * (i - first) / (last - first))
        gain += w
        s0 = w * <short>(<unsigned short>raw[2 * i] | (<unsigned short>raw[2 * i + 1] << 8)) + coefficient * s1 - s2
        s2 = s1
        s1 = s0
    return to_dbm0(2.0 * (s1 * s1 + s2 * s2 - coefficient * s1 * s2) / (gain * gain))


def loudness(bytes samples, double start_s=0.0, double stop_s=-1.0):
    """Level in dBm0 of everything in a stretch of a tape."""
    cdef Py_ssize_t first = <Py_ssize_t>(start_s * 8000), total = len(samples) // 2, last, i
    cdef const unsigned char *raw = samples
    cdef double power = 0.0, value
    last = total if stop_s < 0 else min(total, <Py_ssize_t>(stop_s * 8000))
    if last <= first:
        return -99.0
    for i in range(first, last):
        value = <short>(<unsigned short>raw[2 * i] | (<unsigned short>raw[2 * i + 1] << 8))
        power += value * value
    return to_dbm0(power / (last - first))
