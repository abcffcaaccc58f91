/* chain.c - appending to a chain, and the upkeep of its segments (see journal.h)
 *
 * The active segment and a spare are mapped. An append copies its record into the active one under a spin lock and
 * stores `published`; when the record does not fit, the spare becomes the active one under the same lock, by a few
 * stores: first the chain's state, then `first`, then the old one's mark, so that at any instruction the files say
 * something true. The slow things are done elsewhere: spares are made by the keeper (or an appender that finds none),
 * what was filled is unmapped, closed and retired by the keeper.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "alloc.h"
#include "crc32c.h"
#include "fork_int.h"
#include "journal_int.h"

#define CHAIN_BUSY_NS (2 * DBI_NS_PER_S)  /* segments that last no longer are made twice as large */
#define CHAIN_IDLE_NS (60 * DBI_NS_PER_S) /* those that last longer half as large */
#define CACHE_LINE 64u
#define FETCH_AHEAD 1024u /* bytes: a lock waits until the cache has what was stored before it */
#define CHAIN_OPEN_MAX 4u                 /* filled segments whose descriptor waits for an fsync */
/* Pages are made, filled with zeros, before an append needs them: so far ahead that those who append do not get there
 * between two rounds of the keeper, and no further, for a page that is not used was made for nothing. */
#define PAGES_AHEAD (UINT64_C(8) << 20)
#define PAGES_STEP (UINT64_C(1) << 20) /* at a time, at least */

void dbi__spin_wait(dbi_chain *chain) {
    for (unsigned tries = 0;; tries++) {
        if (atomic_load_explicit(&chain->spin, memory_order_relaxed) == 0 &&
            atomic_exchange_explicit(&chain->spin, 1, memory_order_acquire) == 0)
            return;
        if (tries < 100) {
#if defined(__x86_64__)
            __builtin_ia32_pause();
#endif
        } else {
            (void)sched_yield(); /* the owner was preempted */
        }
    }
}

dbi_rc dbi__chain_forked(dbi_err *err) {
    return dbi_err_set(err, DBI_EFORK,
                       "this journal was opened before a fork and belongs to the parent process: open one in "
                       "the child");
}

/* -- state: in memory, and in the header of the newest segment in use ---------------------------------------------- */

static void head_number(dbi_chain *chain, unsigned at, uint64_t number) {
    if (chain->head != NULL)
        dbi__store64(chain->head + at, dbi__number_pack(chain->head_salt, at, number), memory_order_relaxed);
}

static void head_mark(dbi_chain *chain, uint32_t mark) {
    if (chain->head != NULL)
        atomic_store_explicit((_Atomic uint32_t *)(void *)(chain->head + DBI__AT_STATE), mark, memory_order_relaxed);
}

static void head_target(dbi_chain *chain) {
    if (chain->head == NULL)
        return;
    memcpy(chain->head + DBI__AT_TARGET, chain->state.target, sizeof chain->state.target);
    dbi__put32le(chain->head + DBI__AT_TARGET_CRC, dbi__target_crc(chain->head_salt, chain->state.target));
}

/* Moves the state into the header of another segment. */
static void head_carry(dbi_chain *chain, uint8_t *head, uint64_t salt) {
    chain->head = head;
    chain->head_salt = salt;
    head_number(chain, DBI__AT_BASE, chain->state.base);
    head_number(chain, DBI__AT_UNMET, chain->state.unmet);
    head_number(chain, DBI__AT_MISSING_FROM, chain->state.missing_from);
    head_number(chain, DBI__AT_MISSING_TO, chain->state.missing_to);
    head_number(chain, DBI__AT_LANDED, chain->state.landed);
    head_number(chain, DBI__AT_LANDED_AT, chain->state.landed_at);
    head_target(chain);
    for (unsigned i = 0; i < DBI__COUNTERS; i++)
        head_number(chain, DBI__AT_COUNTERS + 8 * i, atomic_load_explicit(&chain->counters[i], memory_order_relaxed));
}

void dbi_chain_count(dbi_chain *chain, dbi_chain_counter counter, uint64_t n) {
    uint64_t value;

    if (chain->fork != dbi__fork_now())
        return;
    dbi__spin_lock(chain);
    value = atomic_load_explicit(&chain->counters[counter], memory_order_relaxed) + n;
    atomic_store_explicit(&chain->counters[counter], value, memory_order_relaxed);
    head_number(chain, DBI__AT_COUNTERS + 8 * (unsigned)counter, value);
    dbi__spin_unlock(chain);
}

uint64_t dbi_chain_counted(const dbi_chain *chain, dbi_chain_counter counter) {
    return atomic_load_explicit(&chain->counters[counter], memory_order_relaxed);
}

void dbi__chain_set_landed(dbi_chain *chain, uint64_t landed) {
    dbi__spin_lock(chain);
    chain->state.landed = landed;
    head_number(chain, DBI__AT_LANDED, landed);
    dbi__spin_unlock(chain);
}

/* When records were last seen to commit. */
static void chain_set_landed_at(dbi_chain *chain, int64_t wall_us) {
    dbi__spin_lock(chain);
    chain->state.landed_at = (uint64_t)(wall_us / 1000000);
    head_number(chain, DBI__AT_LANDED_AT, chain->state.landed_at);
    dbi__spin_unlock(chain);
}

static void chain_set_base(dbi_chain *chain, uint64_t base) {
    dbi__spin_lock(chain);
    chain->state.base = base;
    head_number(chain, DBI__AT_BASE, base);
    dbi__spin_unlock(chain);
}

void dbi__chain_set_met(dbi_chain *chain, uint64_t base) {
    dbi__spin_lock(chain);
    chain->state.unmet = 0;
    chain->state.base = base;
    head_number(chain, DBI__AT_BASE, base);
    head_number(chain, DBI__AT_UNMET, 0);
    dbi__spin_unlock(chain);
}

