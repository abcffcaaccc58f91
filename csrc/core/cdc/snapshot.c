/* snapshot.c - see snapshot.h */
#include "cdc/snapshot.h"

#include <inttypes.h>
#include <poll.h>
#include <string.h>

#include "alloc.h"
#include "cdc/envelope.h"
#include "cdc/relation.h"
#include "cdc/sorter.h"
#include "clock.h"
#include "text_int.h"

#define WAIT_SLICE (200 * DBI_NS_PER_MS)
#define ROWS_BETWEEN_LOOKS 4096u

/* How long a topic is looked for, or made, before the caller is told that no broker does it. */
#define TOPIC_PATIENCE (10 * DBI_NS_PER_S)

/* A transaction of our own that no time limit of the role's or the pooler's ends. A server whose peer reads nothing for
 * longer than tcp_user_timeout, for Kafka is slow, must not take it for dead. */
static const char begin_sql[] =
    "SET client_encoding = 'UTF8'; " DBI_RELATION_SETTINGS
    "; BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SET LOCAL row_security = off; "
    "SELECT pg_catalog.set_config(name, '0', true) FROM pg_catalog.pg_settings WHERE name IN ('statement_timeout', "
    "'lock_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout', 'tcp_user_timeout'); LOCK TABLE ";

struct dbi_table_snapshot {
    dbi_outlet *outlet;
    dbi_relations *relations;
    dbi_relation *relation; /* NULL before the first chunk */
    dbi_envelope *envelope;
    dbi_sorter *sorter;
    bool sorting; /* a broker has refused rows */
    uint32_t oid;
    bool only;
    uint64_t point;
    char *nspname, *relname, *filter, *topic, *dead_letter_topic;
    char **columns;
    unsigned column_count;

    dbi_cell *cells;
    unsigned cell_count;
    dbi__text sql, layout;
    dbi__text note;     /* about a row that is too large: what takes its place, or why it ends the chunk */
    dbi__text key;      /* values of the last row's key, each with its NUL */
    const char **parts; /* into key */
    unsigned part_room;
};

/* --- life --- */

static char *copied(const char *text, dbi_rc *rc) {
    char *copy = text != NULL ? dbi_strdup(text) : NULL;

    if (text != NULL && copy == NULL)
        *rc = DBI_ENOMEM;
    return copy;
}

dbi_rc dbi_table_snapshot_new(dbi_table_snapshot **snapshot_out, const dbi_table_snapshot_config *config,
                              dbi_err *err) {
    const dbi_envelope_options options = {
        .name = config->prefix, .database = config->database, .version = config->version};
    dbi_table_snapshot *snapshot = NULL;
    dbi_rc rc = DBI_OK;

    *snapshot_out = NULL;
    if (config->oid == 0 || config->version == NULL || config->nspname == NULL || config->relname == NULL ||
        config->topic == NULL || config->outlet == NULL || (config->column_count == 0) != (config->columns == NULL))
        return dbi_err_set(err, DBI_EINVAL, "a snapshot needs a table, a topic and an outlet");
    snapshot = dbi_calloc(1, sizeof *snapshot);
    if (snapshot == NULL) {
        rc = DBI_ENOMEM;
        goto done;
    }
    snapshot->outlet = config->outlet;
    snapshot->oid = config->oid;
    snapshot->only = config->only;
    snapshot->point = config->point;
    snapshot->nspname = copied(config->nspname, &rc);
    snapshot->relname = copied(config->relname, &rc);
    snapshot->filter = copied(config->filter, &rc);
    snapshot->topic = copied(config->topic, &rc);
    snapshot->dead_letter_topic = copied(config->dead_letter_topic, &rc);
    if (config->column_count > 0) {
        snapshot->columns = dbi_calloc(config->column_count, sizeof *snapshot->columns);
        if (snapshot->columns == NULL)
            rc = DBI_ENOMEM;
        for (unsigned i = 0; rc == DBI_OK && i < config->column_count; i++) {
            snapshot->columns[i] = copied(config->columns[i], &rc);
            snapshot->column_count++;
        }
    }
    if (rc != DBI_OK)
        goto done;
    rc = dbi_relations_new(&snapshot->relations, err);
    if (rc == DBI_OK)
        rc = dbi_envelope_new(&snapshot->envelope, &options, err);
    if (rc == DBI_OK)
        rc = dbi_sorter_new(&snapshot->sorter, snapshot->outlet, err);
    if (rc == DBI_OK) {
        *snapshot_out = snapshot;
        return DBI_OK;
    }
    dbi_table_snapshot_free(snapshot);
    return rc;
done:
    dbi_table_snapshot_free(snapshot);
    return dbi_err_set(err, rc, "no memory for a snapshot");
}

