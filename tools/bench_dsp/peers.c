/* What our signal blocks are compared with: spandsp and SpeexDSP, behind functions that take whole runs of samples.
 *
 * Compiled at bench time by peers.py into build/bench. Nothing of the product links to it. spandsp of this distribution prints a line
 * for each sample from its echo canceller, so standard output and error lead nowhere while it runs. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <spandsp.h>
#include <speex/speex_echo.h>
#include <speex/speex_preprocess.h>
#include <speex/speex_resampler.h>

/* ---- silence ---- */

typedef struct {
    int out, err;
} Mute;

static Mute mute(void)
{
    Mute m = {-1, -1};
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    fflush(NULL);
    if (nowhere >= 0) {
        m.out = dup(1);
        m.err = dup(2);
        dup2(nowhere, 1);
        dup2(nowhere, 2);
        close(nowhere);
    }
    return m;
}

static void unmute(Mute m)
{
    fflush(NULL);
    if (m.out >= 0) {
        dup2(m.out, 1);
        close(m.out);
    }
    if (m.err >= 0) {
        dup2(m.err, 2);
        close(m.err);
    }
}

/* ---- echo cancellers ---- */

void *peer_spandsp_echo_new(int taps, int nlp)
{
    int mode = ECHO_CAN_USE_ADAPTION;
    if (nlp)
        mode |= ECHO_CAN_USE_NLP | ECHO_CAN_USE_CNG;
    Mute m = mute();
    void *s = echo_can_init(taps, mode);
    unmute(m);
    return s;
}

void peer_spandsp_echo_run(void *s, const int16_t *reference, const int16_t *captured, int16_t *out, int n)
{
    Mute m = mute();
    for (int i = 0; i < n; i++)
        out[i] = echo_can_update(s, reference[i], captured[i]);
    unmute(m);
}

void peer_spandsp_echo_free(void *s) { echo_can_free(s); }

typedef struct {
    SpeexEchoState *echo;
    SpeexPreprocessState *residual;
    int frame;
} SpeexEcho;

void *peer_speex_echo_new(int rate, int frame, int taps, int nlp)
{
    SpeexEcho *s = calloc(1, sizeof *s);
    int off = 0;
    if (!s)
        return NULL;
    s->frame = frame;
    s->echo = speex_echo_state_init(frame, taps);
    speex_echo_ctl(s->echo, SPEEX_ECHO_SET_SAMPLING_RATE, &rate);
    if (nlp) {
        s->residual = speex_preprocess_state_init(frame, rate);
        speex_preprocess_ctl(s->residual, SPEEX_PREPROCESS_SET_DENOISE, &off);
        speex_preprocess_ctl(s->residual, SPEEX_PREPROCESS_SET_ECHO_STATE, s->echo);
    }
    return s;
}

/* n is a multiple of the frame. */
void peer_speex_echo_run(void *p, const int16_t *reference, const int16_t *captured, int16_t *out, int n)
{
    SpeexEcho *s = p;
    for (int i = 0; i < n; i += s->frame) {
        speex_echo_cancellation(s->echo, captured + i, reference + i, out + i);
        if (s->residual)
            speex_preprocess_run(s->residual, out + i);
    }
}

void peer_speex_echo_free(void *p)
{
    SpeexEcho *s = p;
    if (s->residual)
        speex_preprocess_state_destroy(s->residual);
    speex_echo_state_destroy(s->echo);
    free(s);
}

/* ---- DTMF ---- */

/* Negative twist and reverse_twist and a level of -99 leave spandsp's own values. */
void *peer_spandsp_dtmf_new(int dial_tone_filter, int twist, int reverse_twist, int level)
{
    dtmf_rx_state_t *s = dtmf_rx_init(NULL, NULL, NULL);
    dtmf_rx_parms(s, dial_tone_filter, twist, reverse_twist, level);
    return s;
}

/* Returns how many digits were written; runs in pieces, because spandsp keeps no more than 128. */
int peer_spandsp_dtmf_run(void *s, const int16_t *samples, int n, char *digits, int most)
{
    int have = 0;
    for (int i = 0; i < n; i += 8000) {
        char some[MAX_DTMF_DIGITS + 1];
        int got;
        dtmf_rx(s, samples + i, n - i < 8000 ? n - i : 8000);
        got = (int)dtmf_rx_get(s, some, MAX_DTMF_DIGITS);
        if (got > most - have)
            got = most - have;
        memcpy(digits + have, some, (size_t)got);
        have += got;
    }
    return have;
}