void dbi__chain_set_missing(dbi_chain *chain, uint64_t from, uint64_t to) {
    dbi__spin_lock(chain);
    /* Two holes with segments between them, which are being shipped, become one: it explains nothing that is there. */
    if (chain->state.missing_to > chain->met) {
        from = chain->state.missing_from < from ? chain->state.missing_from : from;
        to = chain->state.missing_to > to ? chain->state.missing_to : to;
    }
    chain->state.missing_from = from;
    chain->state.missing_to = to;
    head_number(chain, DBI__AT_MISSING_FROM, chain->state.missing_from);
    head_number(chain, DBI__AT_MISSING_TO, chain->state.missing_to);
    dbi__spin_unlock(chain);
}

void dbi__chain_set_ended(dbi_chain *chain) {
    chain->ended = true;
    dbi__spin_lock(chain);
    head_mark(chain, DBI__STATE_ENDED);
    dbi__spin_unlock(chain);
}

uint64_t dbi__chain_unexplained(dbi_chain *chain, uint64_t from, uint64_t to) {
    uint64_t missing_from = chain->state.missing_from, missing_to = chain->state.missing_to, count;

    if (from <= chain->met) /* has landed: nobody misses it */
        from = chain->met + 1;
    if (from > to)
        return 0;
    count = to - from + 1;
    missing_from = missing_from > from ? missing_from : from;
    missing_to = missing_to < to ? missing_to : to;
    return missing_to >= missing_from && chain->state.missing_to != 0 ? count - (missing_to - missing_from + 1) : count;
}

dbi_rc dbi_chain_bind(dbi_chain *chain, const uint8_t target[16], dbi_err *err) {
    static const uint8_t none[16];
    bool other;

    if (chain->fork != dbi__fork_now())
        return dbi__chain_forked(err);
    dbi__lock(&chain->lock);
    dbi__spin_lock(chain);
    other = memcmp(chain->state.target, none, sizeof none) != 0 &&
            memcmp(chain->state.target, target, sizeof none) != 0;
    if (!other) {
        memcpy(chain->state.target, target, sizeof none);
        head_target(chain);
        chain->bound = true;
    }
    dbi__spin_unlock(chain);
    dbi__unlock(&chain->lock);
    if (other)
        return dbi_err_set(err, DBI_EHELD,
                           "the events of \"%s\" in journal %s were written for another database than the one that "
                           "answers: connect to that one, or give them to this one (journal retarget)",
                           chain->name, chain->journal->path);
    return DBI_OK;
}

/* -- appending ----------------------------------------------------------------------------------------------------- */

bool dbi__chain_roll(dbi_chain *chain, uint64_t need) {
    dbi__segment *segment = chain->spare, *old = chain->active;
    uint8_t *before = chain->head;

    if (segment == NULL || segment->header.size - segment->header.records_at < need)
        return false;
    head_carry(chain, segment->map, segment->header.salt);
    dbi__store64(segment->map + DBI__AT_FIRST,
                 dbi__number_pack(segment->header.salt, DBI__AT_FIRST, chain->next), memory_order_release);
    if (before != NULL)
        atomic_store_explicit((_Atomic uint32_t *)(void *)(before + DBI__AT_STATE), DBI__STATE_SEALED,
                              memory_order_release);
    if (old != NULL) {
        old->end = chain->at;
        atomic_store_explicit(&old->last, chain->next - 1, memory_order_release);
    }
    atomic_store_explicit(&segment->first, chain->next, memory_order_release);
    chain->active = segment;
    chain->spare = NULL;
    chain->map = segment->map;
    chain->salt = segment->header.salt;
    chain->at = segment->header.records_at;
    chain->room_end = segment->header.size;
    return true;
}

dbi_rc dbi_chain_append(dbi_chain *chain, uint16_t kind, const void *body, size_t length, uint64_t *sequence,
                        dbi_err *err) {
    bool rolled = false;
    uint64_t need, now;
    uint32_t crc;
    uint8_t *record;
    dbi_rc rc;

    if (__builtin_expect(chain->fork != dbi__fork_now(), 0))
        return dbi__chain_forked(err);
    if (kind != DBI_RECORD_ROW && kind != DBI_RECORD_KAFKA)
        return dbi_err_set(err, DBI_EINVAL, "%u is no kind of record", kind);
    if (length > chain->journal->config.segment_max)
        return dbi_err_set(err, DBI_ETOOBIG, "a record of %zu bytes is larger than a journal segment (%llu)", length,
                           (unsigned long long)chain->journal->config.segment_max);
    need = dbi__record_size(length);
    crc = dbi_crc32c(0, body, length);
    for (;;) {
        dbi__spin_lock(chain);
        if (__builtin_expect(need <= chain->room_end - chain->at, 1))
            break;
        rolled = dbi__chain_roll(chain, need);
        if (rolled)
            break;
        dbi__spin_unlock(chain);
        dbi__lock(&chain->maker);
        rc = dbi__chain_make(chain, need, false, err);
        dbi__unlock(&chain->maker);
        if (rc != DBI_OK)
            return rc;
    }
    record = chain->map + chain->at;
    for (uint64_t i = 0; i < need; i += CACHE_LINE)
        __builtin_prefetch(record + need + FETCH_AHEAD + i, 1);
    now = chain->next;
    memcpy(record + DBI__RECORD_HEADER, body, length);
    dbi__record_seal(record, crc, (uint32_t)length, kind, chain->salt, now);
    chain->at += need;
    dbi__store64(chain->map + DBI__AT_PUBLISHED, chain->at, memory_order_release);
    dbi__store64(chain->map + DBI__AT_LAST, now, memory_order_release); /* in the same line of the cache */
    chain->next = now + 1;
    atomic_store_explicit(&chain->last, now, memory_order_release);
    dbi__spin_unlock(chain);
    if (sequence != NULL)
        *sequence = now;
    if (__builtin_expect(rolled && chain->journal->config.rolled != NULL, 0))
        chain->journal->config.rolled(chain->journal->config.rolled_arg);
    return DBI_OK;
}

