# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The world's end of the shared memory that joins it to the media process (`dsp/world_segment.h`).

Theory of operation. `Segment` makes a block: `begin` runs every wire, every chip and every posted program for
ten milliseconds and a block of audio, `finish` publishes it. Between the two the world's people act.
A `card_rack` stands between wires and segment (see cards.pyx); audio goes highway, chip, wire, chip, highway, with what the chips are
after the block's last millisecond.
Sound goes through the segment, or, after `by_card`, through the world's half of a loopback sound card: `hear` gives a block what media played
there, `speak` is what the block has for it.
The oracle's notes of chips are gathered once per block and get the world's time.
Invariants: Python is called once per block, and told of a wire only when its `flags` are raised; whoever touches `chips` from Python does so
within `with segment.held:`.
"""

cimport cython
from libc.stdint cimport int16_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from firmware.sim.cards cimport (
    card_rack,
    programs_begin,
    programs_end,
    rack_clocks,
    rack_contacts,
    rack_hold,
    rack_init,
    rack_joined,
    rack_ms,
    rack_release,
    rack_start,
    rack_stop,
)
from firmware.sim.chip_base cimport line_fact
from firmware.sim.chip_board cimport BUS_FXO, BUS_FXS, ChipBoard
from firmware.sim.chip_pcm cimport pcm_capture, pcm_playback
from firmware.sim.seam cimport (
    WORLD_BLOCKS,
    WORLD_FACTS,
    WORLD_MAGIC,
    WORLD_PORTS,
    WORLD_PROGRAM_BYTES,
    WORLD_VERSION,
    load64,
    store64,
    world_segment,
    world_wait,
    world_wake,
)
from firmware.sim.wire cimport (
    BLOCK,
    PhoneWire,
    TrunkWire,
    Wire,
    phone_closed,
)

cdef extern from "<sys/mman.h>" nogil:
    enum:
        PROT_READ, PROT_WRITE, MAP_SHARED
    void *MAP_FAILED
    void *mmap(void *at, size_t size, int protection, int flags, int fd, long offset)
    int munmap(void *at, size_t size)

import os

SEGMENT_BYTES = sizeof(world_segment)
PORTS = WORLD_PORTS
LOG_LIMIT = 50000
CLOCK_LOOK = 10             # blocks between two looks whether media's process lives


def layout():
    """Byte offsets of the segment's fields, for a stand-in of the media process."""
    cdef world_segment *zero = NULL
    return {"align_epoch": <size_t>&zero.align_epoch, "media_pid": <size_t>&zero.media_pid,
            "delivered": <size_t>&zero.delivered, "ticked": <size_t>&zero.ticked,
            "capture": <size_t>&zero.capture[0][0][0], "playback": <size_t>&zero.playback[0][0][0],
            "posted": <size_t>&zero.posted, "ran": <size_t>&zero.ran, "bell": <size_t>&zero.bell, "mail": <size_t>&zero.mail[0],
            "mail_data": <size_t>&zero.mail[0].data[0] - <size_t>&zero.mail[0], "mail_size": <size_t>&zero.mail[1] - <size_t>&zero.mail[0],
            "program": <size_t>&zero.program[0], "program_data": <size_t>&zero.program[0].data[0] - <size_t>&zero.program[0],
            "program_size": <size_t>&zero.program[1] - <size_t>&zero.program[0], "program_room": WORLD_PROGRAM_BYTES}


cdef class Held:
    """The lock between the blocks, the mail and whoever looks at chips from Python."""

    cdef card_rack *rack

    def __enter__(self):
        if self.rack != NULL:
            rack_hold(self.rack)

    def __exit__(self, *_):
        if self.rack != NULL:
            rack_release(self.rack)


