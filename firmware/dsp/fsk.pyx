"""Caller-id FSK: 1200 bit/s receiver and sender for Bell 202 and V.23.

Theory of operation. Bell 202 (mark 1200 Hz, space 2200 Hz) and ITU-T V.23 mode 2 (1300, 2100); framing of Telcordia GR-30 and
ETSI EN 300 659: channel seizure (alternating bits), marks, then bytes of start bit 0, eight bits from the lowest, stop bit 1:
message type, length, parameters, checksum (two's complement of the byte sum).

Receiver, at 8 kHz (16 kHz input is halved first): a 400 Hz high-pass removes offset and hum; two phasors turn mark and space to
zero frequency; sums over exactly one bit (6 2/3 samples, outer ones weighted) are matched filters. The discriminator is the
difference of their magnitudes, each weighted with the other's tracked level, so that a sloping line does not shift
the bit edges. Sixteen bits of pure mark arm the receiver; a falling edge, interpolated between samples, starts a byte; bits are read at
their centres and every edge pulls the bit clock a quarter of the way, which follows 1 % clock error over any length.
A message is returned only with a right checksum. -1 is returned when a message of a known type ended with a wrong
checksum, lost its carrier or lost framing; noise and speech that only look like a start are dropped without a word.
Invariants: no allocation, no pointers in the structs, result independent of buffer sizes.
"""

from libc.math cimport cos, sin, pow, sqrt, fabs, M_PI
from libc.string cimport memset

cdef extern from "kernels.h" nogil:
    short kernel_round(float x)
    int decimator_push(Decimator* d, float x, float* out)

cdef enum:
    SEIZURE_BITS = 300
    MARK_BITS = 180
    TRAIL_BITS = 10
    SEARCH = 0
    READY = 1
    BYTE = 2

cdef double BIT = 8000.0 / 1200.0
cdef float EDGE = <float>(5.0 / 6.0)                    # 5 whole samples and two of 5/6 make one bit
cdef double POWER_0DBM0 = 22750.0 * 22750.0 / 2.0
cdef double FLOOR = POWER_0DBM0 * 2.0e-5                # -47 dBm0
cdef double MARK_PURE = 0.5
cdef int ARM_SAMPLES = 107                              # 16 bits of mark
cdef int LOST_SAMPLES = 40                              # 6 bits without carrier
cdef int IDLE_SAMPLES = 200                             # 30 bits of mark between two bytes: the sender gave up


cdef int fsk_rx_init(FskRx* rx, int standard, int rate) noexcept nogil:
    cdef int i
    cdef double freq
    memset(rx, 0, sizeof(FskRx))
    if (rate != 8000 and rate != 16000) or (standard != FSK_BELL202 and standard != FSK_V23):
        return -1
    rx.decimate = rate // 8000
    for i in range(2):
        if standard == FSK_V23:
            freq = 2100.0 if i else 1300.0
        else:
            freq = 2200.0 if i else 1200.0
        rx.cos_w[i] = cos(2.0 * M_PI * freq / 8000.0)
        rx.sin_w[i] = sin(2.0 * M_PI * freq / 8000.0)
        rx.re[i] = 1.0
        rx.level[i] = 1.0
    return 0


cdef bint _known(int kind) noexcept nogil:
    """SDMF number and message waiting, and the MDMF family."""
    return kind == 0x04 or kind == 0x06 or (kind >= 0x80 and kind <= 0x8F)


cdef int _abandon(FskRx* rx) noexcept nogil:
    cdef int result = FSK_BAD if rx.count >= 2 and _known(rx.message[0]) else 0
    rx.state = SEARCH
    rx.marks = 0
    rx.count = 0
    rx.sum = 0
    rx.faults = 0
    return result


cdef int _byte(FskRx* rx, int value, bint stop) noexcept nogil:
    """Takes one byte; returns the length of a completed message, 0, or FSK_BAD."""
    cdef int length
    if not stop:
        rx.faults += 1
        if rx.count == 0 or rx.faults > 1 or not _known(rx.message[0]):
            return _abandon(rx)
    rx.state = READY
    rx.marks = 0
    if rx.count < FSK_MAX_MESSAGE:
        rx.message[rx.count] = <unsigned char>value
    rx.count += 1
    rx.sum += value
    if rx.count < 2 or rx.count < rx.message[1] + 3:
        return 0
    if rx.sum & 0xFF:
        return _abandon(rx)
    length = rx.count - 1
    rx.length = length
    rx.count = 0
    _abandon(rx)
    return length