uint64_t dbi_chain_last(const dbi_chain *chain) {
    return atomic_load_explicit(&chain->last, memory_order_acquire);
}

/* -- making segments ----------------------------------------------------------------------------------------------- */

static bool chain_counts_bytes(const dbi_chain *chain) {
    return chain->slot == NULL || chain->slot->own;
}

void dbi__chain_remove(dbi_chain *chain, size_t index) {
    dbi__segment *segment = chain->segments[index];
    char name[DBI__FILE_NAME];

    memmove(chain->segments + index, chain->segments + index + 1,
            (chain->segment_count - index - 1) * sizeof *chain->segments);
    chain->segment_count--;
    if (chain->slot != NULL) {
        dbi__segment_name(chain->id, segment->header.number, ".seg", name);
        if (!segment->evidence ||
            !dbi__quarantine_file(chain->journal, chain->slot, name, "it held damaged records, which could not be "
                                                                     "copied when they were found"))
            (void)unlinkat(chain->slot->directory, name, 0);
    }
    if (chain_counts_bytes(chain))
        dbi__journal_unreserve(chain->journal, segment->header.size);
    dbi__segment_free(segment, false);
}

static void chain_discard_spare(dbi_chain *chain) {
    bool there;

    dbi__lock(&chain->lock);
    dbi__spin_lock(chain);
    there = chain->spare != NULL;
    chain->spare = NULL;
    dbi__spin_unlock(chain);
    if (there)
        dbi__chain_remove(chain, chain->segment_count - 1);
    dbi__unlock(&chain->lock);
}

static uint64_t chain_size(dbi_chain *chain, uint64_t least) {
    const dbi_journal_config *config = &chain->journal->config;
    int64_t now = dbi_clock_now(&config->clock), lasted = now - chain->made_at;

    if (chain->made_at != 0 && lasted < CHAIN_BUSY_NS)
        chain->size_next *= 2;
    else if (chain->made_at != 0 && lasted > CHAIN_IDLE_NS)
        chain->size_next /= 2;
    if (chain->size_next > config->max_bytes / 8)
        chain->size_next = config->max_bytes / 8 & ~(DBI__PAGE - 1);
    if (chain->size_next > config->segment_max)
        chain->size_next = config->segment_max;
    if (chain->size_next < config->segment_min)
        chain->size_next = config->segment_min;
    chain->made_at = now;
    return chain->size_next > least ? chain->size_next : least;
}

dbi_rc dbi__chain_make(dbi_chain *chain, uint64_t need, bool ahead, dbi_err *err) {
    dbi_journal *journal = chain->journal;
    dbi__segment *segment = NULL;
    dbi__header header = {0};
    bool spare, there;
    uint64_t least;
    dbi_rc rc;

    dbi__spin_lock(chain);
    spare = chain->spare != NULL;
    there = (spare && chain->spare->header.size - chain->spare->header.records_at >= need) ||
            (!ahead && chain->room_end - chain->at >= need);
    dbi__spin_unlock(chain);
    if (there)
        return DBI_OK;
    least = (DBI__SEGMENT_META + chain->meta_length + DBI__PAGE - 1) & ~(DBI__PAGE - 1);
    least = (least + (need > DBI__PAGE ? need : DBI__PAGE) + DBI__PAGE - 1) & ~(DBI__PAGE - 1);
    if (least > journal->config.segment_max)
        return dbi_err_set(err, DBI_ETOOBIG, "a record of %llu bytes does not fit into a journal segment (%llu)",
                           (unsigned long long)need, (unsigned long long)journal->config.segment_max);
    if (least < journal->config.segment_min)
        least = journal->config.segment_min;
    if (spare)
        chain_discard_spare(chain);
    header.size = chain_size(chain, least);
    header.number = chain->next_number;
    memcpy(header.id, chain->id, sizeof header.id);
    memcpy(header.boot, journal->boot, sizeof header.boot);
    memcpy(header.name, chain->name, sizeof header.name);
    header.lane = chain->lane;
    header.durability = chain->durability;
    header.meta_length = (uint32_t)chain->meta_length;
    header.made_us = dbi_clock_wall_us();
    rc = dbi__random(&header.salt, sizeof header.salt, err);
    if (rc != DBI_OK)
        return rc;
    if (!dbi__journal_reserve(journal, header.size)) {
        header.size = least;
        if (!dbi__journal_reserve(journal, header.size))
            return dbi__journal_full(journal, atomic_load(&journal->bytes), 0, err);
    }
    for (;;) {
        rc = dbi__segment_make(&segment, chain->slot != NULL ? chain->slot->directory : -1, &header, chain->meta,
                               ahead, err);
        if (rc == DBI_EFULL && dbi__journal_release_kept(journal))
            continue; /* the disk is full: kept segments are given up, then a small one is tried */
        if (rc != DBI_EFULL || header.size == least)
            break;
        dbi__journal_unreserve(journal, header.size - least);
        header.size = least;
    }
    if (rc == DBI_EFULL)
        rc = dbi__journal_full(journal, atomic_load(&journal->bytes) - header.size, err != NULL ? err->sys : 0, err);
    if (rc != DBI_OK)
        goto done;
    atomic_init(&segment->first, 0);
    atomic_init(&segment->last, DBI__SEGMENT_OPEN);
    dbi__lock(&chain->lock);
    if (chain->segment_count == chain->segment_capacity) {
        size_t capacity = chain->segment_capacity != 0 ? chain->segment_capacity * 2 : 8;
        dbi__segment **grown = dbi_realloc(chain->segments, capacity * sizeof *grown);

        if (grown != NULL) {
            chain->segments = grown;
            chain->segment_capacity = capacity;
        } else {
            rc = dbi_err_set(err, DBI_ENOMEM, "no memory for the list of journal segments");
        }
    }
    if (rc == DBI_OK) {
        chain->segments[chain->segment_count++] = segment;
        chain->next_number++;
        dbi__spin_lock(chain);
        chain->spare = segment;
        dbi__spin_unlock(chain);
        segment = NULL;
    }
    dbi__unlock(&chain->lock);
done:
    if (rc != DBI_OK)
        dbi__journal_unreserve(journal, header.size);
    if (segment != NULL) {
        char name[DBI__FILE_NAME];

        dbi__segment_name(chain->id, header.number, ".seg", name);
        if (chain->slot != NULL)
            (void)unlinkat(chain->slot->directory, name, 0);
        dbi__segment_free(segment, false);
    }
    return rc;
}

