/* stream.c - see stream.h */
#include <string.h>

#include "alloc.h"
#include "writer_int.h"

#define RUN_MIN 64u /* rows in a row that go to one lane */

/* -- opening ------------------------------------------------------------------------------------------------------ */

void dbi_stream_defaults(dbi_stream_config *config) {
    *config = (dbi_stream_config){
        .durability = DBI_DURABILITY_PROCESS,
        .sync_interval = 100 * DBI_NS_PER_MS,
        .batch_size = 100,
        .batch_timeout = DBI_NS_PER_S,
        .lanes = 1,
        .when_full = DBI_FULL_BLOCK,
        .block_timeout = DBI_FOREVER,
        .waiting_max = 10000,
    };
}

static dbi_rc config_check(const dbi_stream_config *config, unsigned *key_column, dbi_err *err) {
    const dbi_schema *schema = config->schema;

    if (config->lanes < 1 || config->lanes > DBI_STREAM_LANES_MAX)
        return dbi_err_set(err, DBI_ECONFIG, "stream \"%s\": lanes must be within 1 to %d, not %u", config->name,
                           DBI_STREAM_LANES_MAX, config->lanes);
    if (config->batch_size < 1)
        return dbi_err_set(err, DBI_ECONFIG, "stream \"%s\": batch_size must be 1 or more", config->name);
    if (config->batch_timeout < 0 || config->block_timeout < 0)
        return dbi_err_set(err, DBI_ECONFIG, "stream \"%s\": a timeout must not be negative", config->name);
    if (config->sync_interval < DBI_NS_PER_MS)
        return dbi_err_set(err, DBI_ECONFIG, "stream \"%s\": sync_interval must be 1 ms or more", config->name);
    *key_column = 0;
    if (config->lane_key == NULL)
        return DBI_OK;
    for (; *key_column < schema->column_count; (*key_column)++)
        if (strcmp(schema->columns[*key_column].name, config->lane_key) == 0)
            return DBI_OK;
    return dbi_err_set(err, DBI_ECONFIG, "stream \"%s\": lane_key names no column of it: \"%.80s\"", config->name,
                       config->lane_key);
}

static void kept_free(dbi__schema_kept *kept) {
    dbi_schema_free(kept->schema);
    dbi_free(kept->meta);
    dbi_free(kept);
}

static bool kept_is_newest(const dbi_stream *stream, const dbi__schema_kept *kept) {
    const dbi__schema_kept *newest = stream->schemas;

    return newest != NULL && newest->meta_length == kept->meta_length &&
           memcmp(newest->meta, kept->meta, kept->meta_length) == 0;
}

void dbi__stream_free(dbi_stream *stream) {
    if (stream == NULL)
        return;
    for (dbi__schema_kept *kept = stream->schemas, *next; kept != NULL; kept = next) {
        next = kept->next;
        kept_free(kept);
    }
    dbi_free(stream->lane_key);
    dbi_free(stream);
}

/* Keeps a copy of the schema, where it is another one, and makes it the one to encode by. @locks engine, once the stream is known to others */
static dbi_rc schema_keep(dbi_stream *stream, const dbi_schema *schema, dbi_err *err) {
    dbi__schema_kept *kept = dbi_calloc(1, sizeof *kept);
    dbi_rc rc;

    if (kept == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for the columns of stream \"%s\"", stream->name);
    rc = dbi_schema_copy(&kept->schema, schema, err);
    if (rc == DBI_OK)
        rc = dbi_stream_meta_pack(stream->name, schema, &kept->meta, &kept->meta_length, err);
    if (rc != DBI_OK || kept_is_newest(stream, kept)) { /* chains of several lanes tell of the same change */
        kept_free(kept);
        return rc;
    }
    kept->next = stream->schemas;
    stream->schemas = kept;
    atomic_store_explicit(&stream->schema, kept->schema, memory_order_release);
    return DBI_OK;
}

