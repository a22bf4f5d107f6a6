/*
 * h2_limits.c - what a client of HTTP/2 may make a server do for nothing.
 *
 *   rapid reset (CVE-2023-44487): RESETS_BURST, then RESETS_PER_S; and the handler of a stream that was reset counts as
 *     a stream until it has ended
 *   PING, SETTINGS, PRIORITY, empty DATA, crumbs of windows (CVE-2019-9511 to 9518): NOISE_BURST, then NOISE_PER_S
 *   answers to PING and SETTINGS that the client does not take: ACKS_MAX
 *   CONTINUATION without end (CVE-2024-28182): CONTINUATIONS_MAX
 *   HPACK bombs: a head is kept up to HTTP/1.1's limits; what is over is decoded, dropped, and answered 431
 *   bodies that a handler does not read: the windows (h2.h); clients that open none: write_timeout_ms for each stream
 *
 * Who passes one of the first four gets GOAWAY with ENHANCE_YOUR_CALM.
 */
#include "base/heap.h"
#include "http/h2.h"

enum {
    RESETS_BURST = 200,
    RESETS_PER_S = 20,
    NOISE_BURST = 1000,
    NOISE_PER_S = 100,
    ACKS_MAX = 100,
    SETTINGS_MAX = 32, /* entries of one frame */
    CONTINUATIONS_MAX = 8,
    DRIBBLE = 64 /* bytes: a smaller addition to a window only makes us send crumbs */
};

void h2_limits_set(nghttp2_option *option) {
    nghttp2_option_set_stream_reset_rate_limit(option, RESETS_BURST, RESETS_PER_S);
    nghttp2_option_set_max_outbound_ack(option, ACKS_MAX);
    nghttp2_option_set_max_settings(option, SETTINGS_MAX);
    nghttp2_option_set_max_continuations(option, CONTINUATIONS_MAX);
    nghttp2_option_set_no_auto_window_update(option, 1); /* windows open when a handler has read */
    nghttp2_option_set_no_closed_streams(option, 1);
}

bool h2_is_noise(const nghttp2_frame *frame) {
    bool ack = (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0, ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    switch (frame->hd.type) {
    case NGHTTP2_PING:
    case NGHTTP2_SETTINGS:
        return !ack;
    case NGHTTP2_DATA:
        return frame->hd.length == frame->data.padlen && !ends;
    case NGHTTP2_WINDOW_UPDATE:
        return frame->window_update.window_size_increment < DRIBBLE;
    case NGHTTP2_HEADERS:
    case NGHTTP2_PRIORITY:
        return false; /* h2_is_noise_type */
    default:
        return true;
    }
}

bool h2_is_noise_type(uint8_t type) {
    return type == NGHTTP2_PRIORITY || type > NGHTTP2_CONTINUATION;
}

bool h2_noise(H2Session *session) {
    H2Bucket *bucket = &session->noise;
    int64_t now = clock_mono_ms();
    if (bucket->filled_at == 0) {
        bucket->filled_at = now;
        bucket->left = NOISE_BURST;
    }
    int64_t earned = (now - bucket->filled_at) * NOISE_PER_S / 1000;
    if (earned > 0) {
        bucket->left = (int)MIN_OF((int64_t)NOISE_BURST, bucket->left + earned);
        bucket->filled_at = now;
    }
    return bucket->left-- > 0;
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

/* nghttp2 resizes without telling the old size, which heap_realloc wants: it stands in front. */
typedef union Prefix {
    size_t size;
    max_align_t align;
} Prefix;

static void *take(size_t size, void *data) {
    (void)data;
    if (size > SIZE_MAX - sizeof(Prefix))
        return NULL;
    Prefix *prefix = heap_alloc(sizeof(Prefix) + size);
    if (prefix == NULL)
        return NULL;
    prefix->size = size;
    return prefix + 1;
}

static void give(void *p, void *data) {
    (void)data;
    heap_free(p == NULL ? NULL : (Prefix *)p - 1);
}

static void *take_zeroed(size_t n, size_t size, void *data) {
    return size != 0 && n > SIZE_MAX / size ? NULL : take(n * size, data);
}

static void *resize(void *p, size_t size, void *data) {
    if (p == NULL)
        return take(size, data);
    Prefix *prefix = (Prefix *)p - 1;
    Prefix *moved = heap_realloc(prefix, sizeof(Prefix) + prefix->size, sizeof(Prefix) + size);
    if (moved == NULL)
        return NULL;
    moved->size = size;
    return moved + 1;
}

nghttp2_mem *h2_memory(void) {
    static nghttp2_mem memory = {NULL, take, give, take_zeroed, resize};
    return &memory;
}
