"""Caller-id FSK: 1200 bit/s receiver and sender for Bell 202 and V.23.

Theory of operation. Bell 202 (mark 1200 Hz, space 2200 Hz) and ITU-T V.23 mode 2 (1300, 2100); framing of Telcordia GR-30 and ETSI EN 300
659: channel seizure (alternating bits), marks, then bytes of start bit 0, eight bits from the lowest, stop bit 1: message type, length,
parameters, checksum (two's complement of the byte sum).

Receiver, at 8 kHz (16 kHz input is halved first), in frames of 8 samples. `fsk_front.h` gives the matched filters of both tones; their
difference, each weighted with the level its tone was last heard at, is the discriminator. Seventeen bits of pure mark arm the receiver,
with or without a seizure before them. A falling edge then starts a byte, if over the bit after it there is more space than mark. A byte
is judged when all of it has been heard: all its edges are compared with where the first one, or the clock kept over the bytes before,
puts them, and the clock's word counts by its variance; so no single edge matters and 1 % of clock error is followed with its drift.
Senders may put marks between bytes; then the edge counts again. The first byte teaches the level of space and is judged twice. A byte
whose power is not mostly in the two tones ends the message.

FSK_AUTO listens half-way between the standards (1250, 2150 Hz; the 50 Hz cost 0.03 dB) and tells them apart by how the phase of the marks
turns, which is 36 degrees of difference per frame: so there is one receiver and nothing can be reported twice.

A message is returned only with a right checksum. -1 is returned when a message of a known type, four bytes of which had come one after
the other, ended with a wrong checksum, lost its carrier or lost framing; noise and speech that only look like a start are dropped without
a word.
Invariants: no allocation, no pointers in the structs, result independent of buffer sizes (one buffer of at most 80 ms ends one message at
most); decisions rest on sums, products and square roots alone, so every machine decides alike.
"""

from libc.math cimport cos, sin, pow, M_PI
from libc.string cimport memset

from firmware.dsp.fsk_phase cimport Bits, fsk_review

cdef extern from "math.h" nogil:
    float fabsf(float x)

cdef extern from "fsk_front.h" nogil:
    enum:
        FSK_FRAME
        FSK_TURN
    short kernel_round(float x)
    int decimator_push(Decimator* d, float x, float* out)
    void fsk_front(FskFront* f, const float* wave, const float* x, float* mark, float* space, float** filter)
    float fsk_at(const float* ring, unsigned int base, float t)
    int fsk_weigh(float* out, const float* mark, const float* space, float mark_level, float space_level)

cdef enum:
    TRAIL_BITS = 10
    SEARCH = 0                  # for marks
    READY = 1                   # armed, or between two bytes: waiting for a start bit
    START = 2                   # an edge came: is it one?
    BYTE = 3                    # collecting
    MASK = FSK_RING - 1
    ARM_FRAMES = 14             # 17 bits of mark
    IMPURE_FRAMES = 4           # armed, but this is no longer a mark
    LOST_FRAMES = 5             # 6 bits without carrier
    IDLE_FRAMES = 25            # 30 bits of mark between two bytes: the sender gave up
    BEFORE = 8                  # samples kept in front of an edge
    DUE = 70                    # samples after its edge when a byte has been heard whole: 9.5 bits and a margin for its place

cdef float BIT = <float>(8000.0 / 1200.0)
cdef float FLOOR = <float>(22750.0 * 22750.0 / 2.0 * 2.0e-5 * 8000.0 / 1200.0)      # energy of one bit at -47 dBm0
cdef float MARK_PURE = <float>(0.45 * 0.5 * 8000.0 / 1200.0)
cdef float DOUBT = <float>0.07      # of the sum over a byte's ten bits: half the mean
cdef float EDGE_VARIANCE = 0.5      # of one edge in noise of 10 dB, samples squared
cdef float WANDER = <float>0.02     # of the sender's clock per byte
cdef float SLOPE = <float>0.2       # one tone 14 dB below the other
cdef float BYTE_PURE = <float>(0.65 * 0.5 * 8000.0 / 1200.0)
cdef float wave[3][640]         # of each standard: cos and -sin of mark, cos and -sin of space