dbi_rc dbi__stream_new(dbi_stream **stream_out, dbi_writer *writer, const dbi_stream_config *config, dbi_err *err) {
    dbi_stream *stream = NULL;
    unsigned key_column = 0;
    dbi_rc rc;

    *stream_out = NULL;
    if (strlen(config->name) == 0 || strlen(config->name) >= DBI_STREAM_NAME_SIZE)
        return dbi_err_set(err, DBI_ECONFIG, "the name of a stream has 1 to %d bytes: \"%.80s\"",
                           DBI_STREAM_NAME_SIZE - 1, config->name);
    rc = config_check(config, &key_column, err);
    if (rc != DBI_OK)
        return rc;
    stream = dbi_calloc(1, sizeof *stream + config->lanes * sizeof *stream->lanes);
    if (stream == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for stream \"%s\"", config->name);
    stream->writer = writer;
    stream->config = *config;
    stream->config.schema = NULL;
    strcpy(stream->name, config->name);
    stream->config.name = stream->name;
    if (config->lane_key != NULL && (stream->lane_key = dbi_strdup(config->lane_key)) == NULL) {
        rc = dbi_err_set(err, DBI_ENOMEM, "no memory for stream \"%s\"", config->name);
        goto done;
    }
    stream->config.lane_key = stream->lane_key;
    stream->key_column = key_column;
    stream->run = config->batch_size > RUN_MIN ? config->batch_size : RUN_MIN;
    rc = schema_keep(stream, config->schema, err);
    if (rc != DBI_OK)
        goto done;
    *stream_out = stream;
    stream = NULL;
done:
    dbi__stream_free(stream);
    return rc;
}

dbi_rc dbi__stream_agrees(const dbi_stream *stream, const dbi_stream_config *config, dbi_err *err) {
    const dbi_stream_config *mine = &stream->config;
    const char *field = NULL;

#define DIFFERS(name)                                                                                                  \
    if (field == NULL && mine->name != config->name)                                                                   \
    field = #name
    DIFFERS(durability);
    DIFFERS(sync_interval);
    DIFFERS(batch_size);
    DIFFERS(batch_timeout);
    DIFFERS(lanes);
    DIFFERS(when_full);
    DIFFERS(block_timeout);
    DIFFERS(waiting_max);
#undef DIFFERS
    if (field == NULL && ((mine->lane_key == NULL) != (config->lane_key == NULL) ||
                          (mine->lane_key != NULL && strcmp(mine->lane_key, config->lane_key) != 0)))
        field = "lane_key";
    if (field == NULL) {
        const dbi__schema_kept *first = stream->schemas; /* as it was opened: the last of the list */
        uint8_t *meta;
        size_t length;
        dbi_rc rc = dbi_stream_meta_pack(stream->name, config->schema, &meta, &length, err);

        if (rc != DBI_OK)
            return rc;
        while (first->next != NULL)
            first = first->next;
        if (length != first->meta_length || memcmp(meta, first->meta, length) != 0)
            field = "its columns";
        dbi_free(meta);
    }
    return field == NULL ? DBI_OK
                         : dbi_err_set(err, DBI_ECONFIG,
                                       "stream \"%s\" is open already, with another value for %s: give one of the two "
                                       "another name",
                                       stream->name, field);
}

/* -- lanes -------------------------------------------------------------------------------------------------------- */

/* @locks engine held, or nobody else knows it */
static dbi_rc lane_open(dbi_stream *stream, dbi__engine *engine, uint32_t number, const dbi__schema_kept *kept,
                        dbi_err *err) {
    const dbi_chain_config config = {
        .name = stream->name,
        .lane = number,
        .durability = stream->config.durability,
        .meta = kept->meta,
        .meta_length = kept->meta_length,
    };
    dbi__lane *lane = &stream->lanes[number];
    dbi_chain *chain;
    dbi_rc rc = dbi_journal_chain(engine->journal, &config, &chain, err);

    if (rc != DBI_OK)
        return rc;
    atomic_store_explicit(&lane->schema, kept->schema, memory_order_relaxed);
    atomic_store_explicit(&lane->chain, chain, memory_order_release);
    return DBI_OK;
}

dbi_rc dbi__stream_open(dbi_stream *stream, dbi__engine *engine, dbi_err *err) {
    atomic_store(&stream->rejected, 0);
    atomic_store(&stream->waiting_count, 0);
    stream->waiting = (dbi__wishes){0};
    for (uint32_t i = 0; i < stream->config.lanes; i++) {
        dbi_rc rc;

        stream->lanes[i].syncing = (dbi__wishes){0};
        rc = lane_open(stream, engine, i, stream->schemas, err);
        if (rc != DBI_OK)
            return rc;
    }
    return DBI_OK;
}

