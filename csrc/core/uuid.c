/* uuid.c - see uuid.h */
#include "uuid.h"

#include <errno.h>
#include <sys/random.h>
#include <unistd.h>

#include "bytes_int.h"
#include "clock.h"
#include "fork_int.h"

static void source_seed(dbi_uuid7_source *source) {
    uint8_t *at = (uint8_t *)source->random;
    size_t left = sizeof source->random;

    dbi__fork_watch();
    while (left > 0) {
        ssize_t got = getrandom(at, left, 0);

        if (got > 0) {
            at += got;
            left -= (size_t)got;
        } else if (errno != EINTR) { /* a kernel without it, or a sandbox: what tells sources and processes apart */
            source->random[0] ^= (uint64_t)dbi_clock_now(&(dbi_clock){0}) << 20 ^ (uint64_t)dbi_clock_wall_us();
            source->random[1] ^= (uint64_t)getpid() << 32 ^ (uint64_t)(uintptr_t)source;
            break;
        }
    }
    source->random[3] |= 1; /* all zeros is the one state that it cannot leave */
    source->forks = dbi__fork_now();
}

static uint64_t rotate(uint64_t value, unsigned by) {
    return value << by | value >> (64 - by);
}

static uint64_t random_next(uint64_t state[4]) {
    uint64_t result = rotate(state[1] * 5, 7) * 9, shifted = state[1] << 17;

    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotate(state[3], 45);
    return result;
}

/* A stamp greater than the last. */
static uint64_t stamp_next(dbi_uuid7_source *source, int64_t wall_ns) {
    uint64_t ns = wall_ns > 0 ? (uint64_t)wall_ns : 0;
    uint64_t now = ns / 1000000 << 12 | ((ns % 1000000) << 12) / 1000000;

    source->last = now > source->last ? now : source->last + 1;
    return source->last;
}

void dbi_uuid7(dbi_uuid7_source *source, int64_t wall_ns, uint8_t out[16]) {
    uint64_t stamp = stamp_next(source, wall_ns);

    if (source->forks != dbi__fork_now())
        source_seed(source);
    out = dbi__put64be(out, (stamp >> 12) << 16 | UINT64_C(0x7000) | (stamp & 0xfff));
    (void)dbi__put64be(out, UINT64_C(1) << 63 | random_next(source->random) >> 2);
}