void peer_spandsp_dtmf_free(void *s) { dtmf_rx_free(s); }

/* ---- caller id ---- */

enum { ROOM = 1 << 16 };

typedef struct {
    adsi_rx_state_t *receiver;
    uint8_t bytes[ROOM]; /* messages, each after its length in two bytes */
    int used;
} CallerId;

static void take_message(void *user, const uint8_t *message, int length)
{
    CallerId *s = user;
    if (s->used + 2 + length > ROOM)
        return;
    s->bytes[s->used] = (uint8_t)(length & 255);
    s->bytes[s->used + 1] = (uint8_t)(length >> 8);
    memcpy(s->bytes + s->used + 2, message, (size_t)length);
    s->used += 2 + length;
}

void *peer_spandsp_callerid_new(int v23)
{
    CallerId *s = calloc(1, sizeof *s);
    if (s)
        s->receiver = adsi_rx_init(NULL, v23 ? ADSI_STANDARD_CLIP : ADSI_STANDARD_CLASS, take_message, s);
    return s;
}

void peer_spandsp_callerid_run(void *p, const int16_t *samples, int n)
{
    Mute m = mute();
    adsi_rx(((CallerId *)p)->receiver, samples, n);
    unmute(m);
}

int peer_spandsp_callerid_take(void *p, uint8_t *out)
{
    CallerId *s = p;
    int used = s->used;
    memcpy(out, s->bytes, (size_t)used);
    s->used = 0;
    return used;
}

void peer_spandsp_callerid_free(void *p)
{
    CallerId *s = p;
    adsi_rx_free(s->receiver);
    free(s);
}

/* ---- tones ---- */

typedef struct {
    super_tone_rx_descriptor_t *plan;
    super_tone_rx_state_t *receiver;
    modem_connect_tones_rx_state_t *modem;
    int codes[4096];
    int used;
} Tones;

static void take_tone(void *user, int code, int level, int delay)
{
    Tones *s = user;
    (void)level;
    (void)delay;
    if (s->used < 4096)
        s->codes[s->used++] = code;
}

void *peer_spandsp_tones_new(void)
{
    Tones *s = calloc(1, sizeof *s);
    if (s)
        s->plan = super_tone_rx_make_descriptor(NULL);
    return s;
}

/* Adds a tone to the plan; returns its number. */
int peer_spandsp_tones_tone(void *p) { return super_tone_rx_add_tone(((Tones *)p)->plan); }

/* A part of its cadence: frequencies in Hz (0: none), bounds in ms (0: no upper bound). */
void peer_spandsp_tones_part(void *p, int tone, int f1, int f2, int least, int most)
{
    super_tone_rx_add_element(((Tones *)p)->plan, tone, f1, f2, least, most);
}

void peer_spandsp_tones_start(void *p)
{
    Tones *s = p;
    s->receiver = super_tone_rx_init(NULL, s->plan, take_tone, s);
}

void *peer_spandsp_modem_new(int type)
{
    Tones *s = calloc(1, sizeof *s);
    if (s)
        s->modem = modem_connect_tones_rx_init(NULL, type, take_tone, s);
    return s;
}

/* Feeds n samples; returns how many codes were reported (a code below 1 is an end) and copies them. */
int peer_spandsp_tones_run(void *p, const int16_t *samples, int n, int *codes)
{
    Tones *s = p;
    int used;
    Mute m = mute();
    if (s->modem)
        modem_connect_tones_rx(s->modem, samples, n);
    else
        for (int i = 0; i < n; i += 160)
            super_tone_rx(s->receiver, samples + i, n - i < 160 ? n - i : 160);
    unmute(m);
    used = s->used;
    memcpy(codes, s->codes, (size_t)used * sizeof(int));
    s->used = 0;
    return used;
}

