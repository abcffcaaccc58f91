/* engine.c - the threads of a writer, and what they do in which order (see writer_int.h) */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "alloc.h"
#include "writer_int.h"

/* The keeper's rounds. Who fills a segment, waits for room or wants a flush wakes it besides. */
#define KEEP_BUSY (20 * DBI_NS_PER_MS)       /* while many events come in */
#define KEEP_WAITED_FOR (50 * DBI_NS_PER_MS) /* while somebody waits for room */
#define KEEP_IDLE (200 * DBI_NS_PER_MS)
#define KEEP_MANY 1000u /* rows in a round */
#define POOL_TIDY (10 * DBI_NS_PER_S)

#define LOOK_TICKS 5 /* at most so many ticks between two looks for rows: an append tells nobody that it happened */
#define REST 4       /* after a shipment, so many times as long as it took */
#define RESTLESS 50  /* whole batches that wait for no rest */

static int64_t earlier(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* -- the age of rows ---------------------------------------------------------------------------------------------- */

/* Forgets what has landed, and takes down that rows up to `last` are there now. */
static void marks_move(dbi__marks *marks, uint64_t landed, uint64_t last, int64_t now) {
    unsigned gone = 0;

    while (gone < marks->count && marks->all[gone].sequence <= landed)
        gone++;
    marks->count -= gone;
    memmove(marks->all, marks->all + gone, marks->count * sizeof marks->all[0]);
    if (marks->count == 0)
        marks->apart = 0;
    if (last <= (marks->count > 0 ? marks->all[marks->count - 1].sequence : landed))
        return;
    if (marks->count > 0 && now - marks->all[marks->count - 1].at < marks->apart) {
        marks->all[marks->count - 1].sequence = last;
        return;
    }
    if (marks->count == DBI__MARKS) {
        marks->count /= 2;
        for (unsigned i = 0; i < marks->count; i++) {
            marks->all[i].at = marks->all[2 * i].at;
            marks->all[i].sequence = marks->all[2 * i + 1].sequence;
        }
        marks->apart = (now - marks->all[0].at) / (DBI__MARKS / 2);
    }
    marks->all[marks->count].sequence = last;
    marks->all[marks->count++].at = now;
}

/* -- duties ------------------------------------------------------------------------------------------------------- */

void dbi__duty_count(const dbi__duty *duty, dbi_stream_view *view) {
    const uint64_t *counts;
    dbi_chain_view chain;
    dbi_ship_view ship;

    dbi_chain_view_get(duty->chain, &chain);
    dbi_shipper_view(duty->shipper, &ship);
    counts = chain.counted;
    view->accepted += chain.last - chain.opened;
    view->recovered += chain.found + ship.reopened;
    view->landed += ship.rows;
    view->journaled += chain.held;
    view->dead += ship.dead;
    view->landed_rewound += ship.rows_rewound;
    view->dead_rewound += ship.dead_rewound;
    view->dropped_oldest += counts[DBI_CHAIN_DROPPED_OLDEST];
    view->damaged += counts[DBI_CHAIN_DAMAGED];
    view->lost_by_server += counts[DBI_CHAIN_LOST_BY_SERVER];
    view->ambiguous_resolved += ship.ambiguous_resolved;
    if (chain.gone)
        return;
    view->chains++;
    view->journaled_bytes += chain.bytes;
    if (chain.held > 0) {
        int64_t age = duty->marks.count > 0 ? dbi_clock_now(NULL) - duty->marks.all[0].at : 0;

        if (age > view->oldest_ns)
            view->oldest_ns = age;
    }
}

void dbi__tally_view(const dbi__engine *engine, const dbi__tally *tally, dbi_stream_view *view) {
    *view = tally->gone;
    memcpy(view->name, tally->name, sizeof view->name);
    view->oldest_ns = -1;
    for (const dbi__duty *duty = engine->duties; duty != NULL; duty = duty->next)
        if (duty->tally == tally)
            dbi__duty_count(duty, view);
    if (tally->stream != NULL) {
        view->open = engine->journal != NULL;
        view->rejected = atomic_load(&tally->stream->rejected);
        view->waiting = dbi__stream_waiting(tally->stream);
    }
}

static dbi__tally *tally_of(dbi__engine *engine, const char *name) {
    dbi__tally *tally;

    for (tally = engine->tallies; tally != NULL; tally = tally->next)
        if (strcmp(tally->name, name) == 0)
            return tally;
    tally = dbi_calloc(1, sizeof *tally);
    if (tally == NULL)
        return NULL;
    (void)snprintf(tally->name, sizeof tally->name, "%s", name);
    for (dbi_stream *stream = atomic_load(&engine->writer->streams); stream != NULL; stream = stream->next)
        if (strcmp(stream->name, name) == 0)
            tally->stream = stream;
    tally->next = engine->tallies;
    engine->tallies = tally;
    return tally;
}

/* Up to where there is nothing to ship. */
static uint64_t landed_of(const dbi_chain_view *chain) {
    return chain->landed > chain->base ? chain->landed : chain->base;
}

/* The shipper says what happened; called by the thread that runs it, with no lock held. */
static void duty_heard(void *arg, const dbi_ship_event *event) {
    dbi__duty *duty = arg;

    if (event->kind != DBI_SHIP_EVENT_CHANGED || event->schema == NULL || duty->tally->stream == NULL)
        return;
    (void)pthread_mutex_lock(&duty->engine->lock);
    /* Without memory the events go on as before: the shipper casts them. */
    (void)!dbi__stream_changed(duty->tally->stream, event->schema, NULL);
    (void)pthread_mutex_unlock(&duty->engine->lock);
}

static dbi_rc duty_new(dbi__engine *engine, dbi_chain *chain, dbi_err *err) {
    const dbi_writer *writer = engine->writer;
    dbi__duty *duty = dbi_calloc(1, sizeof *duty);
    dbi_shipper_config config;
    dbi_chain_view view;
    dbi_rc rc;

    dbi_chain_view_get(chain, &view);
    if (duty == NULL || (duty->tally = tally_of(engine, view.name)) == NULL) {
        dbi_free(duty);
        return dbi_err_set(err, DBI_ENOMEM, "no memory to ship stream \"%s\"", view.name);
    }
    duty->engine = engine;
    duty->chain = chain;
    dbi_shipper_defaults(&config);
    config.chain = chain;
    config.pool = writer->config.pool;
    config.breaker = writer->config.breaker;
    config.dead_directory = writer->dead_directory;
    config.slot = engine->slot;
    config.batch_bytes = writer->config.batch_bytes;
    config.stall_timeout = writer->config.stall_timeout;
    config.on_event = duty_heard;
    config.on_event_arg = duty;
    rc = dbi_shipper_new(&duty->shipper, &config, err);
    if (rc != DBI_OK) {
        dbi_free(duty);
        return rc;
    }
    duty->landed = landed_of(&view);
    if (view.held > 0) { /* about as old as their segment; a clock that was set back does not make them younger */
        int64_t age = (dbi_clock_wall_us() - view.oldest_wall_us) * DBI_NS_PER_US;

        marks_move(&duty->marks, view.landed, view.last, dbi_clock_now(NULL) - (age > 0 ? age : 0));
    }
    duty->not_before = INT64_MIN;
    duty->number = ++engine->duty_number;
    duty->next = engine->duties;
    engine->duties = duty;
    return DBI_OK;
}

dbi_rc dbi__engine_enumerate(dbi__engine *engine, dbi_err *err) {
    dbi_chain **chains = NULL;
    size_t capacity = 16, count = 0;
    dbi_rc rc = DBI_OK;

    for (;;) { /* until the list fits: another call may have added to it meanwhile */
        dbi_free(chains);
        chains = dbi_malloc(capacity * sizeof(dbi_chain *));
        if (chains == NULL)
            return dbi_err_set(err, DBI_ENOMEM, "no memory for the list of chains");
        count = dbi_journal_chains(engine->journal, chains, capacity);
        if (count <= capacity)
            break;
        capacity = 2 * count;
    }
    for (size_t i = 0; i < count && rc == DBI_OK; i++) {
        dbi__duty *duty = engine->duties;

        while (duty != NULL && duty->chain != chains[i])
            duty = duty->next;
        if (duty == NULL)
            rc = duty_new(engine, chains[i], err);
    }
    dbi_free(chains);
    return rc;
}

void dbi__duty_retire(dbi__duty *duty) {
    dbi_ship_view ship;

    dbi_shipper_view(duty->shipper, &ship);
    for (int i = 0; i < DBI_REACTION_COUNT; i++)
        duty->tally->reactions[i] += ship.reactions[i];
    dbi__duty_count(duty, &duty->tally->gone);
    dbi_histogram_merge(duty->engine->gone_durations, dbi_shipper_durations(duty->shipper));
    dbi_shipper_free(duty->shipper);
    dbi_free(duty);
}

/* Lets go of chains that have nothing to read any more. @locks engine held */
static void duties_retire(dbi__engine *engine) {
    for (dbi__duty **at = &engine->duties, *duty; (duty = *at) != NULL;) {
        dbi_chain_view view;

        dbi_chain_view_get(duty->chain, &view);
        if (!view.gone || duty->busy) {
            at = &duty->next;
        } else {
            *at = duty->next;
            dbi__duty_retire(duty);
        }
    }
}

/* -- shipping ----------------------------------------------------------------------------------------------------- */

/* When rows that wait are to be shipped: with a whole batch, after a rest; at once when they are many batches, wanted by
 * a flush, or old, and those of no open stream. @locks engine held */
static int64_t rows_due(const dbi__duty *duty, uint64_t waiting, int64_t now) {
    const dbi_stream *stream = duty->tally->stream;
    int64_t due = now;

    if (stream != NULL && duty->asked <= duty->landed && waiting / RESTLESS < stream->config.batch_size) {
        due = duty->marks.all[0].at + stream->config.batch_timeout;
        if (waiting >= stream->config.batch_size)
            due = earlier(due, duty->rest_until);
    }
    return due > duty->not_before ? due : duty->not_before;
}

/* When to look for rows again: when a batch will be whole, if they go on coming as since the last look. @locks engine
 * held */
static int64_t look_again(dbi__duty *duty, uint64_t last, int64_t now) {
    const dbi_stream *stream = duty->tally->stream;
    int64_t tick = duty->engine->writer->config.tick, wait = LOOK_TICKS * tick;
    uint64_t came = last - duty->looked_last, whole = stream != NULL ? stream->config.batch_size : 1;
    uint64_t waiting = last - duty->landed;

    if (now < duty->looked_at + tick)
        return duty->look_at;
    if (stream != NULL)
        wait = earlier(wait, stream->config.batch_timeout / 8);
    if (came > 0) {
        double left = waiting < whole ? (double)(whole - waiting) : 0;

        wait = earlier(wait, (int64_t)((double)(now - duty->looked_at) * left / (double)came));
    }
    duty->looked_at = now;
    duty->looked_last = last;
    duty->look_at = now + (wait > tick ? wait : tick);
    return duty->look_at;
}

/* Whether a thread is to ship the chain now; else *when becomes the time to look again, if that is sooner. Rows that
 * have not landed get their age here: so an append need not tell anybody that it happened. @locks engine held */
static bool duty_due(dbi__duty *duty, int64_t now, int64_t *when) {
    uint64_t last = dbi_chain_last(duty->chain);
    int64_t due;

    marks_move(&duty->marks, duty->landed, last, now);
    *when = earlier(*when, look_again(duty, last, now));
    if (duty->busy)
        return false;
    if (!duty->held_up && last > duty->landed)
        due = rows_due(duty, last - duty->landed, now);
    else /* a back-off or a hold will be over, or what has landed is to be looked at again */
        due = duty->ran ? dbi_shipper_due(duty->shipper) : DBI_FOREVER;
    *when = earlier(*when, due);
    return due <= now;
}

/* The next chain to ship, each in its turn; NULL: none before *when. @locks engine held */
static dbi__duty *duty_pick(dbi__engine *engine, int64_t now, int64_t *when) {
    dbi__duty *first = NULL, *after = NULL;
    bool passed = false;

    for (dbi__duty *duty = engine->duties; duty != NULL; duty = duty->next) {
        if (duty_due(duty, now, when)) {
            if (first == NULL)
                first = duty;
            if (passed && after == NULL)
                after = duty;
        }
        if (duty->number == engine->turn)
            passed = true;
    }
    if (after == NULL)
        after = first;
    if (after != NULL)
        engine->turn = after->number;
    return after;
}

/* What an earlier process left of the chain is another chain now; a flush that waits for it goes on waiting.
 * @locks engine held */
static void duty_parted(dbi__engine *engine, dbi__duty *duty, uint64_t parted) {
    duty->parted = parted;
    for (dbi__flush *flush = engine->flushes; flush != NULL; flush = flush->next)
        for (size_t i = 0; i < flush->count; i++)
            if (flush->goals[i].duty == duty->number)
                flush->parted += parted;
    engine->uncounted = dbi__engine_enumerate(engine, NULL) != DBI_OK; /* the keeper tries again */
}

void dbi__engine_free_buffers(dbi__engine *engine) {
    while (engine->buffer_count > 0)
        dbi_ship_buffers_free(&engine->buffers[--engine->buffer_count]);
}

/* @locks engine held; let go of while the server is waited for */
static void duty_run(dbi__engine *engine, dbi__duty *duty) {
    const dbi_stream *stream = duty->tally->stream;
    int64_t tick = engine->writer->config.tick, began = dbi_clock_now(NULL), ended, rest;
    uint64_t before = duty->landed;
    dbi_ship_buffers buffers = {0};
    dbi_chain_view view;
    dbi_ship_next next;
    dbi_rc rc;

    duty->busy = true;
    if (engine->buffer_count > 0)
        buffers = engine->buffers[--engine->buffer_count];
    (void)pthread_mutex_unlock(&engine->lock);
    rc = dbi_shipper_run(duty->shipper, &buffers, engine->cancel_fd, &next, NULL);
    if (rc != DBI_OK || !next.more)
        dbi_ship_buffers_free(&buffers);
    (void)pthread_mutex_lock(&engine->lock);
    if (rc == DBI_OK && next.more)
        engine->buffers[engine->buffer_count++] = buffers; /* there are never more of them than threads */
    else
        dbi__engine_free_buffers(engine);
    dbi_chain_view_get(duty->chain, &view);
    duty->busy = false;
    duty->ran = true;
    duty->held_up = rc != DBI_OK;
    duty->landed = landed_of(&view);
    if (view.parted != duty->parted)
        duty_parted(engine, duty, view.parted);
    /* A server that takes long for a shipment gets fewer and larger ones. */
    ended = dbi_clock_now(NULL);
    rest = REST * (ended - began);
    if (stream != NULL)
        rest = earlier(rest, stream->config.batch_timeout / 4);
    duty->rest_until = ended + (rest > tick ? rest : tick);
    /* Nothing came of it, and nothing was wrong: no reason to be called again at once. */
    duty->not_before = rc == DBI_OK && duty->landed == before ? ended + tick : INT64_MIN;
    dbi__engine_flushed(engine, false);
    if (duty->tally->stream != NULL && duty->tally->stream->waiting.first != NULL)
        (void)pthread_cond_signal(&engine->keep);
}

/* Waits for a signal or until `until`. @locks engine held */
static void wait_until(dbi__engine *engine, pthread_cond_t *cond, int64_t until) {
    struct timespec at = dbi_clock_timespec(until);

    if (until == DBI_FOREVER)
        (void)pthread_cond_wait(cond, &engine->lock);
    else
        (void)pthread_cond_timedwait(cond, &engine->lock, &at);
}

/* One idle thread watches the clock; it calls the next one before it goes to work. */
static void *shipper_main(void *arg) {
    dbi__engine *engine = arg;

    (void)pthread_mutex_lock(&engine->lock);
    while (!engine->stop) {
        int64_t now = dbi_clock_now(NULL), when = now + LOOK_TICKS * engine->writer->config.tick;
        dbi__duty *duty = duty_pick(engine, now, &when);

        if (duty != NULL) {
            if (!engine->watched)
                (void)pthread_cond_signal(&engine->work);
            duty_run(engine, duty);
        } else if (engine->watched) {
            wait_until(engine, &engine->work, DBI_FOREVER);
        } else {
            engine->watched = true;
            wait_until(engine, &engine->work, when);
            engine->watched = false;
        }
    }
    (void)pthread_mutex_unlock(&engine->lock);
    return NULL;
}

/* -- flushing ----------------------------------------------------------------------------------------------------- */

uint64_t dbi__flush_left(const dbi__engine *engine, const dbi__flush *flush) {
    uint64_t left = flush->parted;

    for (size_t i = 0; i < flush->count; i++)
        for (const dbi__duty *duty = engine->duties; duty != NULL; duty = duty->next)
            if (duty->number == flush->goals[i].duty && duty->landed < flush->goals[i].upto)
                left += flush->goals[i].upto - duty->landed;
    return left;
}

void dbi__engine_flushed(dbi__engine *engine, bool all) {
    for (dbi__flush **at = &engine->flushes, *flush; (flush = *at) != NULL;) {
        flush->receipt.left = dbi__flush_left(engine, flush);
        if (flush->receipt.left > 0 && !all && dbi_clock_left(NULL, flush->deadline) > 0) {
            at = &flush->next;
            continue;
        }
        if (flush->receipt.left > 0)
            (void)dbi_err_set(&flush->receipt.err, DBI_ETIMEOUT, "%llu events have not landed within the timeout",
                              (unsigned long long)flush->receipt.left);
        *at = flush->next;
        dbi__receipt_deliver(&flush->receipt);
    }
}

/* -- keeping ------------------------------------------------------------------------------------------------------ */

/* The keeper must go on whatever happens: what failed is tried again in the next round, and shows in the journal's view
 * or comes back to those who append. */
static void *keeper_main(void *arg) {
    dbi__engine *engine = arg;
    const dbi_writer *writer = engine->writer;
    int64_t adopt_at = 0, tidy_at = 0;
    uint64_t before = 0;

    (void)pthread_mutex_lock(&engine->lock);
    while (!engine->stop) {
        int64_t now = dbi_clock_now(NULL), until = now + KEEP_IDLE;
        bool changed = false, found = false, waited_for = false;
        uint64_t taken = 0;

        (void)pthread_mutex_unlock(&engine->lock);
        (void)!dbi_journal_tend(engine->journal, &changed, NULL); /* its view says what went wrong */
        if (now >= adopt_at) {
            (void)!dbi_journal_adopt(engine->journal, &found, NULL);
            adopt_at = found ? 0 : now + writer->config.adopt_every; /* there may be more of them */
        }
        if (now >= tidy_at) {
            dbi_pool_tidy(writer->config.pool);
            tidy_at = now + POOL_TIDY;
        }
        (void)pthread_mutex_lock(&engine->lock);
        if (changed || found || engine->uncounted)
            engine->uncounted = dbi__engine_enumerate(engine, NULL) != DBI_OK;
        duties_retire(engine);
        for (dbi_stream *stream = atomic_load(&engine->writer->streams); stream != NULL; stream = stream->next)
            waited_for = dbi__stream_take_waiting(stream, engine) || waited_for;
        dbi__engine_flushed(engine, false);
        for (const dbi__duty *duty = engine->duties; duty != NULL; duty = duty->next)
            taken += dbi_chain_last(duty->chain);
        if (taken - before > KEEP_MANY)
            until = now + KEEP_BUSY;
        else if (waited_for)
            until = now + KEEP_WAITED_FOR;
        before = taken;
        for (const dbi__flush *flush = engine->flushes; flush != NULL; flush = flush->next)
            until = earlier(until, flush->deadline);
        if (!engine->stop)
            wait_until(engine, &engine->keep, until);
    }
    (void)pthread_mutex_unlock(&engine->lock);
    return NULL;
}

/* -- syncing ------------------------------------------------------------------------------------------------------ */

/* Whether somebody waits for an fsync of the stream. @locks engine held */
static bool sync_wanted(const dbi_stream *stream) {
    for (uint32_t i = 0; i < stream->config.lanes; i++)
        if (stream->lanes[i].syncing.first != NULL)
            return true;
    return false;
}

/* Those who came while an fsync was under way share the next one. */
static void *syncer_main(void *arg) {
    dbi__engine *engine = arg;

    (void)pthread_mutex_lock(&engine->lock);
    while (!engine->stop) {
        int64_t now = dbi_clock_now(NULL), until = DBI_FOREVER;
        bool synced = false;

        for (dbi_stream *stream = atomic_load(&engine->writer->streams); stream != NULL; stream = stream->next) {
            dbi_durability durability = stream->config.durability;

            if (durability != DBI_DURABILITY_INTERVAL && durability != DBI_DURABILITY_SYNC)
                continue;
            if (now >= stream->sync_at || sync_wanted(stream)) {
                dbi__stream_sync(stream, engine);
                stream->sync_at = dbi_clock_now(NULL) + stream->config.sync_interval;
                synced = true;
            }
            until = earlier(until, stream->sync_at);
        }
        if (!synced && !engine->stop) /* after an fsync, others may have come: look again before waiting */
            wait_until(engine, &engine->sync, until);
    }
    (void)pthread_mutex_unlock(&engine->lock);
    return NULL;
}

/* -- threads ------------------------------------------------------------------------------------------------------ */

static dbi_rc thread_start(dbi__engine *engine, void *(*run)(void *), const char *what, dbi_err *err) {
    int sys = pthread_create(&engine->threads[engine->thread_count], NULL, run, engine);

    if (sys != 0)
        return dbi_err_sys(err, DBI_ESYS, sys, "the thread that %s", what);
    engine->thread_count++;
    return DBI_OK;
}

dbi_rc dbi__engine_start_syncer(dbi__engine *engine, dbi_err *err) {
    sigset_t all, old;
    dbi_rc rc;

    if (engine->syncer_runs)
        return DBI_OK;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = thread_start(engine, syncer_main, "syncs the journal to disk", err);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    engine->syncer_runs = rc == DBI_OK;
    return rc;
}

dbi_rc dbi__engine_start(dbi__engine *engine, dbi_err *err) {
    sigset_t all, old;
    dbi_rc rc = DBI_OK;

    if (atomic_load(&engine->state) != DBI__ENGINE_IDLE)
        return DBI_OK;
    (void)sigfillset(&all); /* signals are for the application's threads */
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    if (!engine->keeper_runs) {
        rc = thread_start(engine, keeper_main, "keeps the journal", err);
        engine->keeper_runs = rc == DBI_OK;
    }
    while (engine->keeper_runs && engine->shippers_run < engine->writer->config.shippers) {
        rc = thread_start(engine, shipper_main, "ships events", err);
        if (rc != DBI_OK)
            break;
        engine->shippers_run++;
    }
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (engine->shippers_run == 0)
        return rc;
    for (const dbi_stream *stream = atomic_load(&engine->writer->streams); stream != NULL; stream = stream->next) {
        rc = stream->config.durability >= DBI_DURABILITY_INTERVAL ? dbi__engine_start_syncer(engine, err) : DBI_OK;
        if (rc != DBI_OK)
            return rc;
    }
    atomic_store(&engine->state, DBI__ENGINE_RUNNING);
    return DBI_OK;
}

void dbi__engine_stop(dbi__engine *engine) {
    (void)pthread_mutex_lock(&engine->lock);
    engine->stop = true;
    (void)eventfd_write(engine->cancel_fd, 1);
    (void)pthread_cond_broadcast(&engine->work);
    (void)pthread_cond_broadcast(&engine->keep);
    (void)pthread_cond_broadcast(&engine->sync);
    (void)pthread_mutex_unlock(&engine->lock);
    for (; engine->thread_count > 0; engine->thread_count--)
        (void)pthread_join(engine->threads[engine->thread_count - 1], NULL);
}