uint64_t dbi__stream_waiting(const dbi_stream *stream) {
    uint64_t waiting = atomic_load(&stream->waiting_count);

    for (uint32_t i = 0; i < stream->config.lanes; i++)
        for (const dbi__wish *wish = stream->lanes[i].syncing.first; wish != NULL; wish = wish->next)
            waiting++;
    return waiting;
}

/* The lane goes on by another schema, or in a new chain: the old one was ended. */
DBI_NODISCARD static dbi_rc lane_renew(dbi_stream *stream, dbi__engine *engine, uint32_t number,
                                       const dbi_schema *schema, dbi_err *err) {
    const dbi__schema_kept *kept;
    dbi_rc rc = DBI_OK;

    (void)pthread_mutex_lock(&engine->lock);
    for (kept = stream->schemas; kept != NULL && kept->schema != schema; kept = kept->next)
        continue;
    if (kept == NULL)
        rc = dbi_err_set(err, DBI_EINVAL, "stream \"%s\": its columns were never these", stream->name);
    else
        rc = lane_open(stream, engine, number, kept, err);
    if (rc == DBI_OK)
        rc = dbi__engine_enumerate(engine, err);
    (void)pthread_mutex_unlock(&engine->lock);
    return rc;
}

dbi_rc dbi__stream_changed(dbi_stream *stream, const dbi_schema *schema, dbi_err *err) {
    const dbi_schema *old = atomic_load_explicit(&stream->schema, memory_order_relaxed);
    dbi_schema *changed;
    dbi_rc rc;

    if (schema->column_count != old->column_count)
        return DBI_OK; /* not the stream's columns: the shipper holds the chain and says why */
    rc = dbi_schema_copy(&changed, schema, err);
    if (rc != DBI_OK)
        return rc;
    for (unsigned i = 0; i < old->column_count; i++) /* what the stream's opener asked for stays */
        changed->columns[i].fill = old->columns[i].fill;
    if (dbi_schema_check(changed, NULL) == DBI_OK)
        rc = schema_keep(stream, changed, err);
    dbi_schema_free(changed);
    return rc;
}

/* FNV-1a of the key's bytes: rows that agree in them share a lane. */
static uint32_t lane_of_key(const dbi_stream *stream, const uint8_t *tuple, size_t length) {
    uint64_t hash = UINT64_C(14695981039346656037);
    size_t at = 2;

    for (unsigned column = 0;; column++) {
        uint32_t size;

        if (length < 4 || at > length - 4)
            return 0; /* shorter than its columns: append() was not given a tuple of the stream's */
        size = (uint32_t)tuple[at] << 24 | (uint32_t)tuple[at + 1] << 16 | (uint32_t)tuple[at + 2] << 8 | tuple[at + 3];
        at += 4;
        if (size == UINT32_MAX) /* NULL */
            size = 0;
        if (size > length - at)
            return 0;
        if (column < stream->key_column) {
            at += size;
            continue;
        }
        for (uint32_t i = 0; i < size; i++)
            hash = (hash ^ tuple[at + i]) * UINT64_C(1099511628211);
        return (uint32_t)((hash ^ hash >> 32) % stream->config.lanes);
    }
}

static inline uint32_t lane_choose(dbi_stream *stream, const uint8_t *tuple, size_t length) {
    if (stream->config.lanes == 1)
        return 0;
    if (stream->lane_key != NULL)
        return lane_of_key(stream, tuple, length);
    return atomic_fetch_add_explicit(&stream->turn, 1, memory_order_relaxed) / stream->run % stream->config.lanes;
}

/* -- taking an event ---------------------------------------------------------------------------------------------- */

/* Makes room by giving up the oldest rows of the stream, of the lane first. */
static bool room_make(dbi_stream *stream, uint32_t number) {
    for (uint32_t i = 0; i < stream->config.lanes; i++) {
        dbi__lane *lane = &stream->lanes[(number + i) % stream->config.lanes];
        uint64_t records;

        if (dbi_chain_drop_oldest(atomic_load_explicit(&lane->chain, memory_order_acquire), &records, NULL) == DBI_OK)
            return true;
    }
    return false;
}