void peer_spandsp_tones_free(void *p)
{
    Tones *s = p;
    if (s->modem)
        modem_connect_tones_rx_free(s->modem);
    if (s->receiver)
        super_tone_rx_free(s->receiver);
    if (s->plan)
        super_tone_rx_free_descriptor(s->plan);
    free(s);
}

/* ---- concealment ---- */

void *peer_spandsp_plc_new(void) { return plc_init(NULL); }

void peer_spandsp_plc_rx(void *s, int16_t *samples, int n) { plc_rx(s, samples, n); }

void peer_spandsp_plc_fillin(void *s, int16_t *samples, int n) { plc_fillin(s, samples, n); }

/* A whole stream in place: lost[i] says that block i was lost. */
void peer_spandsp_plc_run(void *s, int16_t *samples, int n, int block, const uint8_t *lost)
{
    for (int i = 0, k = 0; i + block <= n; i += block, k++)
        if (lost[k])
            plc_fillin(s, samples + i, block);
        else
            plc_rx(s, samples + i, block);
}

void peer_spandsp_plc_free(void *s) { plc_free(s); }

/* ---- codecs ---- */

void *peer_spandsp_g722_encoder_new(void) { return g722_encode_init(NULL, 64000, 0); }

int peer_spandsp_g722_encode(void *s, uint8_t *out, const int16_t *samples, int n) { return g722_encode(s, out, samples, n); }

void peer_spandsp_g722_encoder_free(void *s) { g722_encode_free(s); }

void *peer_spandsp_g722_decoder_new(void) { return g722_decode_init(NULL, 64000, 0); }

int peer_spandsp_g722_decode(void *s, int16_t *out, const uint8_t *data, int n) { return g722_decode(s, out, data, n); }

void peer_spandsp_g722_decoder_free(void *s) { g722_decode_free(s); }

/* law 0: mu, 8: A, as RTP payload types. */
void peer_spandsp_g711_encode(int law, uint8_t *out, const int16_t *samples, int n)
{
    for (int i = 0; i < n; i++)
        out[i] = law ? linear_to_alaw(samples[i]) : linear_to_ulaw(samples[i]);
}

void peer_spandsp_g711_decode(int law, int16_t *out, const uint8_t *data, int n)
{
    for (int i = 0; i < n; i++)
        out[i] = law ? alaw_to_linear(data[i]) : ulaw_to_linear(data[i]);
}

/* ---- resampling and preprocessing ---- */

void *peer_speex_resampler_new(int from, int to, int quality) { return speex_resampler_init(1, from, to, quality, NULL); }

int peer_speex_resampler_run(void *s, const int16_t *in, int n, int16_t *out, int room)
{
    spx_uint32_t used = (spx_uint32_t)n, made = (spx_uint32_t)room;
    speex_resampler_process_int(s, 0, in, &used, out, &made);
    return (int)made;
}

void peer_speex_resampler_free(void *s) { speex_resampler_destroy(s); }

typedef struct {
    SpeexPreprocessState *state;
    int frame;
} SpeexVoice;

/* Gain control and voice activity detection of the preprocessor. */
void *peer_speex_voice_new(int rate, int frame, int agc, int vad)
{
    SpeexVoice *s = calloc(1, sizeof *s);
    int off = 0;
    if (!s)
        return NULL;
    s->frame = frame;
    s->state = speex_preprocess_state_init(frame, rate);
    speex_preprocess_ctl(s->state, SPEEX_PREPROCESS_SET_DENOISE, &off);
    speex_preprocess_ctl(s->state, SPEEX_PREPROCESS_SET_AGC, &agc);
    speex_preprocess_ctl(s->state, SPEEX_PREPROCESS_SET_VAD, &vad);
    return s;
}

/* In place; speaking[i] becomes 1 where frame i was taken for speech. */
void peer_speex_voice_run(void *p, int16_t *samples, int n, uint8_t *speaking)
{
    SpeexVoice *s = p;
    for (int i = 0, k = 0; i + s->frame <= n; i += s->frame, k++)
        speaking[k] = (uint8_t)(speex_preprocess_run(s->state, samples + i) != 0);
}

void peer_speex_voice_free(void *p)
{
    SpeexVoice *s = p;
    speex_preprocess_state_destroy(s->state);
    free(s);
}
