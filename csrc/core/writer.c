/* writer.c - see writer.h */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "alloc.h"
#include "writer_int.h"

#define POLL_US 200 /* between two looks at whether calls in progress have ended */

/* -- the engine's life -------------------------------------------------------------------------------------------- */

static void cond_init(pthread_cond_t *cond) {
    pthread_condattr_t attr;

    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(cond, &attr);
    (void)pthread_condattr_destroy(&attr);
}

/* Gives up the journal and what reads it; the tallies keep the figures. @locks engine held, or nobody else knows it */
static void engine_release(dbi__engine *engine) {
    for (dbi__duty *duty = engine->duties, *next; duty != NULL; duty = next) {
        next = duty->next;
        dbi__duty_retire(duty);
    }
    engine->duties = NULL;
    dbi__engine_free_buffers(engine);
    for (dbi__tally *tally = engine->tallies; tally != NULL; tally = tally->next)
        tally->gone.chains = 0;
    dbi_journal_free(engine->journal);
    engine->journal = NULL;
    if (engine->cancel_fd >= 0)
        (void)close(engine->cancel_fd);
    engine->cancel_fd = -1;
}

/* Of this process, with no thread. */
static void engine_free(dbi__engine *engine) {
    if (engine == NULL)
        return;
    engine_release(engine);
    for (dbi__tally *tally = engine->tallies, *next; tally != NULL; tally = next) {
        next = tally->next;
        dbi_free(tally);
    }
    dbi_histogram_free(engine->gone_durations);
    (void)pthread_cond_destroy(&engine->work);
    (void)pthread_cond_destroy(&engine->keep);
    (void)pthread_cond_destroy(&engine->sync);
    (void)pthread_mutex_destroy(&engine->lock);
    dbi_free(engine);
}

/* Rows come fast enough to fill a segment: the next one, its pages and the rows themselves are not to wait until somebody
 * looks. */
static void engine_hurry(void *arg) {
    dbi__engine *engine = arg;

    (void)pthread_cond_signal(&engine->work);
    (void)pthread_cond_signal(&engine->keep);
}

static void engine_name_slot(dbi__engine *engine) {
    dbi_journal_view view;
    char host[65] = "";

    dbi_journal_view_get(engine->journal, &view);
    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(engine->slot, sizeof engine->slot, "%s %.40s/slot-%04u", host,
                   strlen(view.directory) > 40 ? view.directory + strlen(view.directory) - 40 : view.directory,
                   view.slot);
}

/* The engine of this process, with the chains of all streams. In a child, what waits for the parent is the parent's. */
static dbi_rc engine_new(dbi__engine **engine_out, dbi_writer *writer, dbi__engine *forebear, dbi_err *err) {
    dbi__engine *engine = dbi_calloc(1, sizeof *engine);
    dbi_journal_config journal = writer->config.journal;
    dbi_rc rc;

    *engine_out = NULL;
    if (engine == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for writer \"%s\"", writer->name);
    engine->fork = dbi__fork_now();
    engine->writer = writer;
    engine->forebear = forebear;
    (void)pthread_mutex_init(&engine->lock, NULL);
    cond_init(&engine->work);
    cond_init(&engine->keep);
    cond_init(&engine->sync);
    engine->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (engine->cancel_fd < 0) {
        rc = dbi_err_sys(err, DBI_ESYS, errno, "a descriptor for writer \"%s\"", writer->name);
        goto done;
    }
    rc = dbi_histogram_new(&engine->gone_durations, err);
    journal.rolled = engine_hurry;
    journal.rolled_arg = engine;
    if (rc == DBI_OK)
        rc = dbi_journal_open(&engine->journal, &journal, err);
    if (rc != DBI_OK)
        goto done;
    engine_name_slot(engine);
    for (dbi_stream *stream = atomic_load(&writer->streams); stream != NULL; stream = stream->next) {
        rc = dbi__stream_open(stream, engine, err);
        if (rc != DBI_OK)
            goto done;
    }
    rc = dbi__engine_enumerate(engine, err);
    if (rc != DBI_OK)
        goto done;
    *engine_out = engine;
    engine = NULL;
done:
    engine_free(engine);
    return rc;
}