dbi_rc dbi__chain_configure(dbi_chain *chain, const dbi_chain_config *config, dbi_err *err) {
    void *meta;
    dbi_rc rc;

    if (chain->meta != NULL && chain->durability == config->durability && chain->meta_length == config->meta_length &&
        (config->meta_length == 0 || memcmp(chain->meta, config->meta, config->meta_length) == 0))
        return DBI_OK;
    meta = dbi_malloc(config->meta_length + 1); /* never NULL once set: also says that the chain is gone on with */
    if (meta == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for what stream \"%s\" says of itself", config->name);
    if (config->meta_length > 0)
        memcpy(meta, config->meta, config->meta_length);
    dbi_free(chain->meta);
    chain->meta = meta;
    chain->meta_length = config->meta_length;
    chain->durability = config->durability;
    chain_discard_spare(chain);
    dbi__spin_lock(chain);
    chain->room_end = chain->at; /* the next record goes to the next segment */
    dbi__spin_unlock(chain);
    rc = dbi__chain_make(chain, 0, true, err);
    return rc == DBI_EFULL ? DBI_OK : rc;
}

/* -- retiring segments --------------------------------------------------------------------------------------------- */

static bool chain_pinned(const dbi_chain *chain, const dbi__segment *segment) {
    uint64_t number = segment->header.number;

    return number == chain->reading || number == chain->syncing || number == chain->tending;
}

/* Whether records of it were given to the reader and may be on their way to the server: neither landed nor not. */
static bool chain_in_flight(const dbi_chain *chain, const dbi__segment *segment) {
    return atomic_load_explicit(&segment->first, memory_order_acquire) <= atomic_load(&chain->in_flight) &&
           atomic_load_explicit(&segment->last, memory_order_acquire) > chain->met;
}

/* Index of the newest segment in use; 0, too, when there is none. */
static size_t chain_newest(const dbi_chain *chain) {
    for (size_t i = chain->segment_count; i-- > 0;)
        if (atomic_load_explicit(&chain->segments[i]->first, memory_order_acquire) != 0)
            return i;
    return 0;
}

int64_t dbi__chain_kept(const dbi_chain *chain, size_t *index) {
    size_t newest = chain_newest(chain);

    for (size_t i = 0; i < newest && chain->segments[i]->landed_at != 0; i++)
        if (!chain_pinned(chain, chain->segments[i])) {
            *index = i;
            return chain->segments[i]->landed_at;
        }
    return 0;
}

/* Notes which segments the ledger is past. Not the active one: it will hold more. */
static void chain_mark_landed(dbi_chain *chain) {
    int64_t now = 0;

    for (size_t i = 0; i < chain->segment_count; i++) {
        dbi__segment *segment = chain->segments[i];

        if (atomic_load_explicit(&segment->first, memory_order_acquire) == 0 ||
            atomic_load_explicit(&segment->last, memory_order_acquire) > chain->met)
            break;
        if (segment->landed_at != 0)
            continue;
        if (now == 0)
            now = dbi_clock_now(&chain->journal->config.clock);
        segment->landed_at = now != 0 ? now : 1;
    }
}

void dbi_chain_landed(dbi_chain *chain, uint64_t upto) {
    uint64_t last = dbi_chain_last(chain);

    if (chain->fork != dbi__fork_now())
        return;
    upto = upto < last ? upto : last;
    dbi__lock(&chain->lock);
    if (upto > chain->met)
        chain->met = upto;
    if (upto > chain->state.landed) {
        dbi__chain_set_landed(chain, upto);
        chain_set_landed_at(chain, dbi_clock_wall_us());
    }
    chain_mark_landed(chain);
    dbi__unlock(&chain->lock);
}

void dbi_chain_forgotten(dbi_chain *chain) {
    if (chain->fork != dbi__fork_now())
        return;
    dbi__lock(&chain->lock);
    if (chain->state.landed > chain->state.base)
        chain_set_base(chain, chain->state.landed);
    dbi__unlock(&chain->lock);
}