static dbi_rc full(const dbi_stream *stream, dbi_err *err) {
    char why[sizeof err->msg] = "";

    if (err == NULL)
        return DBI_EFULL;
    memcpy(why, err->msg, sizeof why);
    return dbi_err_set(err, DBI_EFULL, "stream \"%s\" is full: %.*s", stream->name, (int)sizeof why - 160, why);
}

/* Where an event went. */
typedef struct event_place {
    dbi__lane *lane;
    dbi_chain *chain;
    uint64_t sequence;
} event_place;

/* What append() does when it does not go at once. @thread any */
static dbi_rc append_slowly(dbi_stream *stream, dbi__engine *engine, const dbi_schema *schema, const void *tuple,
                            size_t length, event_place *place, dbi_err *err) {
    uint32_t number = (uint32_t)(place->lane - stream->lanes);

    for (unsigned attempt = 0;; attempt++) {
        dbi_rc rc = DBI_ESTATE;

        place->chain = atomic_load_explicit(&place->lane->chain, memory_order_acquire);
        if (atomic_load_explicit(&place->lane->schema, memory_order_relaxed) == schema)
            rc = dbi_chain_append(place->chain, DBI_RECORD_ROW, tuple, length, &place->sequence, err);
        if (rc == DBI_ESTATE && attempt < 3) {
            rc = lane_renew(stream, engine, number, schema, err);
            if (rc == DBI_OK)
                continue;
        }
        if (rc == DBI_EFULL && stream->config.when_full == DBI_FULL_DROP_OLDEST && attempt < 1000 &&
            room_make(stream, number))
            continue;
        return rc == DBI_EFULL ? full(stream, err) : rc;
    }
}

/* Puts the event into a lane. DBI_EFULL is not counted. @locks none: engine may be taken */
static inline dbi_rc append(dbi_stream *stream, dbi__engine *engine, const dbi_schema *schema, const void *tuple,
                            size_t length, event_place *place, dbi_err *err) {
    place->lane = &stream->lanes[lane_choose(stream, tuple, length)];
    place->chain = atomic_load_explicit(&place->lane->chain, memory_order_acquire);
    if (__builtin_expect(atomic_load_explicit(&place->lane->schema, memory_order_relaxed) == schema, 1)) {
        dbi_rc rc = dbi_chain_append(place->chain, DBI_RECORD_ROW, tuple, length, &place->sequence, err);

        if (__builtin_expect(rc != DBI_ESTATE && rc != DBI_EFULL, 1))
            return rc;
    }
    return append_slowly(stream, engine, schema, tuple, length, place, err);
}

static inline dbi_rc append_unqueued(dbi_stream *stream, dbi__engine *engine, const dbi_schema *schema,
                                     const void *tuple, size_t length, dbi_err *err) {
    event_place place;
    dbi_rc rc;

    if (__builtin_expect(atomic_load_explicit(&stream->waiting_count, memory_order_acquire) != 0, 0))
        rc = dbi_err_set(err, DBI_EFULL, "stream \"%s\" is full: others wait for room", stream->name);
    else
        rc = append(stream, engine, schema, tuple, length, &place, err);
    if (rc == DBI_EFULL && stream->config.when_full != DBI_FULL_BLOCK)
        atomic_fetch_add_explicit(&stream->rejected, 1, memory_order_relaxed);
    return rc;
}

dbi_rc dbi_stream_append(dbi_stream *stream, const dbi_schema *schema, const void *tuple, size_t length, dbi_err *err) {
    dbi__engine *engine;
    dbi_rc rc = dbi__writer_enter(stream->writer, &engine, err);

    if (rc != DBI_OK)
        return rc;
    rc = append_unqueued(stream, engine, schema, tuple, length, err);
    dbi__engine_leave(engine);
    return rc;
}

dbi_rc dbi_stream_append_uncounted(dbi_stream *stream, const dbi_schema *schema, const void *tuple, size_t length,
                                   dbi_err *err) {
    dbi__engine *engine = atomic_load_explicit(&stream->writer->engine, memory_order_acquire);

    if (__builtin_expect(!dbi__engine_takes(engine), 0))
        return dbi_stream_append(stream, schema, tuple, length, err);
    return append_unqueued(stream, engine, schema, tuple, length, err);
}

bool dbi_stream_is_immediate(const dbi_stream *stream) {
    return stream->config.durability != DBI_DURABILITY_SYNC;
}

