/* envelope.c - see envelope.h
 *
 * A value is
 *
 *   {"before":…,"after":…,"source":{"version":…,"connector":"postgresql","name":…,"ts_ms":…,"snapshot":…,"db":…,
 *    "sequence":"[\"hi\",\"lo\"]","ts_us":…,"ts_ns":…,"schema":…,"table":…,"txId":…,"lsn":…,"xmin":null,"origin":null,
 *    "origin_lsn":null},"transaction":null,"op":…,"ts_ms":…,"ts_us":…,"ts_ns":…}
 *
 * What is the same in all messages of a transaction is put together once: what stands before the change's LSN in
 * "sequence" (head), from there to "schema" (middle), "txId" (transaction), and, for one moment of capturing, the end.
 */
#include "envelope.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "out_int.h"
#include "pgvalue.h"
#include "utf8_int.h"

#define PART_MAX 8192u /* of a part that is kept */
#define NAME_MAX_LENGTH 1024u

struct dbi_envelope {
    dbi__out out;   /* all that one call gives */
    dbi__out fixed; /* "source":{"version":…,"connector":…,"name":… */
    dbi__out database;
    dbi__out head, middle, transaction, end;
    bool kept; /* the parts are of `origin` */
    dbi_origin origin;
    dbi__pgvalues values;
    size_t value_max;
};

/* Where a message's parts are in `out`; addresses are made of them at the end, when nothing moves any more. */
typedef struct msg_part {
    size_t at, length;
    bool there;
} msg_part;

typedef struct msg_draft {
    msg_part key, value, unchanged, newkey, oldkey;
    char op;
} msg_draft;

static bool put_name(dbi__out *out, const char *name) {
    return dbi__out_string(out, (const uint8_t *)name, strlen(name));
}

dbi_rc dbi_envelope_new(dbi_envelope **envelope, const dbi_envelope_options *options, dbi_err *err) {
    dbi_envelope *made = NULL;

    const char *names[] = {options->version, options->name, options->database};
    dbi_rc rc = DBI_OK;

    *envelope = NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i] == NULL || names[i][0] == '\0' || strlen(names[i]) > NAME_MAX_LENGTH ||
            !dbi__utf8_valid((const uint8_t *)names[i], strlen(names[i])))
            return dbi_err_set(err, DBI_EINVAL,
                               "the version, topic prefix or database of a flow is empty, too long or no UTF-8");
    made = dbi_calloc(1, sizeof *made);
    if (made == NULL)
        goto no_memory;
    made->value_max = options->value_max != 0 ? options->value_max : DBI_ENVELOPE_MAX_DEFAULT;
    /* Two messages of a changed key, with their keys and headers; both rows in each. */
    made->out.max = made->value_max > SIZE_MAX / 4 ? SIZE_MAX : made->value_max * 4;
    made->fixed.max = made->database.max = made->head.max = made->middle.max = made->transaction.max = made->end.max =
        8 * PART_MAX;
    if (!dbi__pgvalues_init(&made->values, made->out.max))
        goto no_memory;
    DBI__OUT_TEXT(&made->fixed, ",\"source\":{\"version\":");
    (void)put_name(&made->fixed, options->version);
    DBI__OUT_TEXT(&made->fixed, ",\"connector\":\"postgresql\",\"name\":");
    (void)put_name(&made->fixed, options->name);
    DBI__OUT_TEXT(&made->fixed, ",\"ts_ms\":");
    (void)put_name(&made->database, options->database);
    rc = made->fixed.rc != DBI_OK ? made->fixed.rc : made->database.rc;
    if (rc == DBI_OK) {
        *envelope = made;
        return DBI_OK;
    }
no_memory:
    dbi_envelope_free(made);
    return dbi_err_set(err, DBI_ENOMEM, "out of memory for the messages of a flow");
}

void dbi_envelope_free(dbi_envelope *envelope) {
    if (envelope == NULL)
        return;
    dbi__out_free(&envelope->out);
    dbi__out_free(&envelope->fixed);
    dbi__out_free(&envelope->database);
    dbi__out_free(&envelope->head);
    dbi__out_free(&envelope->middle);
    dbi__out_free(&envelope->transaction);
    dbi__out_free(&envelope->end);
    dbi__pgvalues_free(&envelope->values);
    dbi_free(envelope);
}

/* --- the parts that are kept --- */

static int64_t milliseconds(int64_t us) {
    return us >= 0 ? us / 1000 : -((-us + 999) / 1000);
}

/* Microseconds, written as nanoseconds: there may be no number that holds them. */
static void put_nanoseconds(dbi__out *out, int64_t us) {
    dbi__out_signed(out, us);
    if (us != 0)
        DBI__OUT_TEXT(out, "000");
}