cdef int _decide(FskRx* rx, float now, double mark, double space) noexcept nogil:
    """Runs the bit clock over one sample, from discriminator rx.last to `now`."""
    cdef double at, error, value
    cdef int result = 0, bit
    cdef bint edge = (rx.last > 0.0) != (now > 0.0)
    if edge:
        at = rx.last / (<double>rx.last - now)          # of the way from the last sample to this one
    if rx.state == READY:
        if edge and now <= 0.0:
            rx.state = BYTE
            rx.bits = -1
            rx.shift = 0
            rx.timer = 0.5 * BIT - (1.0 - at)
        elif rx.count > 0 and rx.marks > IDLE_SAMPLES:
            return _abandon(rx)
        return 0
    if rx.state != BYTE:
        return 0
    rx.timer -= 1.0
    if edge:
        error = rx.timer + (1.0 - at) - 0.5 * BIT       # an edge belongs half a bit before a centre
        if fabs(error) < 0.3 * BIT:
            rx.timer -= 0.25 * error
    if rx.timer > 0.0:
        return 0
    value = now + (rx.last - <double>now) * (-rx.timer)
    rx.timer += BIT
    bit = 1 if value > 0.0 else 0
    if bit:
        rx.level[0] += <float>(0.15 * (mark - rx.level[0]))
    else:
        rx.level[1] += <float>(0.15 * (space - rx.level[1]))
    if rx.bits < 0:
        if bit:                                         # too short for a start bit
            rx.state = READY
            return 0
    elif rx.bits < 8:
        rx.shift |= <unsigned int>bit << rx.bits
    else:
        return _byte(rx, <int>rx.shift, bit)
    rx.bits += 1
    return 0


cdef int _sample(FskRx* rx, float x) noexcept nogil:
    cdef int i, k, slot = rx.slot, first
    cdef float y, square
    cdef double re, sum_re, sum_im, energy
    cdef double size[2]
    cdef float ratio
    # Butterworth high-pass, 400 Hz
    y = <float>0.80059240 * x + rx.hp[0]
    rx.hp[0] = <float>-1.6011848 * x + <float>1.5610181 * y + rx.hp[1]
    rx.hp[1] = <float>0.80059240 * x - <float>0.64135154 * y
    rx.square[slot] = y * y
    first = slot + 2                                    # oldest of the last seven
    energy = EDGE * (rx.square[first & 7] + rx.square[slot])
    for k in range(1, 6):
        energy += rx.square[(first + k) & 7]
    for i in range(2):
        rx.mix_re[i][slot] = <float>(y * rx.re[i])
        rx.mix_im[i][slot] = <float>(y * rx.im[i])
        re = rx.re[i] * rx.cos_w[i] - rx.im[i] * rx.sin_w[i]
        rx.im[i] = rx.re[i] * rx.sin_w[i] + rx.im[i] * rx.cos_w[i]
        rx.re[i] = re
        sum_re = EDGE * (rx.mix_re[i][first & 7] + rx.mix_re[i][slot])
        sum_im = EDGE * (rx.mix_im[i][first & 7] + rx.mix_im[i][slot])
        for k in range(1, 6):
            sum_re += rx.mix_re[i][(first + k) & 7]
            sum_im += rx.mix_im[i][(first + k) & 7]
        size[i] = sqrt(sum_re * sum_re + sum_im * sum_im) + 1e-9
    rx.slot = (slot + 1) & 7
    rx.loud += <float>(0.05 * (energy / BIT - rx.loud))
    k = 0
    if rx.loud < FLOOR:
        rx.weak += 1
        if rx.weak > LOST_SAMPLES and (rx.carrier or rx.state != SEARCH):
            rx.carrier = 0
            k = _abandon(rx)
    else:
        rx.weak = 0
    ratio = rx.level[0] / rx.level[1]
    if ratio > 3.0:
        ratio = 3.0
    elif ratio < 0.33:
        ratio = 0.33
    y = <float>(size[0] - size[1] * ratio)
    if y > 0.0 and rx.loud > FLOOR and size[0] * size[0] * 2.0 > MARK_PURE * BIT * energy:
        rx.marks += 1
    elif y <= 0.0 or rx.state == SEARCH:
        rx.marks = 0
    if rx.state == SEARCH:
        if rx.marks >= ARM_SAMPLES:
            rx.state = READY
            rx.carrier = 1
            rx.count = 0
            rx.sum = 0
            rx.faults = 0
            rx.level[0] = rx.level[1] = <float>size[0]
    else:
        i = _decide(rx, y, size[0], size[1])
        if i:
            k = i
    rx.last = y
    return k


cdef int fsk_rx_feed(FskRx* rx, const short* samples, int n) noexcept nogil:
    cdef int i, result = 0, one
    cdef float x
    for i in range(n):
        x = samples[i]
        if rx.decimate == 2 and not decimator_push(&rx.decim, x, &x):
            continue
        one = _sample(rx, x)
        if one > 0 or (one < 0 and result == 0):        # messages are 100 ms apart at least: a buffer of 10 ms ends one at most
            result = one
    return result


cdef int fsk_tx_init(FskTx* tx, const unsigned char* payload, int n, int standard, double level_dbm0, int rate) noexcept nogil:
    cdef int i, total = 0
    memset(tx, 0, sizeof(FskTx))
    if n < 2 or n > FSK_MAX_MESSAGE or (rate != 8000 and rate != 16000) or (standard != FSK_BELL202 and standard != FSK_V23):
        return -1
    for i in range(n):
        tx.data[i] = payload[i]
        total += payload[i]
    tx.data[n] = <unsigned char>(-total & 0xFF)
    tx.n = n + 1
    tx.bits = SEIZURE_BITS + MARK_BITS + 10 * tx.n + TRAIL_BITS
    tx.per_bit = rate / 1200.0
    tx.total = <int>(tx.bits * tx.per_bit)
    tx.step[0] = (1300.0 if standard == FSK_V23 else 1200.0) / rate
    tx.step[1] = (2100.0 if standard == FSK_V23 else 2200.0) / rate
    tx.amplitude = <float>(22750.0 * pow(10.0, level_dbm0 / 20.0))
    tx.left = tx.per_bit
    return 0