bool dbi_stream_may_wait(const dbi_stream *stream) {
    return stream->config.when_full == DBI_FULL_BLOCK;
}

/* -- those who wait ----------------------------------------------------------------------------------------------- */

static void wishes_add(dbi__wishes *wishes, dbi__wish *wish) {
    wish->next = NULL;
    if (wishes->first == NULL)
        wishes->first = wish;
    else
        wishes->last->next = wish;
    wishes->last = wish;
}

static void wishes_remove(dbi__wishes *wishes, dbi__wish *wish) {
    dbi__wish *before = NULL;

    for (dbi__wish *at = wishes->first; at != wish; at = at->next)
        before = at;
    if (before == NULL)
        wishes->first = wish->next;
    else
        before->next = wish->next;
    if (wishes->last == wish)
        wishes->last = before;
}

void dbi__receipt_deliver(dbi_receipt *receipt) {
    dbi_mailbox_deliver(receipt->letter.mailbox, &receipt->letter, &receipt->letter, 1);
}

/* It is in the journal: what is still to come? @locks engine */
static void wish_taken(dbi_stream *stream, dbi__engine *engine, dbi__wish *wish, const event_place *place) {
    if (stream->config.durability != DBI_DURABILITY_SYNC) {
        dbi__receipt_deliver(&wish->receipt);
        return;
    }
    wish->state = DBI__WISH_SYNCING;
    wish->chain = place->chain;
    wish->sequence = place->sequence;
    wishes_add(&place->lane->syncing, wish);
    (void)pthread_cond_signal(&engine->sync);
}

/* Puts the event into the queue for room, where that is asked for. @locks engine held */
static dbi_rc wish_queue(dbi_stream *stream, dbi__engine *engine, dbi__wish *wish, dbi_err *err) {
    const dbi_stream_config *config = &stream->config;

    if (config->when_full != DBI_FULL_BLOCK)
        return DBI_EFULL;
    if (atomic_load(&stream->waiting_count) >= config->waiting_max)
        return dbi_err_set(err, DBI_EFULL, "stream \"%s\" is full, and %u events wait for room already", stream->name,
                           config->waiting_max);
    wish->state = DBI__WISH_WAITING;
    wish->deadline = dbi_clock_deadline(NULL, config->block_timeout);
    atomic_fetch_add_explicit(&stream->waiting_count, 1, memory_order_release);
    wishes_add(&stream->waiting, wish);
    (void)pthread_cond_signal(&engine->keep);
    return DBI_OK;
}

dbi_rc dbi_stream_submit(dbi_stream *stream, const dbi_schema *schema, const void *tuple, size_t length,
                         dbi_mailbox *mailbox, void *user, dbi_err *err) {
    dbi__wish *wish = NULL;
    dbi__engine *engine;
    event_place place;
    dbi_rc rc;

    rc = dbi__writer_enter(stream->writer, &engine, err);
    if (rc != DBI_OK)
        return rc;
    wish = dbi_mailbox_promise(mailbox, sizeof *wish + length, user);
    if (wish == NULL) {
        rc = dbi_err_set(err, DBI_ENOMEM, "no memory for an event of stream \"%s\"", stream->name);
        goto done;
    }
    wish->schema = schema;
    wish->length = length;
    memcpy(wish->tuple, tuple, length);
    rc = DBI_EFULL;
    if (atomic_load_explicit(&stream->waiting_count, memory_order_acquire) == 0)
        rc = append(stream, engine, schema, tuple, length, &place, err);
    (void)pthread_mutex_lock(&engine->lock);
    if (rc == DBI_OK)
        wish_taken(stream, engine, wish, &place);
    else if (rc == DBI_EFULL)
        rc = wish_queue(stream, engine, wish, err);
    (void)pthread_mutex_unlock(&engine->lock);
    if (rc == DBI_EFULL)
        atomic_fetch_add_explicit(&stream->rejected, 1, memory_order_relaxed);
    if (rc != DBI_OK)
        dbi_mailbox_withdraw(&wish->receipt.letter);
done:
    dbi__engine_leave(engine);
    return rc;
}