static bool same_transaction(const dbi_origin *a, const dbi_origin *b) {
    return a->hi == b->hi && a->xid == b->xid && a->commit_us == b->commit_us && a->snapshot == b->snapshot;
}

static void keep_transaction(dbi_envelope *envelope, const dbi_origin *origin) {
    dbi__out *out = &envelope->head;

    dbi__out_reset(out);
    dbi__out_put(out, envelope->fixed.bytes, envelope->fixed.length);
    dbi__out_signed(out, milliseconds(origin->commit_us));
    DBI__OUT_TEXT(out, ",\"snapshot\":\"");
    if (origin->snapshot)
        DBI__OUT_TEXT(out, "true");
    else
        DBI__OUT_TEXT(out, "false");
    DBI__OUT_TEXT(out, "\",\"db\":");
    dbi__out_put(out, envelope->database.bytes, envelope->database.length);
    DBI__OUT_TEXT(out, ",\"sequence\":\"[\\\"");
    dbi__out_unsigned(out, origin->hi);
    DBI__OUT_TEXT(out, "\\\",\\\"");

    out = &envelope->middle;
    dbi__out_reset(out);
    DBI__OUT_TEXT(out, "\\\"]\",\"ts_us\":");
    dbi__out_signed(out, origin->commit_us);
    DBI__OUT_TEXT(out, ",\"ts_ns\":");
    put_nanoseconds(out, origin->commit_us);
    dbi__out_byte(out, ',');

    out = &envelope->transaction;
    dbi__out_reset(out);
    DBI__OUT_TEXT(out, ",\"txId\":");
    if (origin->xid != 0)
        dbi__out_unsigned(out, origin->xid);
    else
        DBI__OUT_TEXT(out, "null");
    DBI__OUT_TEXT(out, ",\"lsn\":");
}

static void keep_end(dbi_envelope *envelope, const dbi_origin *origin) {
    dbi__out *out = &envelope->end;

    dbi__out_reset(out);
    DBI__OUT_TEXT(out, "\",\"ts_ms\":");
    dbi__out_signed(out, milliseconds(origin->captured_us));
    DBI__OUT_TEXT(out, ",\"ts_us\":");
    dbi__out_signed(out, origin->captured_us);
    DBI__OUT_TEXT(out, ",\"ts_ns\":");
    put_nanoseconds(out, origin->captured_us);
    dbi__out_byte(out, '}');
}

static dbi_rc keep(dbi_envelope *envelope, const dbi_origin *origin) {
    bool kept = envelope->kept;

    envelope->kept = false;
    if (!kept || !same_transaction(&envelope->origin, origin))
        keep_transaction(envelope, origin);
    if (!kept || envelope->origin.captured_us != origin->captured_us)
        keep_end(envelope, origin);
    if (envelope->head.rc != DBI_OK || envelope->middle.rc != DBI_OK || envelope->transaction.rc != DBI_OK ||
        envelope->end.rc != DBI_OK)
        return DBI_ENOMEM;
    envelope->origin = *origin;
    envelope->kept = true;
    return DBI_OK;
}

static void put_part(dbi__out *out, const dbi__out *kept) {
    dbi__out_put(out, kept->bytes, kept->length);
}

/* From the comma before "source" to "transaction"; `table` is "schema":…,"table":… */
static void put_source(dbi_envelope *envelope, const char *table, size_t table_length) {
    dbi__out *out = &envelope->out;

    put_part(out, &envelope->head);
    dbi__out_unsigned(out, envelope->origin.lo);
    put_part(out, &envelope->middle);
    dbi__out_put(out, table, table_length);
    put_part(out, &envelope->transaction);
    dbi__out_unsigned(out, envelope->origin.lo);
    DBI__OUT_TEXT(out, ",\"xmin\":null,\"origin\":null,\"origin_lsn\":null},\"transaction\":null");
}

/* --- rows and keys --- */

static dbi_rc refuse(const dbi_relation *relation, unsigned at, dbi_err *err) {
    return dbi_err_set(err, DBI_EINVAL,
                       "column \"%s\" of table %s.%s (type OID %u) holds what its type is not written as, or no UTF-8",
                       relation->columns[at].name, relation->nspname, relation->relname, relation->columns[at].type);
}