void dbi_table_snapshot_free(dbi_table_snapshot *snapshot) {
    if (snapshot == NULL)
        return;
    dbi_sorter_free(snapshot->sorter);
    dbi_envelope_free(snapshot->envelope);
    dbi_relations_free(snapshot->relations);
    for (unsigned i = 0; i < snapshot->column_count; i++)
        dbi_free(snapshot->columns[i]);
    dbi_free(snapshot->columns);
    dbi_free(snapshot->nspname);
    dbi_free(snapshot->relname);
    dbi_free(snapshot->filter);
    dbi_free(snapshot->topic);
    dbi_free(snapshot->dead_letter_topic);
    dbi_free(snapshot->cells);
    dbi_free(snapshot->parts);
    dbi__text_free(&snapshot->sql);
    dbi__text_free(&snapshot->layout);
    dbi__text_free(&snapshot->note);
    dbi__text_free(&snapshot->key);
    dbi_free(snapshot);
}

/* --- COPY's text format --- */

/* What stands behind a backslash. COPY TO writes no others; any other character stands for itself. */
static char unescaped(char letter) {
    switch (letter) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'v':
        return '\v';
    default:
        return letter;
    }
}

/* The bytes from `from` to `end` without backslashes, in place; where they end now. */
static char *unescape(char *from, const char *end) {
    char *to = from;

    while (from < end) {
        if (*from == '\\' && from + 1 < end) {
            *to++ = unescaped(from[1]);
            from += 2;
        } else {
            *to++ = *from++;
        }
    }
    return to;
}

dbi_rc dbi_copy_row_read(char *row, size_t length, dbi_cell *cells, unsigned count, dbi_err *err) {
    char *end = row + length, *at = row;
    unsigned found = 0;

    if (length > 0 && end[-1] == '\n')
        end--;
    for (;;) {
        char *tab = memchr(at, '\t', (size_t)(end - at)), *stop = tab != NULL ? tab : end, *slash;

        if (found == count)
            return dbi_err_set(err, DBI_ECORRUPT, "a row of COPY has more than %u fields", count);
        if (stop - at == 2 && at[0] == '\\' && at[1] == 'N') {
            cells[found++] = (dbi_cell){.kind = DBI_CELL_NULL};
        } else {
            slash = memchr(at, '\\', (size_t)(stop - at));
            if (slash != NULL)
                stop = unescape(slash, stop);
            cells[found++] = (dbi_cell){
                .kind = DBI_CELL_TEXT, .bytes = (const uint8_t *)at, .length = (uint32_t)(stop - at)};
        }
        if (tab == NULL)
            break;
        at = tab + 1;
    }
    return found == count
               ? DBI_OK
               : dbi_err_set(err, DBI_ECORRUPT, "a row of COPY has %u fields, and %u were asked for", found, count);
}

/* --- SQL --- */

static void put_name(dbi_table_snapshot *snapshot) {
    if (snapshot->only)
        dbi__text_put(&snapshot->sql, "ONLY ");
    dbi__text_identifier(&snapshot->sql, snapshot->nspname);
    dbi__text_put(&snapshot->sql, ".");
    dbi__text_identifier(&snapshot->sql, snapshot->relname);
}

static void put_key(dbi_table_snapshot *snapshot) {
    const dbi_relation *relation = snapshot->relation;

    for (unsigned i = 0; i < relation->key_count; i++) {
        dbi__text_put(&snapshot->sql, i > 0 ? ", " : "");
        dbi__text_identifier(&snapshot->sql, relation->columns[relation->key[i]].name);
    }
}

/* Rows can be read in the order of the key, which is unique and has no nulls. */
static bool keyed(const dbi_relation *relation) {
    return relation->key_count > 0;
}