def _fill_tables():
    cdef int i, k
    for i, (mark, space) in enumerate(((1200.0, 2200.0), (1300.0, 2100.0), (1250.0, 2150.0))):
        for k in range(FSK_TURN):
            wave[i][k] = <float>cos(2.0 * M_PI * mark * k / 8000.0)
            wave[i][FSK_TURN + k] = <float>-sin(2.0 * M_PI * mark * k / 8000.0)
            wave[i][2 * FSK_TURN + k] = <float>cos(2.0 * M_PI * space * k / 8000.0)
            wave[i][3 * FSK_TURN + k] = <float>-sin(2.0 * M_PI * space * k / 8000.0)


_fill_tables()


cdef int fsk_rx_init(FskRx* rx, int standard, int rate) noexcept nogil:
    memset(rx, 0, sizeof(FskRx))
    if (rate != 8000 and rate != 16000) or standard < FSK_BELL202 or standard > FSK_AUTO:
        return -1
    rx.decimate = rate // 8000
    rx.tones = standard
    rx.standard = standard
    rx.level[0] = rx.level[1] = 1.0
    return 0


cdef bint _known(int kind) noexcept nogil:
    """SDMF number and message waiting, and the MDMF family."""
    return kind == 0x04 or kind == 0x06 or (kind >= 0x80 and kind <= 0x8F)


cdef int _abandon(FskRx* rx, int state) noexcept nogil:
    """Ends the message; FSK_BAD when there was one."""
    cdef int result = FSK_BAD if rx.count >= 4 and rx.chained >= 3 and _known(rx.message[0]) else 0
    rx.state = state
    rx.count = 0
    rx.sum = 0
    rx.faults = 0
    rx.run = 0
    rx.locked = 0
    rx.chained = 0
    rx.drift = 0.0
    rx.bad = 0
    if state == SEARCH:
        rx.carrier = 0
        rx.turn[0] = rx.turn[1] = 0.0
        rx.level[0] = rx.level[1] = 1.0
    return result


cdef int _take(FskRx* rx, int value, bint stop) noexcept nogil:
    """Takes one byte; returns the length of a completed message, 0, or FSK_BAD."""
    cdef int length
    rx.state = READY
    rx.run = 0
    rx.bad = 0
    if rx.count == 0 and (value >= 0xF0 or not (stop or _known(value))):   # a click between the marks and what came after it
        rx.locked = 0
        rx.drift = 0.0
        return 0
    if not stop:
        rx.faults += 1
        if rx.faults > 1 or not _known(rx.message[0]):
            return _abandon(rx, SEARCH)
    if rx.count < FSK_MAX_MESSAGE:
        rx.message[rx.count] = <unsigned char>value
    rx.count += 1
    rx.sum += value
    if rx.count < 2 or rx.count < rx.message[1] + 3:
        return 0
    length = rx.count - 1
    if rx.sum & 0xFF or (length < 4 and not _known(rx.message[0])):
        return _abandon(rx, SEARCH)
    rx.length = length
    rx.count = 0
    _abandon(rx, SEARCH)
    return length


cdef float _place(FskRx* rx, unsigned int base, float first, float bit, float far, int rounds, int* edges) noexcept nogil:
    """How many samples from `first`, the middle of the start bit, the byte really lies, by all its `edges`; `far` at most.

    An edge belongs half-way between two bits: what is found there instead of nought, against the step from bit to bit, is its error.
    """
    cdef float moved = 0.0, late, step, t, before, now, between
    cdef int k
    while rounds > 0:
        rounds -= 1
        t = first + moved - bit
        before = fsk_at(rx.weight, base, t)
        late = step = 0.0
        edges[0] = 0
        for k in range(10):
            between = fsk_at(rx.weight, base, t + <float>0.5 * bit)
            t += bit
            now = fsk_at(rx.weight, base, t)
            if (before > 0.0) != (now > 0.0):
                edges[0] += 1
                if now > before:
                    late += between
                    step += now - before
                else:
                    late -= between
                    step += before - now
            before = now
        if step > 0.0:
            moved -= bit * late / step
        if moved > far:
            moved = far
        elif moved < -far:
            moved = -far
    return moved