static dbi_rc put_cell(dbi_envelope *envelope, const dbi_relation *relation, unsigned at, const dbi_cell *cell,
                       dbi_err *err) {
    dbi__out *out = &envelope->out;

    switch (cell->kind) {
    case DBI_CELL_NULL:
        DBI__OUT_TEXT(out, "null");
        return DBI_OK;
    case DBI_CELL_UNCHANGED:
        dbi__pgvalue_put_unavailable(out, &relation->columns[at]);
        return DBI_OK;
    case DBI_CELL_TEXT:
        break;
    }
    return dbi__pgvalue_put(&envelope->values, out, &relation->columns[at], cell->bytes, cell->length)
               ? DBI_OK
               : refuse(relation, at, err);
}

/* An update leaves out what is stored elsewhere and did not change; the whole old row has it. */
static const dbi_cell *cell_of(const dbi_cell *row, const dbi_cell *whole, unsigned at) {
    return row[at].kind == DBI_CELL_UNCHANGED && whole != NULL && whole[at].kind != DBI_CELL_UNCHANGED ? &whole[at]
                                                                                                       : &row[at];
}

static dbi_rc put_row(dbi_envelope *envelope, const dbi_relation *relation, const dbi_cell *row, const dbi_cell *whole,
                      dbi_err *err) {
    dbi__out *out = &envelope->out;
    dbi_rc rc = DBI_OK;

    if (row == NULL) {
        DBI__OUT_TEXT(out, "null");
        return DBI_OK;
    }
    for (unsigned i = 0; i < relation->column_count && rc == DBI_OK; i++) {
        const dbi_relation_column *column = &relation->columns[i];

        dbi__out_byte(out, i == 0 ? '{' : ',');
        dbi__out_put(out, column->json, column->json_length);
        rc = put_cell(envelope, relation, i, cell_of(row, whole, i), err);
    }
    if (relation->column_count == 0)
        dbi__out_byte(out, '{');
    dbi__out_byte(out, '}');
    return rc;
}

static msg_part part_begin(const dbi__out *out) {
    return (msg_part){.at = out->length, .there = true};
}

static void part_end(msg_part *part, const dbi__out *out) {
    part->length = out->length - part->at;
}

static dbi_rc put_key(dbi_envelope *envelope, const dbi_relation *relation, const dbi_cell *row, const dbi_cell *whole,
                      msg_part *key, dbi_err *err) {
    dbi__out *out = &envelope->out;
    dbi_rc rc = DBI_OK;

    if (relation->key_count == 0)
        return DBI_OK;
    *key = part_begin(out);
    for (unsigned i = 0; i < relation->key_count && rc == DBI_OK; i++) {
        unsigned at = relation->key[i];

        dbi__out_byte(out, i == 0 ? '{' : ',');
        dbi__out_put(out, relation->columns[at].json, relation->columns[at].json_length);
        rc = put_cell(envelope, relation, at, cell_of(row, whole, at), err);
    }
    dbi__out_byte(out, '}');
    part_end(key, out);
    return rc;
}

/* The names of the columns that the new row does not have, comma-separated; a comma or backslash in a name stands after
 * a backslash. */
static void put_unchanged(dbi_envelope *envelope, const dbi_relation *relation, const dbi_cell *row,
                          const dbi_cell *whole, msg_part *unchanged) {
    dbi__out *out = &envelope->out;

    for (unsigned i = 0; i < relation->column_count; i++) {
        const char *name = relation->columns[i].name;

        if (cell_of(row, whole, i)->kind != DBI_CELL_UNCHANGED)
            continue;
        if (unchanged->there)
            dbi__out_byte(out, ',');
        else
            *unchanged = part_begin(out);
        for (; *name != '\0'; name++) {
            if (*name == ',' || *name == '\\')
                dbi__out_byte(out, '\\');
            dbi__out_byte(out, *name);
        }
    }
    if (unchanged->there)
        part_end(unchanged, out);
}

/* The value, and which columns the new row does not have. `whole` has what the new row leaves out, or is NULL. */
static dbi_rc put_value(dbi_envelope *envelope, const dbi_relation *relation, const dbi_cell *before,
                        const dbi_cell *after, const dbi_cell *whole, msg_draft *draft, dbi_err *err) {
    dbi__out *out = &envelope->out;
    dbi_rc rc;

    draft->value = part_begin(out);
    DBI__OUT_TEXT(out, "{\"before\":");
    rc = put_row(envelope, relation, before, NULL, err);
    if (rc != DBI_OK)
        return rc;
    DBI__OUT_TEXT(out, ",\"after\":");
    rc = put_row(envelope, relation, after, whole, err);
    if (rc != DBI_OK)
        return rc;
    put_source(envelope, relation->json, relation->json_length);
    DBI__OUT_TEXT(out, ",\"op\":\"");
    dbi__out_byte(out, draft->op);
    put_part(out, &envelope->end);
    part_end(&draft->value, out);
    if (after != NULL)
        put_unchanged(envelope, relation, after, whole, &draft->unchanged);
    return DBI_OK;
}