/* Makes this process's engine; one thread does it, others wait for it. */
static dbi_rc writer_revive(dbi_writer *writer, dbi_err *err) {
    uint64_t now = dbi__fork_now();

    for (;;) {
        uint64_t reviving = atomic_load(&writer->reviving);
        dbi__engine *engine = atomic_load(&writer->engine);
        dbi__engine *own;
        dbi_rc rc;

        if (engine->fork == now)
            return DBI_OK;
        if (reviving == now || !atomic_compare_exchange_strong(&writer->reviving, &reviving, now)) {
            (void)usleep(POLL_US);
            continue;
        }
        if (atomic_load(&writer->engine) == engine) {
            rc = engine_new(&own, writer, engine, err);
            if (rc == DBI_OK) {
                (void)close(engine->cancel_fd); /* this process's copy of it */
                atomic_store(&writer->engine, own);
            }
        } else {
            rc = DBI_OK;
        }
        atomic_store(&writer->reviving, 0);
        return rc;
    }
}

static dbi_rc closed(const dbi_writer *writer, dbi_err *err) {
    return dbi_err_set(err, DBI_ECLOSED, "writer \"%s\" has been closed", writer->name);
}

dbi_rc dbi__writer_enter_slow(dbi_writer *writer, dbi__engine **engine_out, dbi_err *err) {
    for (;;) {
        dbi__engine *engine;
        dbi_rc rc;
        int state;

        if (atomic_load(&writer->closed))
            return closed(writer, err);
        rc = writer_revive(writer, err);
        if (rc != DBI_OK)
            return rc;
        engine = atomic_load(&writer->engine);
        atomic_fetch_add(&engine->users, 1);
        state = atomic_load(&engine->state);
        if (state == DBI__ENGINE_RUNNING) {
            *engine_out = engine;
            return DBI_OK;
        }
        if (state == DBI__ENGINE_IDLE) {
            (void)pthread_mutex_lock(&engine->lock);
            rc = dbi__engine_start(engine, err);
            (void)pthread_mutex_unlock(&engine->lock);
        }
        dbi__engine_leave(engine);
        if (rc != DBI_OK)
            return rc;
    }
}

dbi__engine *dbi__engine_lock(dbi_writer *writer) {
    dbi__engine *engine = atomic_load_explicit(&writer->engine, memory_order_acquire);

    if (engine->fork != dbi__fork_now())
        return NULL;
    (void)pthread_mutex_lock(&engine->lock);
    return engine;
}

/* -- the writer's life -------------------------------------------------------------------------------------------- */

void dbi_writer_defaults(dbi_writer_config *config) {
    *config = (dbi_writer_config){
        .name = "default",
        .shippers = 2,
        .tick = 20 * DBI_NS_PER_MS,
        .adopt_every = 5 * DBI_NS_PER_S,
        .batch_bytes = (size_t)4 << 20,
        .stall_timeout = 30 * DBI_NS_PER_S,
    };
    dbi_journal_defaults(&config->journal);
}

static dbi_rc config_check(const dbi_writer_config *config, dbi_err *err) {
    if (config->pool == NULL)
        return dbi_err_set(err, DBI_ECONFIG, "a writer needs a pool");
    if (config->name == NULL || config->name[0] == '\0')
        return dbi_err_set(err, DBI_ECONFIG, "a writer needs a name");
    if (config->journal.directory == NULL || config->journal.directory[0] == '\0')
        return dbi_err_set(err, DBI_ECONFIG, "writer \"%s\" needs a directory for its journal", config->name);
    if (config->shippers < 1 || config->shippers > DBI__SHIPPERS_MAX)
        return dbi_err_set(err, DBI_ECONFIG, "shippers must be within 1 to %d, not %u", DBI__SHIPPERS_MAX,
                           config->shippers);
    if (config->tick < DBI_NS_PER_MS || config->adopt_every < config->tick)
        return dbi_err_set(err, DBI_ECONFIG, "a tick takes 1 ms or more, and adopt_every a tick or more");
    return DBI_OK;
}

dbi_rc dbi_writer_new(dbi_writer **writer_out, const dbi_writer_config *config, dbi_err *err) {
    dbi_writer *writer = NULL;
    dbi__engine *engine;
    dbi_rc rc = config_check(config, err);
    size_t length;

    *writer_out = NULL;
    if (rc != DBI_OK)
        return rc;
    dbi__fork_watch();
    writer = dbi_calloc(1, sizeof *writer);
    if (writer == NULL)
        goto no_memory;
    writer->config = *config;
    writer->name = dbi_strdup(config->name);
    writer->directory = dbi_strdup(config->journal.directory);
    length = strlen(config->journal.directory) + sizeof "/dead";
    writer->dead_directory = dbi_malloc(length);
    if (writer->name == NULL || writer->directory == NULL || writer->dead_directory == NULL)
        goto no_memory;
    (void)snprintf(writer->dead_directory, length, "%s/dead", writer->directory);
    writer->config.name = writer->name;
    writer->config.journal.directory = writer->directory;
    rc = engine_new(&engine, writer, NULL, err);
    if (rc != DBI_OK)
        goto done;
    atomic_store(&writer->engine, engine);
    dbi_source_add(&writer->source, dbi__writer_collect, writer);
    *writer_out = writer;
    return DBI_OK;
no_memory:
    rc = dbi_err_set(err, DBI_ENOMEM, "no memory for writer \"%s\"", config->name);
done:
    dbi_writer_free(writer);
    return rc;
}