void dbi_chain_rewind(dbi_chain *chain, uint64_t ledger_last, uint64_t *lost) {
    uint64_t seen, first, count = 0;

    if (lost != NULL)
        *lost = 0;
    if (chain->fork != dbi__fork_now())
        return;
    dbi__lock(&chain->lock);
    seen = chain->state.landed > chain->met ? chain->state.landed : chain->met;
    if (ledger_last < chain->state.base)
        ledger_last = chain->state.base;
    if (ledger_last >= seen)
        goto done;
    first = dbi_chain_last(chain) + 1;
    for (size_t i = 0; i < chain->segment_count; i++) {
        dbi__segment *segment = chain->segments[i];
        uint64_t begins = atomic_load_explicit(&segment->first, memory_order_acquire);

        if (begins == 0)
            break;
        if (dbi__segment_last(segment, dbi_chain_last(chain)) > ledger_last) {
            segment->landed_at = 0;
            first = begins < first ? begins : first;
        }
    }
    chain->met = ledger_last;
    if (first > ledger_last + 1) {
        uint64_t to = first - 1 < seen ? first - 1 : seen;

        count = dbi__chain_unexplained(chain, ledger_last + 1, to);
        dbi__chain_set_missing(chain, ledger_last + 1, to);
    }
    dbi__chain_set_landed(chain, ledger_last);
done:
    dbi__unlock(&chain->lock);
    if (count > 0)
        dbi_chain_count(chain, DBI_CHAIN_LOST_BY_SERVER, count);
    if (lost != NULL)
        *lost = count;
}

dbi_rc dbi_chain_drop_oldest(dbi_chain *chain, uint64_t *records, dbi_err *err) {
    uint64_t last, dropped = 0;
    size_t index;
    dbi_rc rc = DBI_OK;

    if (records != NULL)
        *records = 0;
    if (chain->fork != dbi__fork_now())
        return dbi__chain_forked(err);
    dbi__lock(&chain->lock);
    last = dbi_chain_last(chain);
    if (dbi__chain_kept(chain, &index) != 0) {
        do
            dbi__chain_remove(chain, index);
        while (dbi__chain_kept(chain, &index) != 0);
        goto done;
    }
    for (index = 0; index < chain_newest(chain); index++)
        if (!chain_pinned(chain, chain->segments[index]) && !chain_in_flight(chain, chain->segments[index]))
            break;
    if (index >= chain_newest(chain)) {
        rc = dbi_err_set(err, DBI_EFULL, "the oldest events of \"%s\" are being shipped, and no older segment is whole",
                         chain->name);
        goto done;
    }
    {
        dbi__segment *segment = chain->segments[index];
        uint64_t from = atomic_load_explicit(&segment->first, memory_order_acquire);
        uint64_t to = dbi__segment_last(segment, last);
        uint64_t landed = chain->met > chain->state.base ? chain->met : chain->state.base;

        from = from > landed ? from : landed + 1;
        dropped = dbi__segment_held(segment, last, dbi__chain_landed(chain));
        dbi__chain_remove(chain, index); /* before it is counted: killed in between, it counts as damaged, not twice */
        if (to >= from)
            dbi__chain_set_missing(chain, from, to);
    }
    dbi_chain_count(chain, DBI_CHAIN_DROPPED_OLDEST, dropped);
done:
    dbi__unlock(&chain->lock);
    if (records != NULL)
        *records = dropped;
    return rc;
}

/* Unmaps and closes what is no longer appended to. chain.lock is held. */
static void chain_settle(dbi_chain *chain) {
    size_t behind = 0;

    for (size_t i = chain->segment_count; i-- > 0; behind++) {
        dbi__segment *segment = chain->segments[i];
        bool busy;

        if (segment->map == NULL && segment->fd < 0 && behind > CHAIN_OPEN_MAX + 2)
            break;
        dbi__spin_lock(chain);
        busy = segment == chain->active || segment == chain->spare;
        dbi__spin_unlock(chain);
        if (busy || chain_pinned(chain, segment))
            continue;
        dbi__segment_unmap(segment);
        if (segment->header.durability == DBI_DURABILITY_PROCESS || segment->synced >= segment->end ||
            behind > CHAIN_OPEN_MAX)
            dbi__fd_close(&segment->fd);
    }
}

/* Whether the next segment should be at hand by now. maker is held. */
static bool chain_wants_spare(dbi_chain *chain) {
    bool busy = dbi_clock_now(&chain->journal->config.clock) - chain->made_at < CHAIN_BUSY_NS, wants;

    if (chain->meta == NULL || chain->ended)
        return false;
    dbi__spin_lock(chain);
    wants = chain->spare == NULL;
    if (wants && chain->active != NULL && !busy) {
        uint64_t begin = chain->active->header.records_at, size = chain->active->header.size;

        wants = chain->at - begin >= (size - begin) / 4 || chain->room_end != size;
    }
    dbi__spin_unlock(chain);
    return wants;
}

/* Fetches pages of the active segment and, where that ends before them, of the spare. Both are in place already: an
 * appender that needs them does not wait for it. maker is held. */
static void chain_fetch_pages(dbi_chain *chain) {
    uint64_t ahead = PAGES_AHEAD, at, size;
    dbi__segment *segment;

    for (unsigned i = 0; i < 2 && ahead > 0; i++) {
        dbi__lock(&chain->lock);
        dbi__spin_lock(chain);
        segment = i == 0 ? chain->active : chain->spare;
        at = i == 0 ? chain->at : 0;
        dbi__spin_unlock(chain);
        chain->tending = segment != NULL ? segment->header.number : 0;
        dbi__unlock(&chain->lock);
        if (segment != NULL) {
            size = segment->header.size;
            if (size <= at + ahead || at + ahead >= segment->fetched + PAGES_STEP)
                dbi__segment_fetch(segment, at, at + ahead);
            ahead = size < at + ahead ? at + ahead - size : 0;
        }
    }
    dbi__lock(&chain->lock);
    chain->tending = 0;
    dbi__unlock(&chain->lock);
}