static void put_copy(dbi_table_snapshot *snapshot, const char *const *after, uint64_t limit) {
    const dbi_relation *relation = snapshot->relation;
    dbi__text *sql = &snapshot->sql;

    dbi__text_reset(sql);
    dbi__text_put(sql, "COPY (SELECT ");
    for (unsigned i = 0; i < relation->column_count; i++) {
        dbi__text_put(sql, i > 0 ? ", " : "");
        dbi__text_identifier(sql, relation->columns[i].name);
    }
    dbi__text_put(sql, " FROM ");
    put_name(snapshot);
    if (snapshot->filter != NULL) {
        dbi__text_put(sql, " WHERE (");
        dbi__text_put(sql, snapshot->filter);
        dbi__text_put(sql, ")");
    }
    if (keyed(relation)) {
        if (after != NULL) {
            dbi__text_put(sql, snapshot->filter != NULL ? " AND (" : " WHERE (");
            put_key(snapshot);
            dbi__text_put(sql, ") > (");
            for (unsigned i = 0; i < relation->key_count; i++) {
                dbi__text_put(sql, i > 0 ? ", " : "");
                dbi__text_literal(sql, after[i]);
            }
            dbi__text_put(sql, ")");
        }
        dbi__text_put(sql, " ORDER BY ");
        put_key(snapshot);
        dbi__text_putf(sql, " LIMIT %llu", (unsigned long long)limit);
    }
    dbi__text_put(sql, ") TO STDOUT");
}

/* "public.orders(id:20:-1 name:25:-1) key(id)": all that decides on how rows are read and written. */
static void put_layout(dbi_table_snapshot *snapshot) {
    const dbi_relation *relation = snapshot->relation;
    dbi__text *layout = &snapshot->layout;

    dbi__text_reset(layout);
    dbi__text_identifier(layout, relation->nspname);
    dbi__text_put(layout, ".");
    dbi__text_identifier(layout, relation->relname);
    dbi__text_put(layout, "(");
    for (unsigned i = 0; i < relation->column_count; i++) {
        const dbi_relation_column *column = &relation->columns[i];

        dbi__text_put(layout, i > 0 ? " " : "");
        dbi__text_identifier(layout, column->name);
        dbi__text_putf(layout, ":%u:%d:%u", column->type, column->typmod, column->base);
    }
    dbi__text_put(layout, ") key(");
    for (unsigned i = 0; i < relation->key_count; i++) {
        dbi__text_put(layout, i > 0 ? " " : "");
        dbi__text_identifier(layout, relation->columns[relation->key[i]].name);
    }
    dbi__text_put(layout, snapshot->filter != NULL ? ") where(" : ")");
    if (snapshot->filter != NULL) {
        dbi__text_put(layout, snapshot->filter);
        dbi__text_put(layout, ")");
    }
}

static dbi_rc no_memory(dbi_err *err) {
    return dbi_err_set(err, DBI_ENOMEM, "no memory for reading a table");
}

/* --- waiting for the outlet --- */

/* Whether somebody wants an end of it. */
static dbi_rc interrupted(const dbi_interrupt *interrupt, dbi_err *err) {
    struct pollfd fd = {.fd = interrupt != NULL ? interrupt->fd : -1, .events = POLLIN};
    dbi_rc rc = DBI_OK;

    if (fd.fd >= 0 && poll(&fd, 1, 0) > 0)
        rc = DBI_EINTR;
    else if (interrupt != NULL && interrupt->check != NULL)
        rc = interrupt->check(interrupt->arg);
    return rc == DBI_OK ? DBI_OK : dbi_err_set(err, rc, "reading a table: interrupted");
}

/* Calls `wait` in slices until it has an answer. */
static dbi_rc patiently(dbi_rc (*wait)(dbi_outlet *outlet, int64_t deadline, dbi_err *err), dbi_outlet *outlet,
                        const dbi_interrupt *interrupt, int64_t deadline, dbi_err *err) {
    for (;;) {
        int64_t slice = dbi_clock_deadline(NULL, WAIT_SLICE);
        dbi_rc rc = wait(outlet, slice < deadline ? slice : deadline, err);

        if (rc != DBI_ETIMEOUT || dbi_clock_left(NULL, deadline) == 0)
            return rc;
        rc = interrupted(interrupt, err);
        if (rc != DBI_OK)
            return rc;
    }
}