@cython.no_gc_clear
cdef class Segment:
    """The shared memory of the seam, attached by descriptor. Blocks are delivered by `begin()` ... `finish()` pairs."""

    cdef world_segment *seam
    cdef card_rack *rack
    cdef list wires
    cdef readonly ChipBoard chips
    cdef readonly Held held
    cdef readonly object board
    cdef readonly long long block
    cdef readonly long long underruns
    cdef readonly list history, illegal
    cdef readonly tuple fxo_slots, fxs_slots
    cdef tuple names
    cdef int stalled
    cdef int card, spare                    # channels of the sound card, 0 = none; its spare slot
    cdef int slot[32]
    cdef int channels_per_slot
    cdef uint64_t told_history, told_illegal
    cdef long long dropped_history, dropped_illegal
    cdef line_fact last[16][10]
    cdef int16_t heard[16][BLOCK]
    cdef int16_t play[64][BLOCK]
    cdef int16_t catch[64][BLOCK]
    cdef int16_t spoken[32][BLOCK]
    cdef int16_t said[32][BLOCK]

    def __init__(self, fd, *, int speed=-1, long long wall_base_ms=-1, int playback_depth=0, board, unsigned long long seed=1):
        """`speed` and `wall_base_ms` of -1 and a depth of 0 keep what the segment says already (100 %, now, 1 if it is new).

        `board` is a `firmware.config.board.Board` whose chains name the chips to simulate.
        """
        cdef void *memory
        if os.fstat(fd).st_size < sizeof(world_segment):
            os.ftruncate(fd, sizeof(world_segment))
        memory = mmap(NULL, sizeof(world_segment), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
        if memory == MAP_FAILED:
            raise OSError("the world's segment cannot be mapped")
        self.seam = <world_segment *>memory
        self.wires = [None] * WORLD_PORTS
        self.history = []
        self.illegal = []
        self.held = Held()
        self.board = board
        fresh = self.seam.magic != WORLD_MAGIC
        if not fresh and self.seam.version != WORLD_VERSION:
            raise ValueError(f"world segment has version {self.seam.version}, this world speaks {WORLD_VERSION}: rebuild both")
        if fresh or not self.seam.playback_depth or playback_depth:
            self.seam.playback_depth = playback_depth or 1
        if speed >= 0:
            self.seam.speed = speed
        elif fresh:
            self.seam.speed = 100
        if wall_base_ms >= 0:
            self.seam.wall_base_ms = wall_base_ms
        self.seam.version = WORLD_VERSION
        self.seam.ports = WORLD_PORTS
        chains = list(board.chains)
        if not chains:
            raise ValueError(f"board {board.name} has no chains: the world simulates line chips, so its board file must name them")
        if fresh:
            self.seam.chains = len(chains)
        elif <int>self.seam.chains != len(chains):
            raise ValueError(f"the segment is for a board with {self.seam.chains} chains, the board file has {len(chains)}")
        self.seam.world_pid = os.getpid()
        self.block = <long long>load64(&self.seam.delivered)
        self.install(board, chains, seed)
        self.seam.magic = WORLD_MAGIC
        world_wake(&self.seam.delivered)

    def install(self, board, list chains, unsigned long long seed):
        """Put in the chips of a board file."""
        cdef int k, place, failed
        by_kind = {}
        for chain in chains:
            if chain.kind in by_kind:
                raise ValueError(f"board {board.name}: the simulated chips hang on one {chain.kind.upper()} chain, this board has more")
            by_kind[chain.kind] = chain
        if board.pcm.slot_bits % 16:
            raise ValueError(f"board {board.name}: the simulated highway has slots of 16 bit or multiples, not {board.pcm.slot_bits}")
        fxo = list(by_kind["fxo"].jacks) if "fxo" in by_kind else []
        fxs = list(by_kind["fxs"].jacks) if "fxs" in by_kind else []
        self.chips = ChipBoard(len(fxo), len(fxs), seed=seed)
        self.rack = <card_rack *>calloc(1, sizeof(card_rack))
        if self.rack == NULL:
            raise MemoryError
        rack_init(self.rack, self.seam, self.chips.b)
        self.rack.chains = len(chains)
        for k in range(self.rack.chains):
            self.rack.bus[k] = BUS_FXO if chains[k].kind == "fxo" else BUS_FXS
        self.rack.pclk = 1000 * board.pcm.clock_khz
        self.chips.b.highway.delay = board.pcm.first_bit
        self.fxo_slots = tuple(board.fxo_slot(jack) for jack in fxo)
        self.fxs_slots = tuple(board.fxs_slot(jack) for jack in fxs)
        for place, slot in enumerate(self.fxo_slots + self.fxs_slots):
            self.slot[place] = slot
        self.channels_per_slot = board.pcm.slot_bits // 16
        names = [("fxo", jack) for jack in fxo] + [("fxs", jack) for jack in fxs]
        self.names = tuple(names)
        if board.lifeline is not None:
            self.rack.fxo = fxo.index(board.lifeline.fxo)
            self.rack.fxs = fxs.index(board.lifeline.fxs)
        self.held.rack = self.rack
        failed = rack_start(self.rack)
        if failed:
            raise OSError(failed, "the mail of the simulated line cards cannot be opened")

    def __dealloc__(self):
        if self.rack != NULL:
            rack_stop(self.rack)
            if self.held is not None:
                self.held.rack = NULL
            free(self.rack)
        if self.seam != NULL:
            munmap(self.seam, sizeof(world_segment))

    def connect(self, Wire wire not None):
        """Plug a wire into its slot."""
        cdef int k
        with self.held:
            self.wires[wire.slot] = wire
            for k, slot in enumerate(self.fxo_slots):
                if slot == wire.slot and isinstance(wire, TrunkWire):
                    self.rack.trunk[k] = <void *>wire
            for k, slot in enumerate(self.fxs_slots):
                if slot == wire.slot and isinstance(wire, PhoneWire):
                    self.rack.phone[k] = <void *>wire

    def jacks(self, str kind):
        """Jacks of "fxo" or "fxs" that chips serve, in the order of the chain."""
        return tuple(jack for of, jack in self.names if of == kind)

    def stall(self, int blocks):
        """Fault: for so many blocks no audio passes between chips and media; then both count anew against each other."""
        self.stalled = blocks

    def by_card(self, int channels, int spare):
        """Sound goes through a sound card of so many channels, one for each slot; slot `spare` is returned as it came."""
        if not 0 <= spare < channels <= WORLD_PORTS:
            raise ValueError(f"a sound card of {channels} channels with spare slot {spare}: 1 to {WORLD_PORTS}, and one of them")
        if self.seam.speed != 100:
            raise ValueError(f"sound through a sound card runs in real time, not at {self.seam.speed} %")
        self.card = channels
        self.spare = spare

    def hear(self, const uint8_t[::1] frames not None):
        """What media played at the card, for the next block: 80 frames of 16 bit."""
        cdef const int16_t *x = <const int16_t *>&frames[0]
        cdef int i, slot
        if frames.shape[0] != 2 * BLOCK * self.card:
            raise ValueError(f"{frames.shape[0]} bytes are not {BLOCK} frames of {self.card} channels")
        for slot in range(self.card):
            for i in range(BLOCK):
                self.heard[slot][i] = x[i * self.card + slot]

    def speak(self):
        """What the last block has for media: as many frames."""
        cdef int index = <int>((self.block - 1) % WORLD_BLOCKS), i, slot
        cdef int16_t out[BLOCK * 16]
        for slot in range(self.card):
            for i in range(BLOCK):
                out[i * self.card + slot] = self.heard[slot][i] if slot == self.spare else self.seam.capture[index][slot][i]
        return (<char *>out)[:2 * BLOCK * self.card]

    @property
    def speed(self):
        return self.seam.speed

    @speed.setter
    def speed(self, int percent):
        if not 0 <= percent <= 100000:
            raise ValueError(f"a speed of {percent} % is outside 0..100000")
        if self.card and percent != 100:
            raise ValueError("the lines speak through a sound card, which runs in real time; choose a board without one")
        self.seam.speed = percent

    @property
    def ticked(self):
        return load64(&self.seam.ticked)

    @property
    def media_pid(self):
        return self.seam.media_pid

    @property
    def silent_ticks(self):
        return load64(&self.seam.silent_ticks)

    @property
    def wall_base_ms(self):
        return self.seam.wall_base_ms

    @property
    def playback_depth(self):
        return self.seam.playback_depth

    def caught_up(self):
        """True when media has run every block that was delivered."""
        return load64(&self.seam.ticked) >= <uint64_t>self.block

    def wait_ticked(self, long long ns):
        """Sleep until media ticks or `ns` nanoseconds pass; returns `caught_up()`."""
        cdef uint64_t seen = load64(&self.seam.ticked)
        if seen < <uint64_t>self.block:
            with nogil:
                world_wait(&self.seam.ticked, <uint32_t>seen, ns)
        return load64(&self.seam.ticked) >= <uint64_t>self.block

    def tick(self):
        """Stand in for media: take what was delivered as ticked, and wake the world."""
        store64(&self.seam.ticked, load64(&self.seam.delivered))
        world_wake(&self.seam.ticked)

    def realign(self):
        """After a pause: go on where media is now, and tell it that playback and capture moved against each other."""
        cdef long long ticked = <long long>load64(&self.seam.ticked)
        if ticked > self.block:
            self.block = ticked
        if not self.card:                   # there the spare slot tells
            self.seam.align_epoch += 1

    # --- a block -----------------------------------------------------------------------------------------------------------

    def begin(self):
        """Run every wire for the next block. Returns the list of wires with `flags`, or None."""
        cdef long long n = self.block, tick = n - <long long>self.seam.playback_depth
        cdef Wire wire
        cdef int port
        cdef bint heard = tick >= 0 and load64(&self.seam.ticked) > <uint64_t>tick
        if tick >= 0 and not heard and load64(&self.seam.ticked) and not self.card:
            self.underruns += 1
        heard = (heard or self.card) and not self.stalled
        tick = tick if heard else -1
        rack_hold(self.rack)
        try:
            self.run_block(n, 0 if heard and self.card else tick)
        finally:
            rack_release(self.rack)
        told = None
        for port in range(WORLD_PORTS):
            wire = self.wires[port]
            if wire is not None and wire.flags:
                if told is None:
                    told = []
                told.append(wire)
        return told

    cdef int trunk_audio(self, TrunkWire wire, const int16_t *said, int16_t *back, long long n) except -1:
        cdef bint dead = wire.cut or wire.opened
        wire.carry(said, back, wire.off_hook and not dead, not dead, n)
        return 0

    cdef int run_block(self, long long n, long long tick) except -1:
        """Ten milliseconds and a block of audio; under the lock."""
        cdef card_rack *r = self.rack
        cdef int fxo = r.board.fxo_count, ports = fxo + r.board.fxs_count, ms, k, slot, index = <int>(n % WORLD_BLOCKS)
        cdef int channels = r.board.highway.bits // 16
        cdef long long base = r.board.room.ms
        cdef bint joined
        cdef Wire wire
        if n % CLOCK_LOOK == 0:
            rack_clocks(r)
        for wire in self.wires:
            if wire is not None:
                wire.now = 10 * n - 1
        programs_begin(r)
        for ms in range(10):
            rack_ms(r, ms, True)
            for k in range(ports):
                self.last[self.slot[k]][ms] = r.board.fxo_fact[k] if k < fxo else r.board.fxs_fact[k - fxo]
        programs_end(r, <uint64_t>n)
        # audio: highway, chip, wire, chip, highway
        for slot in range(WORLD_PORTS):
            if slot * self.channels_per_slot < channels:
                if tick >= 0 and self.card:
                    memcpy(self.play[slot * self.channels_per_slot], self.heard[slot], BLOCK * sizeof(int16_t))
                elif tick >= 0:
                    memcpy(self.play[slot * self.channels_per_slot], self.seam.playback[tick % WORLD_BLOCKS][slot], BLOCK * sizeof(int16_t))
                else:
                    memset(self.play[slot * self.channels_per_slot], 0, BLOCK * sizeof(int16_t))
        pcm_playback(&r.board.highway, r.board.fxo, fxo, r.board.fxs, r.board.fxs_count, &self.play[0][0], &self.said[0][0], BLOCK)
        memset(self.spoken, 0, sizeof(self.spoken))
        joined = rack_joined(r)
        for k in range(ports):
            wire = self.wires[self.slot[k]]
            if wire is None or (joined and (k == r.fxo or k == fxo + r.fxs)):
                continue
            if k < fxo:
                self.trunk_audio(<TrunkWire>wire, self.said[k], self.spoken[k], n)
            else:
                (<PhoneWire>wire).hear(self.said[k], self.spoken[k], n)
        if joined:
            self.joined_audio(self.wires[self.slot[r.fxo]], self.wires[self.slot[fxo + r.fxs]], n)
        pcm_capture(&r.board.highway, r.board.fxo, fxo, r.board.fxs, r.board.fxs_count, &self.spoken[0][0], &self.catch[0][0], BLOCK)
        for slot in range(WORLD_PORTS):
            if slot * self.channels_per_slot < channels:
                if self.stalled:
                    memset(self.seam.capture[index][slot], 0, BLOCK * sizeof(int16_t))
                else:
                    memcpy(self.seam.capture[index][slot], self.catch[slot * self.channels_per_slot], BLOCK * sizeof(int16_t))
        if self.stalled:
            self.stalled -= 1
            if self.stalled == 0 and not self.card:
                self.seam.align_epoch += 1
        self.gather(n, base)
        return 0

    cdef int joined_audio(self, TrunkWire line, PhoneWire phone, long long n) except -1:
        """The lifeline pair talks past its chips."""
        cdef float out[BLOCK]
        cdef int16_t spoken[BLOCK]
        cdef int16_t heard[BLOCK]
        cdef bint through = phone is not None and phone_closed(phone)
        cdef int i
        memset(out, 0, sizeof(out))
        memset(spoken, 0, sizeof(spoken))
        memset(heard, 0, sizeof(heard))
        if phone is not None and phone.mouth.count:
            phone.mouth.mix(out)
            for i in range(BLOCK):
                if through:
                    spoken[i] = <int16_t>(32767 if out[i] > 32767 else -32768 if out[i] < -32768 else out[i])
        if line is not None:
            self.trunk_audio(line, spoken, heard, n)
        if phone is not None:
            phone.listen(heard, through, n)
        return 0

    cdef int gather(self, long long n, long long base) except -1:
        """Take over the oracle's notes; those of a block carry its ms, those of mail before it its beginning."""
        if self.rack.board.room.history.total != self.told_history:
            self.dropped_history += self.take(self.history, self.chips.history(self.told_history), n, base)
            self.told_history = self.rack.board.room.history.total
        if self.rack.board.room.illegal.total != self.told_illegal:
            self.dropped_illegal += self.take(self.illegal, self.chips.illegal(self.told_illegal), n, base)
            self.told_illegal = self.rack.board.room.illegal.total
        return 0

    cdef long long take(self, list notes, list fresh, long long n, long long base) except -1:
        cdef long long at
        cdef long long dropped = 0
        for us, chip, kind, a, b in fresh:
            at = (<long long>us - 1) // 1000 - base     # a step's notes carry the end of its millisecond
            at = 0 if at < 0 else 9 if at > 9 else at
            port = self.names[chip if chip < 100 else self.rack.board.fxo_count + chip - 100] if chip >= 0 else ("board", "")
            notes.append((10 * n + at, port[0], port[1], kind, a, b))
        if len(notes) > LOG_LIMIT:
            dropped = len(notes) // 4
            del notes[:dropped]
        return dropped

    def finish(self):
        """Publish the block and wake media."""
        self.block += 1
        store64(&self.seam.delivered, <uint64_t>self.block)
        world_wake(&self.seam.delivered)

    # --- what is known of it ---------------------------------------------------------------------------------------------

    def facts(self, int port):
        """The facts of a port in the last block: ten tuples (dc dV, current 0.1 mA, ac dV, ring dc 0.1 mA)."""
        cdef int ms
        cdef line_fact *fact
        result = []
        for ms in range(WORLD_FACTS):
            fact = &self.last[port][ms]
            result.append((fact.dc_dv, fact.current, fact.ac_dv, fact.ring_dc))
        return result

    def notes_of(self, str log, long long since=0):
        """Notes of "history" or "illegal" from number `since` on: (number of the next one, notes)."""
        cdef long long dropped = self.dropped_history if log == "history" else self.dropped_illegal
        notes = self.history if log == "history" else self.illegal
        return dropped + len(notes), notes[max(0, since - dropped):]

    @property
    def lifeline(self):
        """"none", "joined" or "apart"."""
        if self.rack.fxo < 0:
            return "none"
        return "joined" if rack_joined(self.rack) else "apart"

    def weld(self, stuck):
        """Fault: the relay's contacts stay where they are; false mends it."""
        with self.held:
            self.rack.welded = <int>rack_contacts(self.rack) if stuck else -1

    def stop_clocks(self, bint stopped):
        """Fault: PCM clocks stand still."""
        with self.held:
            self.rack.clocks_dead = stopped
            rack_clocks(self.rack)

    @property
    def clocks_running(self):
        return bool(self.rack.board.room.clocks)

    def counters(self):
        """What went over the serial chains since the start."""
        return {"accesses": self.rack.accesses, "bytes": self.rack.bytes, "mails": self.rack.mails, "refused": self.rack.refused,
                "ran": load64(&self.seam.ran), "posted": load64(&self.seam.posted), "chip_ms": self.rack.board.room.ms}
