# The learner of disconnect tones at C level: a ring of kept sound that the tick fills, and an analysis for outside the tick.
from firmware.dsp.learner_pitch cimport LearnRing, LearntTone, LearnWork
from firmware.dsp.tone_track cimport ToneFront

cdef void learn_reset(LearnRing* ring) noexcept nogil
cdef void learn_keep(LearnRing* ring, const ToneFront* front) noexcept nogil
cdef int learn_tone(const LearnRing* ring, LearnWork* work, LearntTone* out) noexcept nogil
