# libopus (RFC 6716), as far as codec.pyx uses it. States live in memory that the caller gives; nothing here allocates.
from libc.stdint cimport int32_t

cdef extern from "opus/opus.h" nogil:
    ctypedef struct OpusEncoder:
        pass
    ctypedef struct OpusDecoder:
        pass
    enum:
        OPUS_OK, OPUS_RESET_STATE, OPUS_APPLICATION_VOIP, OPUS_SIGNAL_VOICE
        OPUS_SET_BITRATE_REQUEST, OPUS_SET_COMPLEXITY_REQUEST, OPUS_SET_INBAND_FEC_REQUEST, OPUS_SET_PACKET_LOSS_PERC_REQUEST
        OPUS_SET_DTX_REQUEST, OPUS_SET_SIGNAL_REQUEST

    int opus_encoder_get_size(int channels)
    int opus_encoder_init(OpusEncoder* st, int32_t rate, int channels, int application)
    int opus_encoder_ctl(OpusEncoder* st, int request, ...)
    int32_t opus_encode(OpusEncoder* st, const short* pcm, int frame, unsigned char* data, int32_t most)
    int opus_decoder_get_size(int channels)
    int opus_decoder_init(OpusDecoder* st, int32_t rate, int channels)
    int opus_decoder_ctl(OpusDecoder* st, int request, ...)
    int opus_decode(OpusDecoder* st, const unsigned char* data, int32_t n, short* pcm, int frame, int fec)
    int opus_packet_get_nb_samples(const unsigned char* data, int32_t n, int32_t rate)
    const char* opus_get_version_string()