cdef int _space(FskTx* tx, int bit) noexcept nogil:
    """1 when bit number `bit` of the transmission is a space (0)."""
    cdef int place
    if bit < SEIZURE_BITS:
        return 1 - (bit & 1)
    bit -= SEIZURE_BITS + MARK_BITS
    if bit < 0 or bit >= 10 * tx.n:
        return 0
    place = bit % 10
    if place == 0:
        return 1
    if place == 9:
        return 0
    return 1 - ((tx.data[bit // 10] >> (place - 1)) & 1)


cdef int fsk_tx_fill(FskTx* tx, short* out, int n) noexcept nogil:
    cdef int i
    cdef double step, share
    cdef float gain
    for i in range(n):
        if tx.at >= tx.total:
            out[i] = 0
            continue
        gain = 1.0
        if tx.at < 16:
            gain = <float>(tx.at / 16.0)
        elif tx.total - tx.at < 16:
            gain = <float>((tx.total - tx.at) / 16.0)
        out[i] = kernel_round(<float>sin(2.0 * M_PI * tx.phase) * tx.amplitude * gain)
        step = tx.step[_space(tx, tx.bit)]
        tx.left -= 1.0
        if tx.left <= 0.0:                              # the bit ends inside this sample: both frequencies have their share
            share = -tx.left
            tx.bit += 1
            step = step * (1.0 - share) + tx.step[_space(tx, tx.bit)] * share
            tx.left += tx.per_bit
        tx.phase += step
        if tx.phase >= 1.0:
            tx.phase -= 1.0
        tx.at += 1
    return 1 if tx.at < tx.total else 0


def _standard(name):
    if name == "bell202":
        return FSK_BELL202
    if name == "v23":
        return FSK_V23
    raise ValueError(f"unknown FSK standard {name!r}: use 'bell202' or 'v23'")


cdef class CallerIdReceiver:
    """Receives caller-id messages (type, length, parameters; without checksum) from 16-bit little-endian samples."""

    cdef FskRx rx
    cdef readonly int errors

    def __init__(self, standard="bell202", sample_rate=8000):
        if fsk_rx_init(&self.rx, _standard(standard), sample_rate) < 0:
            raise ValueError(f"sample rate {sample_rate} is not supported: use 8000 or 16000")

    def feed(self, samples) -> list:
        """Take samples of any number; returns the messages completed in them, checksum verified.

        Messages with a wrong checksum are counted in `errors`. Raises ValueError for an odd number of bytes.
        """
        cdef const unsigned char[::1] raw = memoryview(samples).cast("B")
        cdef int n = <int>(raw.shape[0] // 2), at = 0, block, result
        if raw.shape[0] & 1:
            raise ValueError(f"samples are 16-bit, but {raw.shape[0]} bytes were given: pass an even number of bytes")
        cdef bytes aligned = bytes(raw)
        cdef const short* data = <const short*><const char*>aligned
        found = []
        while at < n:
            block = min(n - at, 80)
            with nogil:
                result = fsk_rx_feed(&self.rx, data + at, block)
            if result > 0:
                found.append(bytes(self.rx.message[:result]))
            elif result < 0:
                self.errors += 1
            at += block
        return found

    @property
    def carrier(self) -> bool:
        """True from the marks before a message until the carrier is lost."""
        return self.rx.carrier != 0


cdef class FskTransmitter:
    """Sends one message: channel seizure, marks, the payload's bytes, checksum."""

    cdef FskTx tx

    def __init__(self, payload, standard="bell202", level_dbm0=-13.5, sample_rate=8000):
        cdef bytes raw = bytes(payload)
        if fsk_tx_init(&self.tx, raw, <int>len(raw), _standard(standard), level_dbm0, sample_rate) < 0:
            raise ValueError(f"cannot send a message of {len(raw)} bytes at {sample_rate} Hz: give 2 to 257 bytes (type, length, "
                             "parameters) and a rate of 8000 or 16000")

    def generate(self, int samples) -> bytes:
        """The next `samples` samples, 16-bit little-endian; silence after the message."""
        cdef bytearray out = bytearray(2 * samples)
        cdef short[::1] view
        if samples > 0:
            view = memoryview(out).cast("h")
            with nogil:
                fsk_tx_fill(&self.tx, &view[0], samples)
        return bytes(out)

    @property
    def running(self) -> bool:
        """False when everything has been sent."""
        return self.tx.at < self.tx.total

    @property
    def samples(self) -> int:
        """Length of the whole transmission in samples."""
        return self.tx.total