static dbi_rc delivered(dbi_table_snapshot *snapshot, const dbi_interrupt *interrupt, int64_t deadline,
                        dbi_err *err) {
    return patiently(dbi_outlet_wait, snapshot->outlet, interrupt, deadline, err);
}

/* The topic; a call of the outlet's that waits for brokers knows of no interrupt, and so is made in slices. */
static dbi_rc topic_get(dbi_table_snapshot *snapshot, const char *name, const dbi_interrupt *interrupt,
                        int64_t deadline, dbi_outlet_topic **topic, dbi_err *err) {
    int64_t patience = dbi_clock_deadline(NULL, TOPIC_PATIENCE), end = patience < deadline ? patience : deadline;

    for (;;) {
        struct pollfd fd = {.fd = interrupt != NULL ? interrupt->fd : -1, .events = POLLIN};
        int64_t slice = dbi_clock_deadline(NULL, WAIT_SLICE);
        dbi_rc rc = dbi_outlet_topic_get(snapshot->outlet, name, slice < end ? slice : end, topic, err);
        dbi_err why;

        if ((rc != DBI_ETIMEOUT && rc != DBI_EUNREACHABLE && rc != DBI_EKAFKA_RETRIABLE) ||
            dbi_clock_left(NULL, end) == 0)
            return rc;
        (void)poll(&fd, 1, 100); /* a broker that refuses connections does so at once */
        rc = interrupted(interrupt, &why);
        if (rc != DBI_OK) {
            if (err != NULL)
                *err = why;
            return rc;
        }
    }
}

/* --- rows --- */

/* Sends one message, and waits for room where there is none. */
static dbi_rc message_send(dbi_table_snapshot *snapshot, dbi_outlet_topic *topic, const dbi_message *message,
                           const dbi_interrupt *interrupt, int64_t deadline, dbi_err *err) {
    dbi_rc rc;

    while ((rc = dbi_outlet_send(snapshot->outlet, topic, message, 0, err)) == DBI_EFULL) {
        rc = patiently(dbi_outlet_wait_room, snapshot->outlet, interrupt, deadline, err);
        if (rc != DBI_OK)
            return rc;
    }
    return rc;
}

/* What is said of a row that is too large for Kafka. */
static dbi_rc note_write(dbi_table_snapshot *snapshot, const dbi_envelope_message *row, dbi_err *err) {
    const dbi_relation *relation = snapshot->relation;
    dbi__text *note = &snapshot->note;

    dbi__text_reset(note);
    if (snapshot->dead_letter_topic != NULL) {
        dbi__text_put(note, "{\"reason\":\"message too large\",");
        dbi__text_add(note, relation->json, relation->json_length);
        dbi__text_putf(note, ",\"op\":\"r\",\"lsn\":%" PRIu64 ",\"sequence\":[\"%" PRIu64 "\",\"%" PRIu64 "\"]",
                       snapshot->point, snapshot->point, snapshot->point);
        dbi__text_putf(note, ",\"bytes\":%zu}", row->value_length);
    } else {
        dbi__text_putf(note, "%.100s.%.100s, row with the key ", relation->nspname, relation->relname);
        if (row->key != NULL)
            dbi__text_add(note, (const char *)row->key, row->key_length < 150 ? row->key_length : 150);
        dbi__text_putf(note, ": it is a message of %zu bytes, more than Kafka takes: ", row->value_length);
        dbi__text_put(note, "raise the producer's message.max.bytes together with the topic's max.message.bytes");
    }
    return note->failed ? no_memory(err) : DBI_OK;
}

/* A chunk that is being read, for what waits and answers in the middle of it. */
typedef struct reading {
    dbi_table_snapshot *snapshot;
    dbi_table_chunk *chunk;
    const dbi_interrupt *interrupt;
    int64_t deadline;
} reading;