cdef int _judge(FskRx* rx) noexcept nogil:
    """A whole byte has been heard."""
    cdef Bits bits
    cdef unsigned int base = rx.start - BEFORE
    cdef float bit = BIT + rx.drift * <float>0.1, first = BEFORE + rx.part + <float>0.5 * bit
    cdef float moved = 0.0, gain, t, v, open = 0.0, least = 0.0
    cdef float level[2]
    cdef int heard[2]
    cdef int k, i, again, edges = 0, value = 0
    for again in range(2 if rx.count == 0 else 1):
        if rx.locked:                                   # the clock's word against the edges', by their variances
            moved = _place(rx, base, first, bit, 2.0, 2, &edges)
            v = EDGE_VARIANCE / (edges + <float>0.01)
            gain = rx.vague / (rx.vague + v)
            rx.vague = gain * v + WANDER
            rx.drift += <float>0.3 * gain * moved
            moved *= gain
        else:
            moved = _place(rx, base, first, bit, 3.0, 3, &edges)
            rx.vague = EDGE_VARIANCE / (edges + <float>0.01) + WANDER
        level[0] = level[1] = 0.0
        heard[0] = heard[1] = 0
        t = first + moved
        open = 0.0
        bits.on[0] = 0
        for k in range(1, 11):
            v = fsk_at(rx.weight, base, t)
            i = 0 if v > 0.0 else 1
            bits.on[k] = i
            bits.clear[k] = fabsf(v)
            if k == 1 or bits.clear[k] < least:
                least = bits.clear[k]
            open += bits.clear[k]
            level[i] += fsk_at(&rx.space[0] if i else &rx.mark[0], base, t)
            heard[i] += 1
            t += bit
        for i in range(2):
            if heard[i] > 0:
                v = level[i] / heard[i] - rx.level[i]
                rx.level[i] += v if rx.count == 0 and i == 1 else <float>0.3 * v
        if rx.count == 0 and (rx.level[1] < SLOPE * rx.level[0] or rx.level[0] < SLOPE * rx.level[1]):
            rx.state = READY                            # no line slopes so much: a sound that is not FSK, or a click
            rx.level[1] = rx.level[0]
            rx.scan = rx.start + DUE - BEFORE
            rx.locked = 0
            return 0
        if rx.count == 0 and not again:
            v = <float>0.5 * (rx.level[0] * rx.level[0] - rx.level[1] * rx.level[1])
            for k in range(FSK_RING):
                rx.weight[k] = rx.level[0] * rx.mark[k] - rx.level[1] * rx.space[k] - v
    if rx.tonal < BYTE_PURE * rx.energy:
        return _abandon(rx, SEARCH)
    if least < DOUBT * open:
        fsk_review(rx, base, first + moved, bit, &bits, DOUBT * open)
    for k in range(8):
        if bits.on[2 + k] == 0:
            value |= 1 << k
    if rx.locked and rx.faults == 0:
        rx.chained += 1
    rx.locked = 1
    t = first + moved - <float>0.5 * bit + 10 * bit     # where the next byte starts if nothing comes between
    i = <int>t
    rx.next = base + i
    rx.next_part = t - i
    rx.scan = base + <int>(t - <float>0.5 * bit)
    return _take(rx, value, bits.on[10] == 0)