/* --- messages --- */

static const uint8_t *part_bytes(const dbi_envelope *envelope, const msg_part *part) {
    return part->there ? envelope->out.bytes + part->at : NULL;
}

/* Turns drafts into messages, when all went well. */
static dbi_rc finish(dbi_envelope *envelope, const char *nspname, const char *relname, const msg_draft *drafts,
                     unsigned count, dbi_envelope_message *messages, dbi_err *err) {
    if (envelope->out.rc == DBI_ENOMEM)
        return dbi_err_set(err, DBI_ENOMEM, "out of memory for a message of %s.%s", nspname, relname);
    for (unsigned i = 0; i < count; i++) {
        const msg_draft *draft = &drafts[i];

        if (envelope->out.rc == DBI_ETOOBIG || draft->value.length > envelope->value_max)
            return dbi_err_set(err, DBI_ETOOBIG, "a change of %s.%s makes a message of more than %zu bytes", nspname,
                               relname, envelope->value_max);
        messages[i] = (dbi_envelope_message){
            .key = part_bytes(envelope, &draft->key),
            .key_length = draft->key.length,
            .value = part_bytes(envelope, &draft->value),
            .value_length = draft->value.length,
            .unchanged = (const char *)part_bytes(envelope, &draft->unchanged),
            .unchanged_length = draft->unchanged.length,
            .newkey = part_bytes(envelope, &draft->newkey),
            .newkey_length = draft->newkey.length,
            .oldkey = part_bytes(envelope, &draft->oldkey),
            .oldkey_length = draft->oldkey.length,
            .op = draft->op,
        };
    }
    return DBI_OK;
}

static dbi_rc begin(dbi_envelope *envelope, const dbi_origin *origin, dbi_err *err) {
    dbi__out_reset(&envelope->out);
    if (keep(envelope, origin) != DBI_OK)
        return dbi_err_set(err, DBI_ENOMEM, "out of memory for the messages of a flow");
    return DBI_OK;
}

static bool part_same(const dbi_envelope *envelope, const msg_part *a, const msg_part *b) {
    return a->length == b->length &&
           (a->length == 0 || memcmp(envelope->out.bytes + a->at, envelope->out.bytes + b->at, a->length) == 0);
}

static dbi_rc change_width(const dbi_relation *relation, unsigned count, dbi_err *err) {
    if (count == relation->column_count)
        return DBI_OK;
    return dbi_err_set(err, DBI_EINVAL, "a row of %s.%s has %u columns, the table was announced with %u",
                       relation->nspname, relation->relname, count, relation->column_count);
}

static dbi_rc change_update(dbi_envelope *envelope, const dbi_relation *relation, const dbi_pgoutput_change *change,
                            msg_draft drafts[DBI_ENVELOPE_MESSAGES_MAX], unsigned *count, dbi_err *err) {
    const dbi_cell *old_row = change->old_row, *new_row = change->new_row;
    const dbi_cell *whole = change->has_old == DBI_OLD_FULL ? old_row : NULL;
    msg_part newkey = {0}, oldkey = {0};
    dbi_rc rc = put_key(envelope, relation, new_row, old_row, &newkey, err);

    if (rc == DBI_OK && old_row != NULL)
        rc = put_key(envelope, relation, old_row, NULL, &oldkey, err);
    if (rc != DBI_OK)
        return rc;
    if (!oldkey.there || envelope->out.rc != DBI_OK || part_same(envelope, &oldkey, &newkey)) {
        *count = 1;
        drafts[0].op = 'u';
        drafts[0].key = newkey;
        return put_value(envelope, relation, old_row, new_row, whole, &drafts[0], err);
    }
    *count = 2;
    drafts[0].op = 'd';
    drafts[0].key = oldkey;
    drafts[0].newkey = newkey;
    drafts[1].op = 'c';
    drafts[1].key = newkey;
    drafts[1].oldkey = oldkey;
    rc = put_value(envelope, relation, old_row, NULL, NULL, &drafts[0], err);
    return rc != DBI_OK ? rc : put_value(envelope, relation, NULL, new_row, whole, &drafts[1], err);
}