/* A row that is too large: it ends the chunk, or the note takes its place. */
static dbi_rc row_refused(void *arg, const void *key, size_t key_len, const char *text, dbi_err *err) {
    const reading *now = arg;
    const dbi_message note = dbi_sorter_note(key, key_len, text);
    dbi_outlet_topic *topic;
    dbi_rc rc;

    if (now->snapshot->dead_letter_topic == NULL)
        return dbi_err_set(err, DBI_ETOOBIG, "%s", text);
    rc = topic_get(now->snapshot, now->snapshot->dead_letter_topic, now->interrupt, now->deadline, &topic, err);
    if (rc != DBI_OK)
        return rc;
    now->chunk->dead_letters++;
    return message_send(now->snapshot, topic, &note, now->interrupt, now->deadline, err);
}

static dbi_rc sorter_wait(void *arg, bool all, dbi_err *err) {
    const reading *now = arg;

    return patiently(all ? dbi_outlet_wait : dbi_outlet_wait_room, now->snapshot->outlet, now->interrupt,
                     now->deadline, err);
}

static dbi_sorter_calls sorter_calls(reading *now) {
    return (dbi_sorter_calls){.wait = sorter_wait, .refused = row_refused, .arg = now};
}

bool dbi_table_snapshot_sort(dbi_table_snapshot *snapshot) {
    if (snapshot->sorting || !dbi_sorter_needed(snapshot->outlet))
        return false;
    snapshot->sorting = dbi_outlet_reset(snapshot->outlet, NULL) == DBI_OK;
    return snapshot->sorting;
}

static dbi_rc row_send(dbi_table_snapshot *snapshot, dbi_outlet_topic *topic, const dbi_envelope_message *row,
                       reading *now, dbi_err *err) {
    const dbi_sorter_calls calls = sorter_calls(now);
    const dbi_message message = {.key = row->key,
                                 .key_len = row->key_length,
                                 .value = row->value,
                                 .value_len = row->value_length,
                                 .partition = RD_KAFKA_PARTITION_UA};
    dbi_rc rc;

    if (snapshot->sorting) {
        rc = note_write(snapshot, row, err);
        return rc != DBI_OK
                   ? rc
                   : dbi_sorter_add(snapshot->sorter, &calls, topic, &message, false, snapshot->note.bytes, err);
    }
    rc = message_send(snapshot, topic, &message, now->interrupt, now->deadline, err);
    if (rc != DBI_ETOOBIG || dbi_sorter_needed(snapshot->outlet))
        return rc;
    rc = note_write(snapshot, row, err);
    return rc != DBI_OK ? rc : row_refused(now, row->key, row->key_length, snapshot->note.bytes, err);
}

/* Keeps the key of the row that was sent last. */
static void key_keep(dbi_table_snapshot *snapshot) {
    const dbi_relation *relation = snapshot->relation;

    dbi__text_reset(&snapshot->key);
    for (unsigned i = 0; i < relation->key_count; i++) {
        const dbi_cell *cell = &snapshot->cells[relation->key[i]];

        dbi__text_add(&snapshot->key, (const char *)cell->bytes, cell->length);
        dbi__text_add(&snapshot->key, "", 1);
    }
}

static dbi_rc rows_copy(dbi_table_snapshot *snapshot, dbi_conn *conn, dbi_outlet_topic *topic,
                        const dbi_interrupt *interrupt, int64_t deadline, dbi_table_chunk *chunk, dbi_err *err) {
    reading now = {.snapshot = snapshot, .chunk = chunk, .interrupt = interrupt, .deadline = deadline};
    const dbi_sorter_calls calls = sorter_calls(&now);
    const dbi_relation *relation = snapshot->relation;
    dbi_origin origin = {.hi = snapshot->point, .lo = snapshot->point, .snapshot = true};
    dbi_envelope_message message;
    PGresult *result = NULL;
    ExecStatusType status;
    char *row = NULL;
    size_t length;
    dbi_rc rc;

    origin.commit_us = origin.captured_us = dbi_clock_wall_us();
    rc = dbi_conn_send(conn, snapshot->sql.bytes, deadline, err);
    if (rc == DBI_OK)
        rc = dbi_conn_result(conn, deadline, &result, err);
    if (rc == DBI_OK && PQresultStatus(result) != PGRES_COPY_OUT)
        rc = dbi_conn_fail(conn, result, err, "reading a table");
    PQclear(result);
    if (rc != DBI_OK)
        return rc;
    while ((rc = dbi_conn_copy_get(conn, deadline, &row, &length, err)) == DBI_OK && row != NULL) {
        rc = dbi_copy_row_read(row, length, snapshot->cells, relation->column_count, err);
        if (rc == DBI_OK)
            rc = dbi_envelope_row(snapshot->envelope, relation, snapshot->cells, relation->column_count, &origin,
                                  &message, err);
        if (rc == DBI_OK)
            rc = row_send(snapshot, topic, &message, &now, err);
        if (rc == DBI_OK) {
            key_keep(snapshot);
            chunk->rows++;
            chunk->bytes += message.key_length + message.value_length;
            if (chunk->rows % ROWS_BETWEEN_LOOKS == 0) {
                origin.captured_us = dbi_clock_wall_us();
                rc = interrupted(interrupt, err);
            }
        }
        PQfreemem(row);
        if (rc != DBI_OK)
            return rc;
    }
    if (rc != DBI_OK)
        return rc;
    do { /* the COPY's outcome, and then nothing: the connection can take the next statement */
        rc = dbi_conn_result(conn, deadline, &result, err);
        status = PQresultStatus(result);
        if (rc == DBI_OK && result != NULL && status != PGRES_COMMAND_OK)
            rc = dbi_conn_fail(conn, result, err, "reading a table");
        PQclear(result);
    } while (rc == DBI_OK && result != NULL);
    return rc == DBI_OK ? dbi_sorter_send(snapshot->sorter, &calls, err) : rc;
}