cdef bint _edge(FskRx* rx) noexcept nogil:
    """Looks for the falling edge of a start bit in what has been heard; True when there is one."""
    cdef float before, now, t
    cdef int apart
    while <int>(rx.head - rx.scan) > 0:
        now = rx.weight[rx.scan & MASK]
        if now <= 0.0:
            before = rx.weight[(rx.scan - 1) & MASK]
            rx.start = rx.scan - 1
            rx.part = before / (before - now) if before > 0.0 else 1.0
            if rx.locked:
                apart = <int>(rx.start - rx.next)
                t = apart + rx.part - rx.next_part
                if t < <float>2.5:                      # no byte comes before the stop bit has ended
                    rx.start = rx.next
                    rx.part = rx.next_part
                else:
                    rx.locked = 0
            return True
        rx.scan += 1
    return False


cdef int _advance(FskRx* rx) noexcept nogil:
    """Runs the bytes as far as the samples reach."""
    cdef int result = 0, one, k
    cdef float early, late
    while True:
        if rx.state == READY:
            if not _edge(rx):
                return result
            rx.state = START
            rx.tonal = rx.energy = 0.0
        if rx.state == START:
            if <int>(rx.head - rx.start) < 9:
                return result
            early = late = 0.0
            for k in range(6):
                early += rx.weight[(rx.start + k) & MASK]
                late += rx.weight[(rx.start + k + 2) & MASK]
            if early > 0.0 and late > 0.0:              # too short for a start bit
                rx.state = READY
                rx.locked = 0
                rx.scan = rx.start + 4
                continue
            rx.state = BYTE
        if rx.state != BYTE or <int>(rx.head - rx.start) < DUE:
            return result
        one = _judge(rx)
        if one:
            result = one


cdef int _frame(FskRx* rx) noexcept nogil:
    cdef int i, at = rx.head & MASK, end = at + FSK_FRAME - 1, low, result = 0
    cdef int past = (end - FSK_FRAME) & MASK
    cdef float* mark = &rx.mark[at]
    cdef float* filter[4]
    cdef float power, energy
    cdef bint pure, loud
    for i in range(4):
        filter[i] = &rx.filter[i][at]
    fsk_front(&rx.front, wave[rx.tones], rx.input, mark, &rx.space[at], filter)
    low = fsk_weigh(&rx.weight[at], mark, &rx.space[at], rx.level[0], rx.level[1])
    rx.head += FSK_FRAME
    energy = rx.front.energy
    loud = energy > FLOOR
    power = mark[7] * mark[7]
    pure = loud and power > MARK_PURE * energy
    rx.energy += energy
    rx.tonal += power + rx.space[end] * rx.space[end]
    if rx.state == SEARCH:
        if low or not pure:
            rx.run = 0
            rx.turn[0] = rx.turn[1] = 0.0
            return 0
        rx.run += 1
        if rx.run > 1:
            rx.turn[0] += rx.filter[0][past] * rx.filter[0][end] + rx.filter[1][past] * rx.filter[1][end]
            rx.turn[1] += rx.filter[0][past] * rx.filter[1][end] - rx.filter[1][past] * rx.filter[0][end]
        if rx.run < ARM_FRAMES:
            return 0
        rx.state = READY
        rx.run = 0
        rx.weak = 0
        rx.carrier = 1
        rx.scan = rx.head
        rx.level[0] = rx.level[1] = mark[7]
        if rx.tones == FSK_AUTO:
            rx.standard = FSK_V23 if rx.turn[1] > 0.0 else FSK_BELL202
        return 0
    rx.weak = 0 if loud else rx.weak + 1
    if rx.weak > LOST_FRAMES:
        return _abandon(rx, SEARCH)
    if rx.state == READY and not low:
        rx.run += 1
        if pure:
            rx.bad = 0
            if rx.count == 0:
                rx.level[0] += <float>0.1 * (mark[7] - rx.level[0])
                rx.level[1] = rx.level[0]
        else:
            rx.bad += 1
            if rx.bad >= IMPURE_FRAMES:
                return _abandon(rx, SEARCH)
        if rx.count > 0 and rx.run > IDLE_FRAMES:
            result = _abandon(rx, READY)
    i = _advance(rx)
    return i if i else result


