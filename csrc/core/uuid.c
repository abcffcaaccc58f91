/* uuid.c - see uuid.h */
#include "uuid.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "bytes_int.h"
#include "clock.h"
#include "fork_int.h"

/* The last stamp given: milliseconds since 1970 in the upper bits, 12 bits of fraction below them. */
static atomic_uint_fast64_t uuid_last;

/* A thread's generator: xoshiro256** (Blackman and Vigna). */
static _Thread_local struct {
    uint64_t state[4];
    uint64_t forks; /* under which dbi__fork_now() it was seeded; 0 = not yet */
} uuid_random;

static void random_seed(void) {
    uint8_t *at = (uint8_t *)uuid_random.state;
    size_t left = sizeof uuid_random.state;

    dbi__fork_watch();
    while (left > 0) {
        ssize_t got = getrandom(at, left, 0);

        if (got > 0) {
            at += got;
            left -= (size_t)got;
        } else if (errno != EINTR) { /* a kernel without it, or a sandbox: what tells threads and processes apart */
            uuid_random.state[0] ^= (uint64_t)dbi_clock_now(&(dbi_clock){0}) << 20 ^ (uint64_t)dbi_clock_wall_us();
            uuid_random.state[1] ^= (uint64_t)getpid() << 32 ^ (uint64_t)(uintptr_t)&uuid_random;
            break;
        }
    }
    uuid_random.state[3] |= 1; /* all zeros is the one state that it cannot leave */
    uuid_random.forks = dbi__fork_now();
}

static uint64_t rotate(uint64_t value, unsigned by) {
    return value << by | value >> (64 - by);
}

static uint64_t random_next(void) {
    uint64_t *state = uuid_random.state, result, shifted;

    if (uuid_random.forks != dbi__fork_now())
        random_seed();
    result = rotate(state[1] * 5, 7) * 9;
    shifted = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotate(state[3], 45);
    return result;
}

/* A stamp greater than all before it. */
static uint64_t stamp_next(int64_t wall_ns) {
    uint64_t ns = wall_ns > 0 ? (uint64_t)wall_ns : 0;
    uint64_t now = ns / 1000000 << 12 | ((ns % 1000000) << 12) / 1000000;
    uint64_t last = atomic_load_explicit(&uuid_last, memory_order_relaxed), next;

    do
        next = now > last ? now : last + 1;
    while (!atomic_compare_exchange_weak_explicit(&uuid_last, &last, next, memory_order_relaxed, memory_order_relaxed));
    return next;
}

void dbi_uuid7_at(int64_t wall_ns, uint8_t out[16]) {
    uint64_t stamp = stamp_next(wall_ns), random = random_next();

    out = dbi__put64be(out, (stamp >> 12) << 16 | UINT64_C(0x7000) | (stamp & 0xfff));
    (void)dbi__put64be(out, UINT64_C(1) << 63 | random >> 2);
}

void dbi_uuid7(uint8_t out[16]) {
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail: the clock is there and the address is good */
    dbi_uuid7_at((int64_t)now.tv_sec * DBI_NS_PER_S + now.tv_nsec, out);
}