/* --- a chunk --- */

/* What the table looks like, under a lock that keeps it so until the transaction ends. */
static dbi_rc table_look(dbi_table_snapshot *snapshot, dbi_conn *conn, int64_t deadline, dbi_err *err) {
    char question[DBI_RELATION_SQL_SIZE];
    PGresult *answer = NULL;
    dbi_rc rc;

    dbi__text_reset(&snapshot->sql);
    dbi__text_put(&snapshot->sql, begin_sql);
    put_name(snapshot);
    dbi__text_put(&snapshot->sql, " IN ACCESS SHARE MODE");
    if (snapshot->sql.failed)
        return no_memory(err);
    rc = dbi_conn_exec(conn, snapshot->sql.bytes, deadline, NULL, err);
    if (rc != DBI_OK)
        return rc;
    dbi_relation_sql(snapshot->oid, question);
    rc = dbi_conn_exec(conn, question, deadline, &answer, err);
    if (rc != DBI_OK)
        return rc;
    rc = dbi_relations_load(snapshot->relations, answer, (const char *const *)snapshot->columns,
                            snapshot->column_count, &snapshot->relation, err);
    PQclear(answer);
    if (rc != DBI_OK)
        return rc;
    put_layout(snapshot);
    return snapshot->layout.failed ? no_memory(err) : DBI_OK;
}

static dbi_rc cells_fit(dbi_table_snapshot *snapshot, dbi_err *err) {
    const dbi_relation *relation = snapshot->relation;

    if (relation->column_count == 0)
        return dbi_err_set(err, DBI_EINVAL, "table %s.%s has no column to be sent", relation->nspname,
                           relation->relname);
    if (snapshot->cell_count < relation->column_count) {
        dbi_cell *cells = dbi_realloc(snapshot->cells, relation->column_count * sizeof *cells);

        if (cells == NULL)
            return no_memory(err);
        snapshot->cells = cells;
        snapshot->cell_count = relation->column_count;
    }
    if (snapshot->part_room < relation->key_count) {
        const char **parts = dbi_realloc(snapshot->parts, relation->key_count * sizeof *parts);

        if (parts == NULL)
            return no_memory(err);
        snapshot->parts = parts;
        snapshot->part_room = relation->key_count;
    }
    return DBI_OK;
}

static void key_tell(dbi_table_snapshot *snapshot, dbi_table_chunk *chunk) {
    const char *at = snapshot->key.bytes;

    if (chunk->rows == 0)
        return;
    for (unsigned i = 0; i < snapshot->relation->key_count; i++) {
        snapshot->parts[i] = at;
        at += strlen(at) + 1;
    }
    chunk->key = snapshot->parts;
    chunk->key_count = snapshot->relation->key_count;
}