void dbi_writer_free(dbi_writer *writer) {
    dbi__engine *engine;

    if (writer == NULL)
        return;
    engine = atomic_load(&writer->engine);
    dbi_source_remove(&writer->source);
    if (engine != NULL) {
        (void)!dbi_writer_close(writer, 0, NULL, NULL); /* it may have been closed already */
        if (engine->fork == dbi__fork_now())
            engine_free(engine);
    }
    for (dbi_stream *stream = atomic_load(&writer->streams), *next; stream != NULL; stream = next) {
        next = stream->next;
        dbi__stream_free(stream);
    }
    dbi_free(writer->name);
    dbi_free(writer->directory);
    dbi_free(writer->dead_directory);
    dbi_free(writer);
}

dbi_rc dbi_writer_seal(dbi_writer *writer, dbi_err *err) {
    dbi__engine *engine = atomic_load(&writer->engine);

    if (atomic_exchange(&writer->closed, true))
        return closed(writer, err);
    if (engine->fork != dbi__fork_now())
        return DBI_OK;
    (void)pthread_mutex_lock(&engine->lock);
    atomic_store(&engine->sealed_running, atomic_load(&engine->state) == DBI__ENGINE_RUNNING);
    atomic_store(&engine->state, DBI__ENGINE_SEALED);
    (void)pthread_mutex_unlock(&engine->lock);
    while (atomic_load(&engine->users) > 0) /* calls that are taking an event */
        (void)usleep(POLL_US);
    (void)pthread_mutex_lock(&engine->lock);
    (void)pthread_cond_signal(&engine->keep); /* answers those who wait for room */
    (void)pthread_mutex_unlock(&engine->lock);
    dbi_writer_retry(writer); /* one more attempt for what waits for one */
    return DBI_OK;
}

dbi_rc dbi_writer_close(dbi_writer *writer, int64_t deadline, uint64_t *left, dbi_err *err) {
    dbi__engine *engine;
    dbi_stream_view view = {0};

    if (left != NULL)
        *left = 0;
    (void)!dbi_writer_seal(writer, NULL); /* or it has been sealed before */
    if (atomic_exchange(&writer->ended, true))
        return closed(writer, err);
    engine = atomic_load(&writer->engine);
    if (engine->fork != dbi__fork_now())
        return DBI_OK; /* the parent's: nothing of it is this process's */
    if (engine->sealed_running && dbi_clock_left(NULL, deadline) > 0)
        (void)!dbi_writer_flush(writer, deadline, NULL, NULL);
    dbi__engine_stop(engine);
    (void)pthread_mutex_lock(&engine->lock);
    for (dbi_stream *stream = atomic_load(&writer->streams); stream != NULL; stream = stream->next) {
        (void)dbi__stream_take_waiting(stream, engine);
        if (engine->sealed_running && stream->config.durability >= DBI_DURABILITY_INTERVAL)
            dbi__stream_sync(stream, engine);
    }
    dbi__engine_flushed(engine, true);
    for (const dbi__duty *duty = engine->duties; duty != NULL; duty = duty->next)
        dbi__duty_count(duty, &view);
    if (left != NULL)
        *left = view.journaled;
    engine_release(engine);
    atomic_store(&engine->state, DBI__ENGINE_CLOSED);
    (void)pthread_mutex_unlock(&engine->lock);
    return DBI_OK;
}

bool dbi_writer_closed(const dbi_writer *writer) {
    return atomic_load(&writer->closed);
}

dbi_rc dbi_writer_start(dbi_writer *writer, dbi_err *err) {
    dbi__engine *engine;
    dbi_rc rc = dbi__writer_enter(writer, &engine, err);

    if (rc == DBI_OK)
        dbi__engine_leave(engine);
    return rc;
}

/* -- streams ------------------------------------------------------------------------------------------------------ */