dbi_rc dbi__chain_tend(dbi_chain *chain, uint64_t *kept, dbi_err *err) {
    const dbi_journal_config *config = &chain->journal->config;
    int64_t now, since;
    size_t index;
    dbi_rc rc = DBI_OK;

    dbi__lock(&chain->maker);
    dbi__lock(&chain->lock);
    if (chain->slot != NULL)
        chain_settle(chain);
    now = dbi_clock_now(&config->clock);
    while ((since = dbi__chain_kept(chain, &index)) != 0 &&
           (chain->slot == NULL || now - since >= config->keep_ns)) /* memory is worth more than keeping */
        dbi__chain_remove(chain, index);
    if (chain_counts_bytes(chain))
        for (index = 0; index < chain->segment_count && chain->segments[index]->landed_at != 0; index++)
            *kept += chain->segments[index]->header.size;
    dbi__unlock(&chain->lock);
    if (chain_wants_spare(chain)) {
        rc = dbi__chain_make(chain, 0, true, err);
        if (rc == DBI_EFULL) /* who appends will hear of it */
            rc = DBI_OK;
    }
    if (chain->slot != NULL)
        chain_fetch_pages(chain);
    dbi__unlock(&chain->maker);
    return rc;
}

/* -- meeting the ledger -------------------------------------------------------------------------------------------- */

/* Gives the segment's file another chain id; `bytes` has room for its header and meta. Whenever it ends in between, one
 * of the file's names fits its header. */
static bool segment_relabel(const dbi_chain *chain, dbi__segment *segment, const uint8_t from[16],
                            const uint8_t to[16], uint8_t *bytes) {
    char before[DBI__FILE_NAME], after[DBI__FILE_NAME];
    size_t length = DBI__SEGMENT_META + segment->header.meta_length;
    bool durable = segment->header.durability != DBI_DURABILITY_PROCESS, linked = false, done = false;
    dbi__header header;
    int fd, sys;

    if (chain->slot == NULL)
        goto labelled;
    dbi__segment_name(from, segment->header.number, ".seg", before);
    dbi__segment_name(to, segment->header.number, ".seg", after);
    fd = dbi__fd_open(chain->slot->directory, before, O_RDWR, 0);
    if (fd < 0)
        goto done;
    errno = EIO; /* where the file does not hold what we wrote */
    if (dbi__pread(fd, bytes, length, 0) != length ||
        dbi__header_parse(bytes, length, &header, NULL) != DBI__HEADER_WHOLE)
        goto done;
    linked = linkat(chain->slot->directory, before, chain->slot->directory, after, 0) == 0;
    if (!linked || (durable && fsync(chain->slot->directory) != 0))
        goto done;
    memcpy(bytes + DBI__AT_ID, to, 16);
    dbi__put32le(bytes + DBI__AT_CRC, dbi__header_crc(bytes, header.meta_length));
    done = dbi__pwrite(fd, bytes, DBI__AT_CRC + 4, 0);
    if (done && durable && fsync(fd) != 0)
        done = !(segment->sync_failed = true);
    if (!done) { /* as it was */
        sys = errno;
        memcpy(bytes + DBI__AT_ID, from, 16);
        dbi__put32le(bytes + DBI__AT_CRC, dbi__header_crc(bytes, header.meta_length));
        (void)!dbi__pwrite(fd, bytes, DBI__AT_CRC + 4, 0);
        errno = sys;
    }
done:
    sys = errno;
    if (linked)
        (void)unlinkat(chain->slot->directory, done ? before : after, 0);
    dbi__fd_close(&fd);
    errno = sys;
    if (!done)
        return false;
labelled:
    memcpy(segment->header.id, to, sizeof segment->header.id);
    return true;
}

/* How many segments hold nothing from `from` on. */
static size_t chain_before(const dbi_chain *chain, uint64_t from) {
    uint64_t last = dbi_chain_last(chain);
    size_t count = 0;

    while (count < chain->segment_count && atomic_load(&chain->segments[count]->first) != 0 &&
           atomic_load(&chain->segments[count]->last) != DBI__SEGMENT_OPEN &&
           dbi__segment_last(chain->segments[count], last) < from)
        count++;
    return count;
}

/* Gives the segments from the index on a new chain id, which is written where the old one was. maker and chain.lock are
 * held. */
static dbi_rc chain_relabel(dbi_chain *chain, size_t from, dbi_err *err) {
    uint8_t old[16], id[16], *bytes;
    uint32_t meta = 0;
    dbi_rc rc = dbi__random(id, sizeof id, err);

    if (rc != DBI_OK)
        return rc;
    for (size_t i = from; i < chain->segment_count; i++)
        if (chain->segments[i]->header.meta_length > meta)
            meta = chain->segments[i]->header.meta_length;
    bytes = dbi_malloc(DBI__SEGMENT_META + meta); /* now: going back must not fail for want of it */
    if (bytes == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for giving the events of \"%s\" a new chain", chain->name);
    memcpy(old, chain->id, sizeof old);
    for (size_t i = from; i < chain->segment_count && rc == DBI_OK; i++)
        if (!segment_relabel(chain, chain->segments[i], old, id, bytes)) {
            rc = dbi__journal_sys(err, errno, "cannot give the events of \"%s\" in %s a new chain", chain->name,
                                  chain->journal->path);
            while (i-- > from)
                (void)segment_relabel(chain, chain->segments[i], id, old, bytes);
            break;
        }
    dbi_free(bytes);
    if (rc == DBI_OK)
        memcpy(chain->id, id, sizeof id);
    return rc;
}

/* The chain begins with `from`, and nothing of it has landed. maker and chain.lock are held. */
static void chain_begin(dbi_chain *chain, uint64_t from) {
    dbi__chain_set_met(chain, from - 1);
    dbi__chain_set_landed(chain, 0);
    chain->met = from - 1;
    atomic_store(&chain->handed, from - 1);
    atomic_store(&chain->in_flight, from - 1);
}