static dbi_rc chunk_read(dbi_table_snapshot *snapshot, dbi_conn *conn, dbi_outlet_topic *topic,
                         const dbi_interrupt *interrupt, const char *layout, const char *const *after,
                         unsigned after_count, uint64_t limit, int64_t deadline, dbi_table_chunk *chunk,
                         dbi_err *err) {
    dbi_rc rc = table_look(snapshot, conn, deadline, err);

    if (rc != DBI_OK)
        return rc;
    chunk->layout = snapshot->layout.bytes;
    chunk->changed = layout != NULL && strcmp(layout, chunk->layout) != 0;
    if (!chunk->changed) {
        rc = cells_fit(snapshot, err);
        if (rc == DBI_OK && after != NULL && (after_count != snapshot->relation->key_count || after_count == 0))
            rc = dbi_err_set(err, DBI_EINVAL, "a key of %u parts was given, and that of %s.%s has %u", after_count,
                             snapshot->nspname, snapshot->relname, snapshot->relation->key_count);
        if (rc != DBI_OK)
            return rc;
        put_copy(snapshot, after, limit);
        if (snapshot->sql.failed)
            return no_memory(err);
        rc = rows_copy(snapshot, conn, topic, interrupt, deadline, chunk, err);
        if (rc == DBI_OK && snapshot->key.failed)
            rc = no_memory(err);
        if (rc != DBI_OK)
            return rc;
        chunk->last = !keyed(snapshot->relation) || chunk->rows < limit;
    }
    return dbi_conn_exec(conn, "COMMIT", deadline, NULL, err);
}

dbi_rc dbi_table_snapshot_chunk(dbi_table_snapshot *snapshot, dbi_conn *conn, const dbi_interrupt *interrupt,
                                const char *layout, const char *const *after, unsigned after_count, uint64_t limit,
                                int64_t deadline, dbi_table_chunk *chunk, dbi_err *err) {
    dbi_outlet_topic *topic;
    dbi_rc rc;

    *chunk = (dbi_table_chunk){0};
    dbi_sorter_clear(snapshot->sorter);
    if (limit == 0)
        return dbi_err_set(err, DBI_EINVAL, "a chunk has at least one row");
    rc = dbi_outlet_begin(snapshot->outlet, err);
    if (rc != DBI_OK)
        return rc;
    rc = topic_get(snapshot, snapshot->topic, interrupt, deadline, &topic, err);
    if (rc == DBI_OK)
        rc = chunk_read(snapshot, conn, topic, interrupt, layout, after, after_count, limit, deadline, chunk, err);
    if (rc == DBI_OK)
        rc = delivered(snapshot, interrupt, deadline, err);
    if (rc == DBI_OK)
        key_tell(snapshot, chunk);
    dbi_outlet_end(snapshot->outlet);
    return rc;
}

dbi_rc dbi_table_snapshot_sweep(dbi_table_snapshot *snapshot, const dbi_interrupt *interrupt, int64_t deadline,
                                dbi_err *err) {
    dbi_origin origin = {.hi = snapshot->point, .lo = snapshot->point};
    dbi_envelope_message row;
    dbi_outlet_topic *topic;
    dbi_rc rc;

    if (snapshot->relation == NULL)
        return dbi_err_set(err, DBI_ESTATE, "no chunk of %s.%s was read", snapshot->nspname, snapshot->relname);
    origin.commit_us = origin.captured_us = dbi_clock_wall_us();
    rc = dbi_envelope_truncate(snapshot->envelope, snapshot->relation, &origin, &row, err);
    if (rc != DBI_OK)
        return rc;
    rc = dbi_outlet_begin(snapshot->outlet, err);
    if (rc != DBI_OK)
        return rc;
    rc = topic_get(snapshot, snapshot->topic, interrupt, deadline, &topic, err);
    if (rc == DBI_OK) {
        const dbi_message message = {.value = row.value, .value_len = row.value_length};

        while ((rc = dbi_outlet_send_to_all(snapshot->outlet, topic, &message, 0, err)) == DBI_EFULL) {
            rc = patiently(dbi_outlet_wait_room, snapshot->outlet, interrupt, deadline, err);
            if (rc != DBI_OK)
                break;
        }
    }
    if (rc == DBI_OK)
        rc = delivered(snapshot, interrupt, deadline, err);
    dbi_outlet_end(snapshot->outlet);
    return rc;
}