dbi_rc dbi_writer_stream(dbi_writer *writer, const dbi_stream_config *config, dbi_stream **stream_out, dbi_err *err) {
    dbi_stream *stream = NULL, *made = NULL;
    dbi__engine *engine;
    dbi_rc rc;

    *stream_out = NULL;
    if (atomic_load(&writer->closed))
        return closed(writer, err);
    rc = writer_revive(writer, err);
    if (rc == DBI_OK)
        rc = dbi__stream_new(&made, writer, config, err);
    if (rc != DBI_OK)
        return rc;
    engine = atomic_load(&writer->engine);
    (void)pthread_mutex_lock(&engine->lock);
    for (stream = atomic_load(&writer->streams); stream != NULL; stream = stream->next)
        if (strcmp(stream->name, config->name) == 0)
            break;
    if (stream != NULL) {
        rc = dbi__stream_agrees(stream, config, err);
    } else if (engine->journal == NULL) { /* closed since */
        rc = closed(writer, err);
    } else {
        rc = dbi__stream_open(made, engine, err);
        if (rc == DBI_OK)
            rc = dbi__engine_enumerate(engine, err);
        if (rc == DBI_OK && config->durability >= DBI_DURABILITY_INTERVAL &&
            atomic_load(&engine->state) == DBI__ENGINE_RUNNING)
            rc = dbi__engine_start_syncer(engine, err);
        if (rc == DBI_OK) {
            for (dbi__tally *tally = engine->tallies; tally != NULL; tally = tally->next)
                if (strcmp(tally->name, made->name) == 0)
                    tally->stream = made;
            stream = made;
            made = NULL;
            stream->next = atomic_load(&writer->streams);
            atomic_store(&writer->streams, stream);
            (void)pthread_cond_signal(&engine->sync);
        }
    }
    (void)pthread_mutex_unlock(&engine->lock);
    dbi__stream_free(made);
    if (rc == DBI_OK)
        *stream_out = stream;
    return rc;
}

/* -- flushing ----------------------------------------------------------------------------------------------------- */

dbi_rc dbi_writer_flush_later(dbi_writer *writer, int64_t deadline, dbi_mailbox *mailbox, void *user,
                              dbi_err *err) {
    dbi__engine *engine = dbi__engine_lock(writer);
    size_t count = 0;
    dbi__flush *flush;
    dbi_rc rc = DBI_OK;

    if (engine != NULL)
        for (const dbi__duty *duty = engine->duties; duty != NULL; duty = duty->next)
            count++;
    flush = dbi_mailbox_promise(mailbox, sizeof *flush + count * sizeof *flush->goals, user);
    if (flush == NULL) {
        rc = dbi_err_set(err, DBI_ENOMEM, "no memory to flush writer \"%s\"", writer->name);
        goto done;
    }
    flush->deadline = deadline;
    flush->receipt.flush = true;
    if (engine != NULL) {
        for (dbi__duty *duty = engine->duties; duty != NULL; duty = duty->next) {
            duty->asked = dbi_chain_last(duty->chain);
            flush->goals[flush->count++] = (dbi__goal){duty->number, duty->asked};
        }
        if (dbi__flush_left(engine, flush) > 0 && atomic_load(&engine->state) == DBI__ENGINE_IDLE)
            rc = dbi__engine_start(engine, err);
    }
    if (rc != DBI_OK) {
        dbi_mailbox_withdraw(&flush->receipt.letter);
        goto done;
    }
    if (engine == NULL || dbi__flush_left(engine, flush) == 0) { /* in a child, nothing has been taken yet */
        dbi__receipt_deliver(&flush->receipt);
        goto done;
    }
    flush->next = engine->flushes;
    engine->flushes = flush;
    (void)pthread_cond_broadcast(&engine->work);
    (void)pthread_cond_signal(&engine->keep); /* it has the deadlines */
done:
    if (engine != NULL)
        (void)pthread_mutex_unlock(&engine->lock);
    return rc;
}

bool dbi_writer_flush_withdraw(dbi_writer *writer, const void *user, uint64_t *left) {
    dbi__engine *engine = dbi__engine_lock(writer);
    dbi__flush **at, *flush;

    if (engine == NULL)
        return false;
    for (at = &engine->flushes; (flush = *at) != NULL && flush->receipt.letter.user != user; at = &flush->next)
        continue;
    if (flush != NULL) {
        *left = dbi__flush_left(engine, flush);
        *at = flush->next;
    }
    (void)pthread_mutex_unlock(&engine->lock);
    if (flush != NULL)
        dbi_mailbox_withdraw(&flush->receipt.letter);
    return flush != NULL;
}