/* The records from `from` on get a new chain id; what was before goes. maker and chain.lock are held. */
static dbi_rc chain_renew(dbi_chain *chain, uint64_t from, dbi_err *err) {
    size_t gone = chain_before(chain, from);
    uint8_t old[16], id[16];
    dbi_rc rc;

    memcpy(old, chain->id, sizeof old);
    rc = chain_relabel(chain, gone, err);
    if (rc != DBI_OK)
        return rc;
    memcpy(id, chain->id, sizeof id);
    memcpy(chain->id, old, sizeof old);
    while (gone-- > 0)
        dbi__chain_remove(chain, 0); /* under the old id: the ledger has them */
    memcpy(chain->id, id, sizeof id);
    chain_begin(chain, from);
    return DBI_OK;
}

dbi_rc dbi_chain_met(dbi_chain *chain, uint64_t ledger_last, bool *renewed, dbi_err *err) {
    uint64_t most, handed;
    dbi_rc rc = DBI_OK;

    *renewed = false;
    if (chain->fork != dbi__fork_now())
        return dbi__chain_forked(err);
    dbi__lock(&chain->maker);
    dbi__lock(&chain->lock);
    handed = atomic_load(&chain->handed);
    most = handed > chain->met ? handed : chain->met;
    if (chain->state.unmet != 0)
        most = chain->state.unmet - 1;
    if (chain->gone)
        goto done;
    if (ledger_last > most) {
        rc = chain_renew(chain, most + 1, err);
        *renewed = rc == DBI_OK;
        goto done;
    }
    if (chain->state.unmet != 0)
        dbi__chain_set_met(chain, chain->state.base);
    atomic_store(&chain->in_flight, ledger_last); /* who asks the ledger has nothing on its way */
    if (ledger_last > chain->met)
        chain->met = ledger_last;
    if (ledger_last > chain->state.landed)
        dbi__chain_set_landed(chain, ledger_last);
    chain_mark_landed(chain);
done:
    dbi__unlock(&chain->lock);
    dbi__unlock(&chain->maker);
    return rc;
}

/* Takes the first `count` segments, and what the file of the last of them is to say, over from a chain. */
static void chain_inherit(dbi_chain *old, dbi_chain *from, size_t count) {
    memcpy(old->segments, from->segments, count * sizeof *old->segments);
    old->segment_count = count;
    from->segment_count -= count;
    memmove(from->segments, from->segments + count, from->segment_count * sizeof *from->segments);
    old->durability = old->segments[count - 1]->header.durability;
    old->opened = from->opened;
    old->next = from->opened + 1;
    atomic_store(&old->last, from->opened);
    old->met = from->met;
    old->synced = from->synced < from->opened ? from->synced : from->opened;
    old->found = from->parted = dbi__chain_held(old);
    from->found -= old->found < from->found ? old->found : from->found;
    head_carry(old, old->head_map, old->segments[count - 1]->header.salt); /* what was counted stays with the other */
    dbi__chain_set_ended(old);
}

/* What was there before this process goes to a chain of its own, with the old id. maker, journal.lock and chain.lock
 * are held. */
static dbi_rc chain_split(dbi_chain *chain, dbi_err *err) {
    dbi_journal *journal = chain->journal;
    size_t count = chain_before(chain, chain->opened + 1);
    dbi_chain *old = NULL;
    dbi_rc rc = dbi__chain_new(&old, journal, chain->slot, chain->id, chain->name, chain->lane, err);

    if (rc != DBI_OK)
        return rc;
    old->segments = dbi_calloc(count, sizeof *old->segments);
    if (old->segments == NULL)
        rc = dbi_err_set(err, DBI_ENOMEM, "no memory for the list of journal segments");
    else
        rc = dbi__chain_map_head(chain, chain->segments[count - 1], &old->head_map, err);
    if (rc == DBI_OK)
        rc = dbi__journal_add(journal, old, err); /* with no segments yet: their bytes have been counted */
    if (rc == DBI_OK) {
        old->segment_capacity = count;
        rc = chain_relabel(chain, count, err);
        if (rc != DBI_OK)
            journal->chain_count--;
    }
    if (rc != DBI_OK) {
        dbi__chain_free(old);
        return rc;
    }
    dbi__spin_lock(chain);
    old->state = chain->state;
    dbi__spin_unlock(chain);
    dbi__lock(&old->lock);
    chain_inherit(old, chain, count);
    dbi__unlock(&old->lock);
    chain_begin(chain, chain->opened + 1);
    return DBI_OK;
}

dbi_rc dbi_chain_part(dbi_chain *chain, bool *parted, dbi_err *err) {
    static const uint8_t none[16];
    dbi_rc rc = DBI_OK;
    uint64_t later;

    *parted = false;
    if (chain->fork != dbi__fork_now())
        return dbi__chain_forked(err);
    dbi__lock(&chain->syncing_lock);
    dbi__lock(&chain->maker);
    dbi__lock(&chain->journal->lock);
    dbi__lock(&chain->lock);
    if (chain->slot == NULL || !chain->slot->own || chain->gone || chain->ended || chain->bound ||
        chain->state.unmet == 0 || memcmp(chain->state.target, none, sizeof none) == 0 ||
        dbi_chain_last(chain) == chain->opened)
        goto done;
    later = 0; /* what was appended since */
    for (size_t i = chain_before(chain, chain->opened + 1); i < chain->segment_count; i++)
        later += dbi__segment_held(chain->segments[i], dbi_chain_last(chain), chain->opened);
    rc = dbi__chain_held(chain) > later ? chain_split(chain, err) : chain_renew(chain, chain->opened + 1, err);
    if (rc != DBI_OK)
        goto done;
    *parted = true;
    chain->reader.number = 0; /* it may stand in a segment that is no longer there */
    dbi__spin_lock(chain);
    memset(chain->state.target, 0, sizeof chain->state.target);
    head_target(chain);
    dbi__spin_unlock(chain);
done:
    dbi__unlock(&chain->lock);
    dbi__unlock(&chain->journal->lock);
    dbi__unlock(&chain->maker);
    dbi__unlock(&chain->syncing_lock);
    return rc;
}