bool dbi_stream_withdraw(dbi_stream *stream, const void *user) {
    dbi__engine *engine = dbi__engine_lock(stream->writer);
    dbi__wish *wish;

    if (engine == NULL) /* it is the parent's */
        return false;
    wish = stream->waiting.first;
    while (wish != NULL && (wish->receipt.letter.user != user || wish->state != DBI__WISH_WAITING))
        wish = wish->next;
    if (wish != NULL) {
        wishes_remove(&stream->waiting, wish);
        atomic_fetch_sub_explicit(&stream->waiting_count, 1, memory_order_release);
    }
    (void)pthread_mutex_unlock(&engine->lock);
    if (wish != NULL)
        dbi_mailbox_withdraw(&wish->receipt.letter);
    return wish != NULL;
}

bool dbi__stream_take_waiting(dbi_stream *stream, dbi__engine *engine) {
    dbi__wish *wish;

    while ((wish = stream->waiting.first) != NULL) {
        event_place place;
        dbi_rc rc;

        if (atomic_load(&engine->state) != DBI__ENGINE_RUNNING) {
            rc = dbi_err_set(&wish->receipt.err, DBI_ECLOSED,
                             "stream \"%s\" was closed while this event waited for room", stream->name);
        } else {
            wish->state = DBI__WISH_TAKING; /* nobody but this thread takes it out of the list now */
            (void)pthread_mutex_unlock(&engine->lock);
            rc = append(stream, engine, wish->schema, wish->tuple, wish->length, &place, &wish->receipt.err);
            (void)pthread_mutex_lock(&engine->lock);
            wish->state = DBI__WISH_WAITING;
            if (rc == DBI_EFULL && dbi_clock_left(NULL, wish->deadline) > 0)
                return true;
        }
        if (rc == DBI_EFULL)
            atomic_fetch_add_explicit(&stream->rejected, 1, memory_order_relaxed);
        wishes_remove(&stream->waiting, wish);
        atomic_fetch_sub_explicit(&stream->waiting_count, 1, memory_order_release);
        if (rc == DBI_OK) {
            dbi_err_reset(&wish->receipt.err);
            wish_taken(stream, engine, wish, &place);
        } else {
            dbi__receipt_deliver(&wish->receipt);
        }
    }
    return false;
}

/* Answers those who wait for fsync of the chain up to a sequence. @locks engine held */
static void lane_synced(dbi__lane *lane, const dbi_chain *chain, uint64_t upto, const dbi_err *err) {
    dbi__wish *wish = lane->syncing.first, *next;

    for (lane->syncing = (dbi__wishes){0}; wish != NULL; wish = next) {
        next = wish->next;
        if (wish->chain != chain || wish->sequence > upto) {
            wishes_add(&lane->syncing, wish);
            continue;
        }
        if (err != NULL)
            wish->receipt.err = *err;
        dbi__receipt_deliver(&wish->receipt);
    }
}

static void lane_sync(dbi__lane *lane, dbi_chain *chain, dbi__engine *engine) {
    uint64_t last = dbi_chain_last(chain), synced = 0;
    dbi_err err;
    dbi_rc rc;

    if (lane->synced_chain == chain && lane->synced >= last) {
        lane_synced(lane, chain, lane->synced, NULL);
        return;
    }
    (void)pthread_mutex_unlock(&engine->lock);
    rc = dbi_chain_sync(chain, &synced, &err);
    (void)pthread_mutex_lock(&engine->lock);
    if (rc == DBI_OK) {
        lane->synced_chain = chain;
        lane->synced = synced;
        lane_synced(lane, chain, synced, NULL);
    } else { /* what came before the attempt is in doubt; what came since has an attempt of its own */
        lane_synced(lane, chain, last, &err);
    }
}

void dbi__stream_sync(dbi_stream *stream, dbi__engine *engine) {
    for (uint32_t i = 0; i < stream->config.lanes; i++) {
        dbi__lane *lane = &stream->lanes[i];
        dbi_chain *chain = atomic_load_explicit(&lane->chain, memory_order_acquire);

        if (lane->syncing.first != NULL && lane->syncing.first->chain != chain) /* it was ended meanwhile */
            lane_sync(lane, lane->syncing.first->chain, engine);
        lane_sync(lane, chain, engine);
    }
}

/* -- small -------------------------------------------------------------------------------------------------------- */

const char *dbi_stream_name(const dbi_stream *stream) {
    return stream->name;
}

const dbi_schema *dbi_stream_schema(const dbi_stream *stream) {
    return atomic_load_explicit(&stream->schema, memory_order_acquire);
}