dbi_rc dbi_writer_flush(dbi_writer *writer, int64_t deadline, uint64_t *left_out, dbi_err *err) {
    dbi_mailbox *mailbox = NULL;
    dbi_receipt *answer = NULL;
    uint64_t left = 0;
    dbi_rc rc = dbi_mailbox_new(&mailbox, false, err);

    if (rc == DBI_OK)
        rc = dbi_writer_flush_later(writer, deadline, mailbox, mailbox, err);
    if (rc != DBI_OK)
        goto done;
    answer = (dbi_receipt *)dbi_mailbox_wait(mailbox, deadline);
    if (answer == NULL && dbi_writer_flush_withdraw(writer, mailbox, &left))
        rc = dbi_err_set(err, DBI_ETIMEOUT, "%llu events have not landed within the timeout", (unsigned long long)left);
    else if (answer == NULL)
        answer = (dbi_receipt *)dbi_mailbox_wait(mailbox, DBI_FOREVER); /* it is there, or will be in no time */
    if (answer != NULL) {
        left = answer->left;
        rc = answer->err.rc;
        if (rc != DBI_OK && err != NULL)
            *err = answer->err;
    }
done:
    if (left_out != NULL)
        *left_out = left;
    dbi_letter_free(answer);
    dbi_mailbox_free(mailbox);
    return rc;
}

void dbi_writer_retry(dbi_writer *writer) {
    dbi__engine *engine = dbi__engine_lock(writer);

    if (engine == NULL)
        return;
    for (dbi__duty *duty = engine->duties; duty != NULL; duty = duty->next) {
        dbi_shipper_kick(duty->shipper);
        duty->not_before = INT64_MIN;
    }
    (void)pthread_cond_broadcast(&engine->work);
    (void)pthread_mutex_unlock(&engine->lock);
}

/* -- looking at it ------------------------------------------------------------------------------------------------ */

size_t dbi_writer_streams(dbi_writer *writer, dbi_stream_view *views, size_t capacity) {
    dbi__engine *engine = dbi__engine_lock(writer);
    size_t count = 0;

    if (engine == NULL) /* a child that has taken nothing yet */
        return 0;
    for (const dbi__tally *tally = engine->tallies; tally != NULL; tally = tally->next, count++)
        if (count < capacity)
            dbi__tally_view(engine, tally, &views[count]);
    (void)pthread_mutex_unlock(&engine->lock);
    return count;
}

size_t dbi_writer_chains(dbi_writer *writer, dbi_chain_report *reports, size_t capacity) {
    dbi__engine *engine = dbi__engine_lock(writer);
    size_t count = 0;

    if (engine == NULL)
        return 0;
    for (const dbi__duty *duty = engine->duties; duty != NULL; duty = duty->next, count++)
        if (count < capacity) {
            memcpy(reports[count].name, duty->tally->name, sizeof reports[count].name);
            dbi_chain_view_get(duty->chain, &reports[count].chain);
            reports[count].chain.name = reports[count].name;
            dbi_shipper_view(duty->shipper, &reports[count].ship);
            reports[count].retry_ns = -1;
            if (reports[count].ship.state == DBI_SHIP_HELD || reports[count].ship.state == DBI_SHIP_BACKING_OFF)
                reports[count].retry_ns = dbi_clock_left(NULL, dbi_shipper_due(duty->shipper));
        }
    (void)pthread_mutex_unlock(&engine->lock);
    return count;
}

bool dbi_writer_journal(dbi_writer *writer, dbi_journal_view *view) {
    dbi__engine *engine = dbi__engine_lock(writer);
    bool open = engine != NULL && engine->journal != NULL;

    *view = (dbi_journal_view){.directory = writer->directory};
    if (open)
        dbi_journal_view_get(engine->journal, view);
    if (engine != NULL)
        (void)pthread_mutex_unlock(&engine->lock);
    view->directory = writer->directory;
    return open;
}

bool dbi_writer_running(const dbi_writer *writer) {
    const dbi__engine *engine = atomic_load(&writer->engine);

    return engine->fork == dbi__fork_now() &&
           (atomic_load(&engine->state) == DBI__ENGINE_RUNNING ||
            (atomic_load(&engine->state) == DBI__ENGINE_SEALED && atomic_load(&engine->sealed_running)));
}

const char *dbi_writer_name(const dbi_writer *writer) {
    return writer->name;
}

const char *dbi_writer_directory(const dbi_writer *writer) {
    return writer->directory;
}
