# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The PCM bus of a line card through ALSA: capture and playback of all slots in one stream each (L2; the only module that links alsa-lib).

Theory of operation. One device of 8 kHz, 16 bit, a channel per slot of the bus, periods of 10 ms. The tick is paced by captured frames; when a
block does not come within 15 ms the tick runs on silence, so that calls over the network never notice. Both streams are started together and
then unlinked: an overrun or underrun stops one stream only, the other keeps the clocks of the chips alive, and the one that stopped is
prepared and started again alone, playback behind silence.
Alignment: an echo canceller lives on a constant delay from what is played to what is captured. Where the board returns a spare slot, each
frame played there carries its own number, so every captured block tells the delay to the frame. The first one that is stable is kept; when it
changes, the difference is taken out again: surplus frames are dropped where they wait (capture first, else playback), missing ones are filled
with silence. Then what the cancellers learned holds. Without a spare slot, and where the delay cannot be put back within half a second, the
alignment epoch is raised and the cancellers begin anew.
Beside the simulated world the card carries sound alone: chips and lines stay in the world's segment. The tick then counts blocks as the world
does (scans are numbered by its blocks), and says there that it ticked.
From `open_card` until the first tick a thread of its own captures to nowhere and plays silence, block by block, so that the clocks run on while the
chips are brought up; the first tick waits for its last block.
Invariant: no call here blocks longer than the grace; nothing is allocated after `open`.
"""
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.errno cimport EAGAIN
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from firmware.dsp.abi cimport *
from firmware.dsp.state cimport *
from firmware.dsp.threads cimport engine_reset_echo

from firmware.errors import HardwareError

cdef extern from "<alsa/asoundlib.h>" nogil:
    ctypedef struct snd_pcm_t:
        pass
    ctypedef struct snd_pcm_hw_params_t:
        pass
    ctypedef struct snd_pcm_sw_params_t:
        pass
    ctypedef unsigned long snd_pcm_uframes_t
    ctypedef long snd_pcm_sframes_t
    ctypedef int snd_pcm_stream_t
    ctypedef int snd_pcm_access_t
    ctypedef int snd_pcm_format_t
    enum: SND_PCM_STREAM_PLAYBACK, SND_PCM_STREAM_CAPTURE, SND_PCM_NONBLOCK, SND_PCM_ACCESS_RW_INTERLEAVED, SND_PCM_FORMAT_S16_LE
    int snd_pcm_open(snd_pcm_t** pcm, const char* name, snd_pcm_stream_t stream, int mode)
    int snd_pcm_close(snd_pcm_t* pcm)
    int snd_pcm_hw_params_malloc(snd_pcm_hw_params_t** p)
    void snd_pcm_hw_params_free(snd_pcm_hw_params_t* p)
    int snd_pcm_hw_params_any(snd_pcm_t* pcm, snd_pcm_hw_params_t* p)
    int snd_pcm_hw_params_set_access(snd_pcm_t* pcm, snd_pcm_hw_params_t* p, snd_pcm_access_t access)
    int snd_pcm_hw_params_set_format(snd_pcm_t* pcm, snd_pcm_hw_params_t* p, snd_pcm_format_t form)
    int snd_pcm_hw_params_set_channels(snd_pcm_t* pcm, snd_pcm_hw_params_t* p, unsigned int n)
    int snd_pcm_hw_params_set_rate(snd_pcm_t* pcm, snd_pcm_hw_params_t* p, unsigned int rate, int direction)
    int snd_pcm_hw_params_set_period_size(snd_pcm_t* pcm, snd_pcm_hw_params_t* p, snd_pcm_uframes_t n, int direction)
    int snd_pcm_hw_params_set_buffer_size(snd_pcm_t* pcm, snd_pcm_hw_params_t* p, snd_pcm_uframes_t n)
    int snd_pcm_hw_params(snd_pcm_t* pcm, snd_pcm_hw_params_t* p)
    int snd_pcm_sw_params_malloc(snd_pcm_sw_params_t** p)
    void snd_pcm_sw_params_free(snd_pcm_sw_params_t* p)
    int snd_pcm_sw_params_current(snd_pcm_t* pcm, snd_pcm_sw_params_t* p)
    int snd_pcm_sw_params_set_start_threshold(snd_pcm_t* pcm, snd_pcm_sw_params_t* p, snd_pcm_uframes_t n)
    int snd_pcm_sw_params(snd_pcm_t* pcm, snd_pcm_sw_params_t* p)
    int snd_pcm_link(snd_pcm_t* a, snd_pcm_t* b)
    int snd_pcm_unlink(snd_pcm_t* a)
    int snd_pcm_prepare(snd_pcm_t* pcm)
    int snd_pcm_start(snd_pcm_t* pcm)
    int snd_pcm_wait(snd_pcm_t* pcm, int timeout_ms)
    snd_pcm_sframes_t snd_pcm_avail_update(snd_pcm_t* pcm)
    snd_pcm_sframes_t snd_pcm_readi(snd_pcm_t* pcm, void* to, snd_pcm_uframes_t n)
    snd_pcm_sframes_t snd_pcm_writei(snd_pcm_t* pcm, const void* data, snd_pcm_uframes_t n)
    const char* snd_strerror(int code)

cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    int pthread_create(pthread_t* thread, void* attr, void* (*start)(void*) noexcept nogil, void* arg)
    int pthread_join(pthread_t thread, void** result)

cdef enum:
    BLOCK_NS = 10000000
    GRACE_NS = 15000000
    SLICE_NS = 100000000
    MOST_CHANNELS = 32
    COUNT = 32768               # numbers of the marker
    APART = 4                   # blocks that the tick may count less than the world
    STABLE = 3                  # blocks that must agree on a delay
    LIMIT = 50                  # blocks without the right delay until the cancellers begin anew

cdef struct AlsaCard:
    snd_pcm_t* capture
    snd_pcm_t* playback
    int channels
    int prefill                 # blocks of silence before playback starts
    int spare                   # channel whose playback the board returns, -1 = none
    int filled                  # frames of the block that is being captured
    int wait                    # blocks until a correction shows
    uint64_t sent               # blocks played since the card was bound
    int64_t delay               # frames from playback to capture that the cancellers know, -1 = not yet
    int64_t seen
    int same
    int wrong                   # blocks since the delay was right
    int skip_in
    int skip_out
    int fill_out
    short block[2560]
    short out[2560]
    short silence[2560]
    pthread_t pump
    int pump_made
    uint32_t pumping            # 1 the pump has the streams, 2 it shall let go, 0 it has
    uint64_t capture_xruns, playback_xruns, stalls, dropped, corrected, realigned

cdef AlsaCard _card             # one line card per media process


# --- streams ---------------------------------------------------------------------------------------------------------------

cdef void _restart_capture(EngineState* e) noexcept nogil:
    _card.capture_xruns += 1
    snd_pcm_prepare(_card.capture)
    snd_pcm_start(_card.capture)
    if _card.spare < 0 and e != NULL:
        _anew(e)


cdef void _restart_playback(EngineState* e) noexcept nogil:
    cdef int i
    _card.playback_xruns += 1
    snd_pcm_prepare(_card.playback)
    for i in range(_card.prefill):
        snd_pcm_writei(_card.playback, _card.silence, BLOCK)
    if _card.spare < 0 and e != NULL:
        _anew(e)


cdef int _read(EngineState* e, short* to, int frames) noexcept nogil:
    cdef snd_pcm_sframes_t n = snd_pcm_readi(_card.capture, to, frames)
    if n >= 0:
        return <int>n
    if n != -EAGAIN:
        _restart_capture(e)
    return 0


cdef void _write(EngineState* e, const short* samples, int frames) noexcept nogil:
    cdef snd_pcm_sframes_t n = snd_pcm_writei(_card.playback, samples, frames)
    if n < 0 and n != -EAGAIN:
        _restart_playback(e)
        n = snd_pcm_writei(_card.playback, samples, frames)
    if n < frames:
        _card.dropped += frames - (n if n > 0 else 0)


cdef void* _pump(void* arg) noexcept nogil:
    """Keep both streams alive until the tick takes them."""
    cdef short waste[2560]
    cdef int filled = 0
    while load32(&_card.pumping) == 1 or filled:
        filled += _read(NULL, waste, BLOCK - filled)
        if filled == BLOCK:
            filled = 0
            _write(NULL, _card.silence, BLOCK)
        elif load32(&_card.pumping) == 2 and snd_pcm_wait(_card.capture, 50) <= 0:
            break               # nothing comes any more
        else:
            snd_pcm_wait(_card.capture, 20)
    store32(&_card.pumping, 0)
    return NULL


cdef void _take_over() noexcept nogil:
    """Get the streams from the pump."""
    if load32(&_card.pumping) == 1:
        store32(&_card.pumping, 2)
    while load32(&_card.pumping):
        sleep_until_ns(mono_ns() + 500000)


# --- alignment -------------------------------------------------------------------------------------------------------------

cdef void _anew(EngineState* e) noexcept nogil:
    """The delay is another one now: cancellers begin anew."""
    _card.realigned += 1
    if e.world == NULL:         # the world's word is its own
        e.align_epoch += 1
    engine_reset_echo(e)


cdef int64_t _measure(EngineState* e) noexcept nogil:
    """Frames between playback and capture, by the spare slot of this block; -1 = it does not tell."""
    cdef const short* x = &_card.block[_card.spare]
    cdef int i, first = x[0]
    for i in range(1, BLOCK):
        if x[i * _card.channels] != (first + i) % COUNT:
            return -1
    return (<int64_t>(_card.sent * BLOCK) - first) & (COUNT - 1)


cdef void _adopt(EngineState* e, int64_t delay) noexcept nogil:
    cdef uint32_t depth = <uint32_t>(delay // BLOCK)
    _card.delay = delay
    _card.wrong = 0
    e.depth = 1 if depth < 1 else (WORLD_BLOCKS - 1 if depth >= WORLD_BLOCKS else depth)
    _anew(e)


cdef void _correct(int64_t surplus) noexcept nogil:
    """Put the delay back: `surplus` frames are too many between playback and capture."""
    cdef snd_pcm_sframes_t there
    _card.corrected += 1
    _card.wait = <int>(_card.delay // BLOCK) + _card.prefill + 2
    if surplus < 0:
        _card.fill_out = <int>-surplus
        return
    there = snd_pcm_avail_update(_card.capture)
    _card.skip_in = <int>(surplus if there >= surplus else (there if there > 0 else 0))
    _card.skip_out = <int>surplus - _card.skip_in


cdef void _judge(EngineState* e) noexcept nogil:
    """After each captured block."""
    cdef int64_t delay
    if _card.spare < 0:
        return
    delay = _measure(e)
    _card.same = _card.same + 1 if delay >= 0 and delay == _card.seen else 0
    _card.seen = delay
    if _card.delay >= 0 and delay != _card.delay:
        _card.wrong += 1
    elif delay >= 0:
        _card.wrong = 0
    if _card.wait:
        _card.wait -= 1
        return
    if _card.same < STABLE:
        return
    if _card.delay < 0 or (_card.wrong >= LIMIT and delay != _card.delay):
        _adopt(e, delay)
    elif delay != _card.delay:
        delay -= _card.delay
        if delay > COUNT // 2:
            delay -= COUNT
        elif delay < -COUNT // 2:
            delay += COUNT
        _correct(delay)


# --- the seam --------------------------------------------------------------------------------------------------------------

cdef void _skip_captured(EngineState* e) noexcept nogil:
    cdef short waste[2560]
    cdef int n
    while _card.skip_in > 0:
        n = _read(e, waste, _card.skip_in if _card.skip_in < BLOCK else BLOCK)
        if n == 0:
            return
        _card.skip_in -= n


cdef void _follow(EngineState* e, uint64_t apart) noexcept nogil:
    """Count as the world does, which began earlier or lost less; never backwards: a world that is behind follows us."""
    cdef uint64_t delivered
    if e.world == NULL:
        return
    delivered = load64(&e.world.delivered)
    if delivered > e.tick + 1 + apart:
        e.tick = delivered - 1


cdef int _wait(EngineState* e) noexcept nogil:
    cdef uint64_t now, deadline
    if load32(&_card.pumping):
        _take_over()
        e.due_ns = mono_ns() + BLOCK_NS
        _follow(e, 0)
    while not load32(&e.stop):
        _skip_captured(e)
        if _card.skip_in == 0:
            _card.filled += _read(e, &_card.block[_card.filled * _card.channels], BLOCK - _card.filled)
        now = mono_ns()
        if _card.filled == BLOCK:
            _card.filled = 0
            e.due_ns = now + BLOCK_NS
            e.silent_run = 0
            e.block_there = 1
            _follow(e, APART)
            _judge(e)
            return 1
        deadline = e.due_ns + GRACE_NS
        if now >= deadline:
            e.due_ns = (e.due_ns + BLOCK_NS) if e.due_ns + SLICE_NS > now else now
            e.silent_run += 1
            e.block_there = 0
            e.silent += 1
            _card.stalls += e.silent_run == 1
            return 0
        if snd_pcm_wait(_card.capture, <int>((deadline - now) // 1000000) + 1) < 0:
            _restart_capture(e)
    return -1


cdef void _capture(EngineState* e, int slot, short* out) noexcept nogil:
    cdef int i
    if not e.block_there or slot >= _card.channels:
        memset(out, 0, BLOCK * sizeof(short))
        return
    for i in range(BLOCK):
        out[i] = _card.block[i * _card.channels + slot]


cdef void _playback(EngineState* e, int slot, const short* samples) noexcept nogil:
    cdef int i
    if slot < _card.channels and slot != _card.spare:
        for i in range(BLOCK):
            _card.out[i * _card.channels + slot] = samples[i]


cdef void _finish(EngineState* e) noexcept nogil:
    cdef int i, n, skip
    if _card.spare >= 0:
        for i in range(BLOCK):
            _card.out[i * _card.channels + _card.spare] = <short>((_card.sent * BLOCK + i) % COUNT)
    _card.sent += 1
    while _card.fill_out > 0:
        n = _card.fill_out if _card.fill_out < BLOCK else BLOCK
        _write(e, _card.silence, n)
        _card.fill_out -= n
    skip = _card.skip_out if _card.skip_out < BLOCK else BLOCK
    _card.skip_out -= skip
    if skip < BLOCK:
        _write(e, &_card.out[skip * _card.channels], BLOCK - skip)
    memset(_card.out, 0, sizeof(_card.out))
    if e.world != NULL:
        store64(&e.world.ticked, e.tick + 1)
        futex_wake32(<uint32_t*>&e.world.ticked)


cdef int _no_facts(EngineState* e, uint64_t block, int slot, line_fact* out) noexcept nogil:
    return 0


cdef void _no_drive(EngineState* e, int slot, uint32_t code) noexcept nogil:
    store32(&e.drive[slot], code)


cdef uint64_t _no_blocks(EngineState* e) noexcept nogil:
    return 0


# --- Python face -----------------------------------------------------------------------------------------------------------

cdef int _good(int code, str what) except -1:
    if code < 0:
        raise HardwareError(f"sound device: {what}: {snd_strerror(code).decode()}; see the overlay of the line card and `aplay -l`")
    return code


cdef snd_pcm_t* _open(str name, int stream, int channels, int blocks, int start) except NULL:
    cdef snd_pcm_t* pcm = NULL
    cdef snd_pcm_hw_params_t* hw = NULL
    cdef snd_pcm_sw_params_t* sw = NULL
    cdef bytes raw = name.encode()
    _good(snd_pcm_open(&pcm, raw, stream, SND_PCM_NONBLOCK), f"{name} cannot be opened")
    try:
        _good(snd_pcm_hw_params_malloc(&hw), "no memory")
        _good(snd_pcm_sw_params_malloc(&sw), "no memory")
        _good(snd_pcm_hw_params_any(pcm, hw), f"{name} has no settings")
        _good(snd_pcm_hw_params_set_access(pcm, hw, SND_PCM_ACCESS_RW_INTERLEAVED), f"{name} is not interleaved")
        _good(snd_pcm_hw_params_set_format(pcm, hw, SND_PCM_FORMAT_S16_LE), f"{name} has no 16 bit samples")
        _good(snd_pcm_hw_params_set_channels(pcm, hw, channels), f"{name} has not {channels} channels")
        _good(snd_pcm_hw_params_set_rate(pcm, hw, 8000, 0), f"{name} does not run at 8 kHz")
        _good(snd_pcm_hw_params_set_period_size(pcm, hw, BLOCK, 0), f"{name} has no periods of {BLOCK} frames")
        _good(snd_pcm_hw_params_set_buffer_size(pcm, hw, blocks * BLOCK), f"{name} has no buffer of {blocks} periods")
        _good(snd_pcm_hw_params(pcm, hw), f"{name} refuses its settings")
        _good(snd_pcm_sw_params_current(pcm, sw), f"{name} has no thresholds")
        _good(snd_pcm_sw_params_set_start_threshold(pcm, sw, start), f"{name} refuses its start threshold")
        _good(snd_pcm_sw_params(pcm, sw), f"{name} refuses its thresholds")
    except BaseException:
        snd_pcm_close(pcm)
        raise
    finally:
        if hw != NULL:
            snd_pcm_hw_params_free(hw)
        if sw != NULL:
            snd_pcm_sw_params_free(sw)
    return pcm


def open_card(str device, int channels, int spare=-1, str playback="", int blocks=6, int prefill=2):
    """Open both streams and start them: from now on the chips have clocks. `playback` when it is another device.

    `spare`: the channel that the board returns, -1 = none; `blocks`: periods of 10 ms in each buffer, `prefill` of them silence ahead of
    what is played: how late the tick may be, and how late everybody hears. Raises HardwareError naming what the
    device cannot do. One card per process; `close_card` first when it was open.
    """
    cdef int i
    if _card.capture != NULL:
        raise HardwareError("sound device: it is open already")
    if not 1 <= channels <= MOST_CHANNELS or not -1 <= spare < channels:
        raise ValueError(f"{channels} channels with spare channel {spare}: 1 to {MOST_CHANNELS}, and one of them or -1")
    if not 1 <= prefill < blocks:
        raise ValueError(f"{prefill} blocks ahead in a buffer of {blocks}: 1 to {blocks - 1}")
    memset(&_card, 0, sizeof(_card))
    _card.prefill = prefill
    _card.channels = channels
    _card.spare = spare
    _card.delay = _card.seen = -1
    _card.capture = _open(device, SND_PCM_STREAM_CAPTURE, channels, blocks, 1)
    try:
        _card.playback = _open(playback or device, SND_PCM_STREAM_PLAYBACK, channels, blocks, prefill * BLOCK)
        linked = snd_pcm_link(_card.capture, _card.playback) == 0
        _good(snd_pcm_prepare(_card.capture), "capture cannot be prepared")
        _good(snd_pcm_prepare(_card.playback), "playback cannot be prepared")
        for i in range(prefill):
            _good(<int>snd_pcm_writei(_card.playback, _card.silence, BLOCK), "playback takes no silence")
        if linked:
            snd_pcm_unlink(_card.playback)
        else:
            snd_pcm_start(_card.capture)
        _card.pumping = 1
        if pthread_create(&_card.pump, NULL, _pump, NULL):
            raise HardwareError("sound device: a thread cannot be started, raise the limit of processes")
        _card.pump_made = 1
    except BaseException:
        close_card()
        raise


def close_card():
    """Close both streams: the clocks stop."""
    if _card.pump_made:
        with nogil:
            _take_over()
            pthread_join(_card.pump, NULL)
        _card.pump_made = 0
    if _card.capture != NULL:
        snd_pcm_close(_card.capture)
    if _card.playback != NULL:
        snd_pcm_close(_card.playback)
    _card.capture = _card.playback = NULL


def bind_card(engine):
    """Make the open card the engine's PCM seam; before `engine.start`. Beside a world it carries sound alone."""
    cdef EngineState* e = <EngineState*>PyCapsule_GetPointer(engine.capsule(), "branchpbx.engine")
    if _card.capture == NULL:
        raise HardwareError("sound device: open it before it is bound")
    e.depth = _card.prefill + 1
    e.seam.wait_block = _wait
    e.seam.capture = _capture
    e.seam.playback = _playback
    e.seam.finish = _finish
    if e.world != NULL:
        return
    e.seam.facts = _no_facts
    e.seam.drive = _no_drive
    e.seam.delivered = _no_blocks


def card_figures():
    """Counters since the card was opened; `delay` in frames, -1 = not measured."""
    return {
        "capture_xruns": _card.capture_xruns, "playback_xruns": _card.playback_xruns, "stalls": _card.stalls, "dropped": _card.dropped,
        "corrected": _card.corrected, "realigned": _card.realigned, "delay": _card.delay, "seen": _card.seen,
    }