/* -- life ---------------------------------------------------------------------------------------------------------- */

dbi_rc dbi__chain_new(dbi_chain **made, dbi_journal *journal, dbi__slot *slot, const uint8_t id[16], const char *name,
                      uint32_t lane, dbi_err *err) {
    dbi_chain *chain = dbi_calloc(1, sizeof *chain);

    if (chain == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a chain of \"%s\"", name);
    memcpy(chain->id, id, sizeof chain->id);
    (void)snprintf(chain->name, sizeof chain->name, "%s", name);
    chain->journal = journal;
    chain->slot = slot;
    chain->lane = lane;
    chain->next = 1;
    chain->next_number = 1;
    chain->size_next = journal->config.segment_min;
    chain->state.unmet = 1;
    chain->fork = journal->fork;
    chain->reader.fd = -1;
    (void)pthread_mutex_init(&chain->lock, NULL);
    (void)pthread_mutex_init(&chain->maker, NULL);
    (void)pthread_mutex_init(&chain->syncing_lock, NULL);
    *made = chain;
    return DBI_OK;
}

void dbi__chain_let_go(dbi_chain *chain) {
    bool forked = chain->fork != dbi__fork_now();

    for (size_t i = 0; i < chain->segment_count; i++)
        dbi__segment_free(chain->segments[i], forked);
    dbi_free(chain->segments);
    chain->segments = NULL;
    chain->segment_count = chain->segment_capacity = 0;
    if (!forked) {
        if (chain->head_map != NULL)
            (void)munmap(chain->head_map, DBI__PAGE);
        dbi__fd_close(&chain->reader.fd);
    }
    chain->head_map = chain->head = NULL;
    dbi_free(chain->reader.meta);
    chain->reader.meta = NULL;
    chain->reader.number = chain->reader.meta_length = chain->reader.meta_capacity = 0;
}

void dbi__chain_free(dbi_chain *chain) {
    if (chain == NULL)
        return;
    if (chain->fork == dbi__fork_now() && chain->spare != NULL)
        chain_discard_spare(chain);
    dbi__chain_let_go(chain);
    dbi_free(chain->meta);
    (void)pthread_mutex_destroy(&chain->lock);
    (void)pthread_mutex_destroy(&chain->maker);
    (void)pthread_mutex_destroy(&chain->syncing_lock);
    dbi_free(chain);
}

uint64_t dbi__chain_held(const dbi_chain *chain) {
    uint64_t last = dbi_chain_last(chain), landed = dbi__chain_landed(chain), held = 0;

    for (size_t i = 0; i < chain->segment_count; i++)
        held += dbi__segment_held(chain->segments[i], last, landed);
    return held;
}

void dbi_chain_view_get(dbi_chain *chain, dbi_chain_view *view) {
    memset(view, 0, sizeof *view);
    view->name = chain->name;
    view->lane = chain->lane;
    view->opened = chain->opened;
    view->last = dbi_chain_last(chain);
    view->first = view->last + 1;
    if (chain->fork != dbi__fork_now()) {
        view->gone = true;
        return;
    }
    dbi__lock(&chain->lock);
    view->last = dbi_chain_last(chain);
    view->first = view->last + 1;
    memcpy(view->id, chain->id, sizeof view->id);
    memcpy(view->target, chain->state.target, sizeof view->target);
    view->durability = chain->durability;
    view->synced = chain->synced;
    view->landed = chain->state.landed;
    view->ended = chain->ended;
    view->adopted = chain->slot != NULL && !chain->slot->own;
    view->gone = chain->gone;
    view->landed_us = (int64_t)chain->state.landed_at * 1000000;
    view->base = chain->state.base;
    view->held = dbi__chain_held(chain);
    view->found = chain->found;
    view->parted = chain->parted;
    for (unsigned i = 0; i < DBI_CHAIN_COUNTER_COUNT; i++)
        view->counted[i] = dbi_chain_counted(chain, (dbi_chain_counter)i) - chain->before[i];
    for (size_t i = 0; i < chain->segment_count; i++) {
        const dbi__segment *segment = chain->segments[i];
        uint64_t first = atomic_load_explicit(&segment->first, memory_order_acquire);
        uint64_t last = dbi__segment_last(segment, view->last);

        view->segments++;
        view->bytes += segment->header.size;
        if (first == 0 || last < first)
            continue;
        view->first = first < view->first ? first : view->first;
        if (view->oldest_wall_us == 0 && last > dbi__chain_landed(chain))
            view->oldest_wall_us = segment->header.made_us;
    }
    dbi__unlock(&chain->lock);
}

const char *dbi_durability_text(dbi_durability durability) {
    static const char *const texts[] = {
#define DURABILITY_TEXT(name, text) text,
        DBI_DURABILITY_MAP(DURABILITY_TEXT)
#undef DURABILITY_TEXT
    };

    return (unsigned)durability < DBI_DURABILITY_COUNT ? texts[durability] : "unknown";
}

const char *dbi_chain_counter_text(dbi_chain_counter counter) {
    static const char *const texts[] = {
#define COUNTER_TEXT(name, text) text,
        DBI_CHAIN_COUNTER_MAP(COUNTER_TEXT)
#undef COUNTER_TEXT
    };

    return (unsigned)counter < DBI_CHAIN_COUNTER_COUNT ? texts[counter] : "unknown";
}