dbi_rc dbi_envelope_change(dbi_envelope *envelope, const dbi_relation *relation, dbi_pgoutput_kind kind,
                           const dbi_pgoutput_change *change, const dbi_origin *origin,
                           dbi_envelope_message messages[DBI_ENVELOPE_MESSAGES_MAX], unsigned *count, dbi_err *err) {
    msg_draft drafts[DBI_ENVELOPE_MESSAGES_MAX] = {{.op = 0}};
    unsigned made = 1;
    dbi_rc rc = begin(envelope, origin, err);

    *count = 0;
    if (rc == DBI_OK && change->old_row != NULL)
        rc = change_width(relation, change->old_count, err);
    if (rc == DBI_OK && change->new_row != NULL)
        rc = change_width(relation, change->new_count, err);
    if (rc != DBI_OK)
        return rc;
    if (kind == DBI_PGOUTPUT_INSERT && change->new_row != NULL) {
        drafts[0].op = 'c';
        rc = put_key(envelope, relation, change->new_row, NULL, &drafts[0].key, err);
        if (rc == DBI_OK)
            rc = put_value(envelope, relation, NULL, change->new_row, NULL, &drafts[0], err);
    } else if (kind == DBI_PGOUTPUT_DELETE && change->old_row != NULL) {
        drafts[0].op = 'd';
        rc = put_key(envelope, relation, change->old_row, NULL, &drafts[0].key, err);
        if (rc == DBI_OK)
            rc = put_value(envelope, relation, change->old_row, NULL, NULL, &drafts[0], err);
    } else if (kind == DBI_PGOUTPUT_UPDATE && change->new_row != NULL) {
        rc = change_update(envelope, relation, change, drafts, &made, err);
    } else {
        return dbi_err_set(err, DBI_EINVAL, "a change of %s.%s has not the row that its kind must have",
                           relation->nspname, relation->relname);
    }
    if (rc == DBI_OK)
        rc = finish(envelope, relation->nspname, relation->relname, drafts, made, messages, err);
    if (rc == DBI_OK)
        *count = made;
    return rc;
}

dbi_rc dbi_envelope_row(dbi_envelope *envelope, const dbi_relation *relation, const dbi_cell *row, unsigned count,
                        const dbi_origin *origin, dbi_envelope_message *message, dbi_err *err) {
    msg_draft draft = {.op = 'r'};
    dbi_rc rc = begin(envelope, origin, err);

    if (rc == DBI_OK)
        rc = change_width(relation, count, err);
    if (rc == DBI_OK)
        rc = put_key(envelope, relation, row, NULL, &draft.key, err);
    if (rc == DBI_OK)
        rc = put_value(envelope, relation, NULL, row, NULL, &draft, err);
    return rc != DBI_OK ? rc : finish(envelope, relation->nspname, relation->relname, &draft, 1, message, err);
}

dbi_rc dbi_envelope_truncate(dbi_envelope *envelope, const dbi_relation *relation, const dbi_origin *origin,
                             dbi_envelope_message *message, dbi_err *err) {
    msg_draft draft = {.op = 't'};
    dbi_rc rc = begin(envelope, origin, err);

    if (rc == DBI_OK)
        rc = put_value(envelope, relation, NULL, NULL, NULL, &draft, err);
    return rc != DBI_OK ? rc : finish(envelope, relation->nspname, relation->relname, &draft, 1, message, err);
}

/* {"op":"m","ts_ms":…,"source":{…},"transaction":null,"message":{"prefix":…,"content":…}} */
dbi_rc dbi_envelope_logical(dbi_envelope *envelope, const char *prefix, const uint8_t *content, size_t length,
                            const dbi_origin *origin, dbi_envelope_message *message, dbi_err *err) {
    static const char table[] = "\"schema\":\"\",\"table\":\"\"";
    dbi__out *out = &envelope->out;
    msg_draft draft = {.op = 'm'};
    dbi_rc rc = begin(envelope, origin, err);
    bool good;

    if (rc != DBI_OK)
        return rc;
    draft.key = part_begin(out);
    DBI__OUT_TEXT(out, "{\"prefix\":");
    good = put_name(out, prefix);
    dbi__out_byte(out, '}');
    part_end(&draft.key, out);
    draft.value = part_begin(out);
    DBI__OUT_TEXT(out, "{\"op\":\"m\",\"ts_ms\":");
    dbi__out_signed(out, milliseconds(origin->captured_us));
    put_source(envelope, table, sizeof table - 1);
    DBI__OUT_TEXT(out, ",\"message\":{\"prefix\":");
    (void)put_name(out, prefix);
    DBI__OUT_TEXT(out, ",\"content\":\"");
    dbi__out_base64(out, content, length);
    DBI__OUT_TEXT(out, "\"}}");
    part_end(&draft.value, out);
    if (!good)
        return dbi_err_set(err, DBI_EINVAL, "a logical message has a prefix that is no UTF-8");
    return finish(envelope, "logical message", prefix, &draft, 1, message, err);
}
