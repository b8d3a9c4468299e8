# How any thread of the engine reports a fact.
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from firmware.dsp.abi cimport event_lane, lane_push, loadi64, mono_ns, ring_event, ring_post
from firmware.dsp.state cimport EngineState


cdef inline void stamp(EngineState* e, ring_event* v, int kind, int port, int64_t at, const void* payload, int size) noexcept nogil:
    v.tick = e.tick
    v.mono_ns = mono_ns()
    v.at = at
    v.wall_ms = loadi64(&e.ring.wall_base_ms) + at
    v.type = kind
    v.port = port
    v.size = size
    v.flags = 0
    if size:
        memcpy(v.payload, payload, size)


cdef inline void emit(EngineState* e, int kind, int port, int64_t at, const void* payload, int size) noexcept nogil:
    """Tick thread only: a lifecycle event."""
    cdef ring_event v
    stamp(e, &v, kind, port, at, payload, size)
    ring_post(e.ring, &v, 0)
    e.posted += 1


cdef inline void emit_lossy(EngineState* e, int kind, int port, int64_t at, const void* payload, int size) noexcept nogil:
    """Tick thread only: a level or statistic event."""
    cdef ring_event v
    stamp(e, &v, kind, port, at, payload, size)
    e.posted += ring_post(e.ring, &v, 1)


cdef inline void emit_from(EngineState* e, event_lane* lane, int kind, int port, int64_t at, const void* payload, int size) noexcept nogil:
    """Another thread, through its own lane."""
    cdef ring_event v
    stamp(e, &v, kind, port, at, payload, size)
    lane_push(lane, &v)


cdef inline int64_t tick_ms(EngineState* e) noexcept nogil:
    """Engine ms at the end of the running tick."""
    return <int64_t>(e.tick + 1) * 10