cdef int fsk_rx_feed(FskRx* rx, const short* samples, int n) noexcept nogil:
    cdef int i, result = 0, one
    cdef float x
    for i in range(n):
        x = samples[i]
        if rx.decimate == 2 and not decimator_push(&rx.decim, x, &x):
            continue
        rx.input[rx.filled] = x
        rx.filled += 1
        if rx.filled == FSK_FRAME:
            rx.filled = 0
            one = _frame(rx)
            if one > 0 or (one < 0 and result == 0):
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
    tx.per_bit = rate / 1200.0
    tx.step[0] = (1300.0 if standard == FSK_V23 else 1200.0) / rate
    tx.step[1] = (2100.0 if standard == FSK_V23 else 2200.0) / rate
    tx.amplitude = <float>(22750.0 * pow(10.0, level_dbm0 / 20.0))
    tx.left = tx.per_bit
    fsk_tx_lead(tx, FSK_SEIZURE_BITS, FSK_MARK_BITS)
    return 0


cdef void fsk_tx_lead(FskTx* tx, int seizure, int marks) noexcept nogil:
    """Sets the bits before the message; to be called before the first sample. To an off-hook telephone no seizure is sent."""
    tx.seizure = seizure
    tx.marks = marks
    tx.bits = seizure + marks + 10 * tx.n + TRAIL_BITS
    tx.total = <int>(tx.bits * tx.per_bit)


cdef int _space(FskTx* tx, int bit) noexcept nogil:
    """1 when bit number `bit` of the transmission is a space (0)."""
    cdef int place
    if bit < tx.seizure:
        return 1 - (bit & 1)
    bit -= tx.seizure + tx.marks
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


_NAMES = ("bell202", "v23", "auto")


def _standard(name, int most):
    if name in _NAMES[:most]:
        return _NAMES.index(name)
    raise ValueError(f"unknown FSK standard {name!r}: use {' or '.join(repr(known) for known in _NAMES[:most])}")


cdef class CallerIdReceiver:
    """Receives caller-id messages (type, length, parameters; without checksum) from 16-bit little-endian samples.

    `standard` is "bell202", "v23", or "auto" for either; `sample_rate` 8000 or 16000 Hz.
    """

    cdef FskRx rx
    cdef readonly int errors

    def __init__(self, standard="bell202", sample_rate=8000):
        if fsk_rx_init(&self.rx, _standard(standard, 3), sample_rate) < 0:
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
        """True from the marks before a message until its end or the loss of the carrier."""
        return self.rx.carrier != 0

    @property
    def standard(self) -> str:
        """The standard listened for; with "auto" that of the last marks heard, "auto" before there were any."""
        return _NAMES[self.rx.standard]


cdef class FskTransmitter:
    """Sends one message: channel seizure, marks, the payload's bytes, checksum.

    `seizure_bits` and `mark_bits` are 300 and 180 to a telephone on hook, 0 and 80 to one in a call (GR-30 2.4.2, ETSI EN 300 659-2).
    """

    cdef FskTx tx

    def __init__(self, payload, standard="bell202", level_dbm0=-13.5, sample_rate=8000, int seizure_bits=FSK_SEIZURE_BITS,
                 int mark_bits=FSK_MARK_BITS):
        cdef bytes raw = bytes(payload)
        if not 0 <= seizure_bits <= 4000 or not 0 <= mark_bits <= 4000:
            raise ValueError(f"{seizure_bits} bits of seizure and {mark_bits} of mark cannot be sent: give 0 to 4000 of each")
        if fsk_tx_init(&self.tx, raw, <int>len(raw), _standard(standard, 2), level_dbm0, sample_rate) < 0:
            raise ValueError(f"cannot send a message of {len(raw)} bytes at {sample_rate} Hz: give 2 to 257 bytes (type, length, "
                             "parameters) and a rate of 8000 or 16000")
        fsk_tx_lead(&self.tx, seizure_bits, mark_bits)

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
