/* relation.c - see relation.h
 *
 * A relation is one block of memory: the struct, its columns, its key, its texts. A table has a slot in a hash table by
 * OID; a slot outlives its relation, so that versions go on over sessions.
 */
#include "relation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "out_int.h"
#include "pgvalue.h"
#include "utf8_int.h"

#define NAME_MAX_BYTES 1024u /* of one name: NAMEDATALEN is 64, and may be made larger when a server is built */
#define SLOTS_MIN 64u
#define FIRST_NORMAL_OID 16384u /* FirstNormalObjectId: types of users and extensions are from here on */
#define TYPES_MAX 300u          /* that a question names */

typedef struct relation_slot {
    uint32_t oid; /* 0 = free */
    uint32_t version;
    dbi_relation *relation; /* NULL = forgotten */
} relation_slot;

struct dbi_relations {
    relation_slot *slots;
    size_t slot_count, used; /* a power of two; how many are not free */
    relation_slot *last;     /* found: most changes are of the same table as the one before */
};

dbi_rc dbi_relations_new(dbi_relations **relations, dbi_err *err) {
    dbi_relations *made = dbi_calloc(1, sizeof *made);

    *relations = made;
    if (made == NULL)
        goto no_memory;
    made->slot_count = SLOTS_MIN;
    made->slots = dbi_calloc(made->slot_count, sizeof *made->slots);
    if (made->slots != NULL)
        return DBI_OK;
    dbi_free(made);
    *relations = NULL;
no_memory:
    return dbi_err_set(err, DBI_ENOMEM, "out of memory for the tables of a flow");
}

void dbi_relations_clear(dbi_relations *relations) {
    for (size_t i = 0; i < relations->slot_count; i++) {
        dbi_free(relations->slots[i].relation);
        relations->slots[i].relation = NULL;
    }
    relations->last = NULL;
}

void dbi_relations_free(dbi_relations *relations) {
    if (relations == NULL)
        return;
    dbi_relations_clear(relations);
    dbi_free(relations->slots);
    dbi_free(relations);
}

/* --- slots --- */

static relation_slot *slot_of(relation_slot *slots, size_t count, uint32_t oid) {
    size_t at = (size_t)(oid * UINT32_C(2654435761)) & (count - 1);

    while (slots[at].oid != 0 && slots[at].oid != oid)
        at = (at + 1) & (count - 1);
    return &slots[at];
}

dbi_relation *dbi_relations_find(dbi_relations *relations, uint32_t oid) {
    relation_slot *slot = relations->last;

    if (oid == 0)
        return NULL;
    if (slot != NULL && slot->oid == oid)
        return slot->relation;
    slot = slot_of(relations->slots, relations->slot_count, oid);
    if (slot->relation != NULL)
        relations->last = slot;
    return slot->relation;
}

/* The slot for that table, made when there is none; NULL when memory is out. */
static relation_slot *slot_take(dbi_relations *relations, uint32_t oid) {
    relation_slot *slot = slot_of(relations->slots, relations->slot_count, oid);

    if (slot->oid == oid)
        return slot;
    if (relations->used * 2 >= relations->slot_count) {
        size_t count = relations->slot_count * 2;
        relation_slot *slots = dbi_calloc(count, sizeof *slots);

        if (slots == NULL)
            return NULL;
        for (size_t i = 0; i < relations->slot_count; i++)
            if (relations->slots[i].oid != 0)
                *slot_of(slots, count, relations->slots[i].oid) = relations->slots[i];
        dbi_free(relations->slots);
        relations->slots = slots;
        relations->slot_count = count;
        relations->last = NULL;
        slot = slot_of(slots, count, oid);
    }
    slot->oid = oid;
    relations->used++;
    return slot;
}

/* --- making a relation --- */

static bool name_good(const char *name) {
    size_t length = strlen(name);

    return length > 0 && length <= NAME_MAX_BYTES && dbi__utf8_valid((const uint8_t *)name, length);
}

/* Where in the block the next text goes: counted first, with block NULL, then written. */
typedef struct text_area {
    char *block;
    size_t length;
} text_area;

static const char *text_add(text_area *area, const void *text, size_t length) {
    char *at = area->block != NULL ? area->block + area->length : NULL;

    if (at != NULL) {
        memcpy(at, text, length);
        at[length] = '\0';
    }
    area->length += length + 1;
    return at;
}

static void kind_settle(dbi_relation_column *column, char typtype, const char *typname) {
    bool array;
    uint32_t base;

    column->kind = dbi__pgkind_of(column->base, typtype, typname, &array, &base);
    if (array) {
        if (column->array) /* an array of arrays, by way of a domain */
            column->kind = DBI_PGKIND_UNKNOWN;
        column->array = true;
        column->base = base;
    }
    /* bit(1) is a truth value; bit without a length is bit(1), varbit without one has none. */
    if (column->kind == DBI_PGKIND_BITS && !column->array && column->base_typmod == 1)
        column->kind = DBI_PGKIND_BIT;
}

/* The columns of the replica identity stand for the key, where they are some columns and not the whole row. */
static void key_from_identity(dbi_relation *relation) {
    relation->key_count = 0;
    for (unsigned i = 0; i < relation->column_count; i++) {
        relation->columns[i].in_key =
            relation->identity != 'f' && relation->identity != 'n' && relation->columns[i].in_identity;
        if (relation->columns[i].in_key)
            relation->key[relation->key_count++] = i;
    }
}

static bool put_texts(dbi_relation *relation, text_area *area, dbi__out *json, const dbi_pgoutput_relation *message) {
    const char *nspname = message->nspname, *relname = message->relname;
    const char *kept;

    kept = text_add(area, nspname, strlen(nspname));
    if (relation != NULL)
        relation->nspname = kept;
    kept = text_add(area, relname, strlen(relname));
    if (relation != NULL)
        relation->relname = kept;
    dbi__out_reset(json);
    DBI__OUT_TEXT(json, "\"schema\":");
    (void)dbi__out_string(json, (const uint8_t *)nspname, strlen(nspname));
    DBI__OUT_TEXT(json, ",\"table\":");
    (void)dbi__out_string(json, (const uint8_t *)relname, strlen(relname));
    if (json->rc != DBI_OK)
        return false;
    kept = text_add(area, json->bytes, json->length);
    if (relation != NULL) {
        relation->json = kept;
        relation->json_length = json->length;
    }
    for (unsigned i = 0; i < message->column_count; i++) {
        const char *name = message->columns[i].name;

        kept = text_add(area, name, strlen(name));
        if (relation != NULL)
            relation->columns[i].name = kept;
        dbi__out_reset(json);
        (void)dbi__out_string(json, (const uint8_t *)name, strlen(name));
        dbi__out_byte(json, ':');
        if (json->rc != DBI_OK)
            return false;
        kept = text_add(area, json->bytes, json->length);
        if (relation != NULL) {
            relation->columns[i].json = kept;
            relation->columns[i].json_length = json->length;
        }
    }
    return true;
}

static dbi_relation *relation_make(const dbi_pgoutput_relation *message) {
    dbi__out json = {.max = 16 * NAME_MAX_BYTES};
    unsigned count = message->column_count;
    text_area area = {0};
    dbi_relation *relation = NULL;

    if (!put_texts(NULL, &area, &json, message))
        goto done;
    relation =
        dbi_calloc(1, sizeof *relation + count * (sizeof *relation->columns + sizeof *relation->key) + area.length);
    if (relation == NULL)
        goto done;
    relation->columns = (dbi_relation_column *)(void *)(relation + 1);
    relation->key = (unsigned *)(void *)(relation->columns + count);
    area = (text_area){.block = (char *)(relation->key + count)};
    relation->oid = message->oid;
    relation->identity = message->identity;
    relation->column_count = count;
    if (!put_texts(relation, &area, &json, message)) {
        dbi_free(relation);
        relation = NULL;
        goto done;
    }
    for (unsigned i = 0; i < count; i++) {
        dbi_relation_column *column = &relation->columns[i];

        column->in_identity = message->columns[i].in_identity;
        column->type = column->base = message->columns[i].type;
        column->typmod = column->base_typmod = message->columns[i].typmod;
        column->delimiter = ',';
        kind_settle(column, '\0', NULL);
    }
    key_from_identity(relation);
done:
    dbi__out_free(&json);
    return relation;
}

/* Does the message say what the relation is already? */
static bool relation_is(const dbi_relation *relation, const dbi_pgoutput_relation *message) {
    if (relation->identity != message->identity || relation->column_count != message->column_count ||
        strcmp(relation->nspname, message->nspname) != 0 || strcmp(relation->relname, message->relname) != 0)
        return false;
    for (unsigned i = 0; i < relation->column_count; i++) {
        const dbi_relation_column *column = &relation->columns[i];
        const dbi_pgoutput_column *said = &message->columns[i];

        if (column->type != said->type || column->typmod != said->typmod || column->in_identity != said->in_identity ||
            strcmp(column->name, said->name) != 0)
            return false;
    }
    return true;
}

dbi_rc dbi_relations_put(dbi_relations *relations, const dbi_pgoutput_relation *message, dbi_relation **relation,
                         dbi_err *err) {
    relation_slot *slot;
    dbi_relation *made;

    *relation = NULL;
    if (message->oid == 0 || !name_good(message->nspname) || !name_good(message->relname))
        return dbi_err_set(err, DBI_EINVAL, "the table with OID %u has a name that is empty, too long or no UTF-8",
                           message->oid);
    for (unsigned i = 0; i < message->column_count; i++)
        if (!name_good(message->columns[i].name))
            return dbi_err_set(err, DBI_EINVAL,
                               "column %u of table %s.%s has a name that is empty, too long or no UTF-8", i + 1,
                               message->nspname, message->relname);
    slot = slot_take(relations, message->oid);
    if (slot == NULL)
        goto no_memory;
    if (slot->relation != NULL && relation_is(slot->relation, message)) {
        slot->relation->described = false;
        *relation = slot->relation;
        return DBI_OK;
    }
    made = relation_make(message);
    if (made == NULL)
        goto no_memory;
    dbi_free(slot->relation);
    slot->relation = *relation = made;
    made->version = ++slot->version;
    return DBI_OK;
no_memory:
    return dbi_err_set(err, DBI_ENOMEM, "out of memory for table %s.%s", message->nspname, message->relname);
}

/* --- the catalogue --- */

/* The answer's columns, in their order. */
enum {
    ANSWER_OID,
    ANSWER_NSPNAME,
    ANSWER_RELNAME,
    ANSWER_IDENTITY,
    ANSWER_NAME,
    ANSWER_TYPE,
    ANSWER_TYPMOD,
    ANSWER_GENERATED,
    ANSWER_IN_IDENTITY,
    ANSWER_KEY, /* position in the key, from 0 on; NULL = not in it */
    ANSWER_BASE,
    ANSWER_BASE_TYPMOD,
    ANSWER_ARRAYS,
    ANSWER_TYPTYPE,
    ANSWER_TYPNAME,
    ANSWER_DELIMITER,
    ANSWER_FIELDS
};

/* The key: the primary key; but with replica identity USING INDEX that index, unless it holds the whole primary key,
 * for a delete says no more than its columns. Where there is neither, the first by name of the unique indexes that say
 * as much: no null, no condition, no expression, checked at once. Types are followed down: a domain to what it is of,
 * an array to its element. `types` are asked for besides: they come as columns without a name. */
static void question(uint32_t oid, const char *types, char sql[DBI_RELATION_SQL_SIZE]) {
    (void)snprintf(
        sql, DBI_RELATION_SQL_SIZE,
        "WITH RECURSIVE attribute AS (SELECT attnum, attname, atttypid, atttypmod, attgenerated <> '' AS generated,"
        " attnotnull FROM pg_catalog.pg_attribute WHERE attrelid = %u AND attnum > 0 AND NOT attisdropped"
        " UNION ALL SELECT (- row_number() OVER ())::int2, '', t, -1, false, false FROM unnest('{%s}'::oid[]) t),"
        " chain AS (SELECT attnum, 0 AS step, atttypid AS oid, atttypmod AS typmod, 0 AS arrays FROM attribute"
        " UNION ALL SELECT c.attnum, c.step + 1, CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.typelem END,"
        " CASE t.typtype WHEN 'd' THEN t.typtypmod ELSE c.typmod END,"
        " c.arrays + CASE t.typtype WHEN 'd' THEN 0 ELSE 1 END"
        " FROM chain c JOIN pg_catalog.pg_type t ON t.oid = c.oid"
        " WHERE t.typtype = 'd'"
        " OR (t.typcategory = 'A' AND t.typelem <> 0 AND t.typlen = -1 AND t.oid NOT IN (22, 30))),"
        " base AS (SELECT DISTINCT ON (attnum) * FROM chain ORDER BY attnum, step DESC)"
        " SELECT coalesce(r.oid, 0), coalesce(r.nspname, ''), coalesce(r.relname, ''), coalesce(r.relreplident, 'n'),"
        " a.attname, a.atttypid, a.atttypmod, a.generated,"
        " CASE r.relreplident WHEN 'f' THEN true WHEN 'n' THEN false ELSE EXISTS (SELECT FROM pg_catalog.pg_index i"
        " WHERE i.indrelid = r.oid AND CASE r.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END"
        " AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])) END,"
        " array_position(k.columns, a.attnum) - 1,"
        " b.oid, b.typmod, b.arrays, t.typtype, t.typname, t.typdelim"
        " FROM attribute a JOIN base b ON b.attnum = a.attnum JOIN pg_catalog.pg_type t ON t.oid = b.oid"
        " LEFT JOIN (SELECT c.oid, n.nspname, c.relname, c.relreplident FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = %u) r ON true"
        " LEFT JOIN LATERAL (SELECT ARRAY(SELECT i.indkey[p] FROM generate_series(0, i.indnkeyatts - 1) p ORDER BY p)"
        " AS columns FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid"
        " WHERE i.indrelid = r.oid AND (i.indisprimary OR i.indisreplident OR (i.indisunique AND i.indimmediate"
        " AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND NOT EXISTS (SELECT FROM attribute f"
        " WHERE f.attnum = ANY (i.indkey[0:i.indnkeyatts - 1]) AND NOT f.attnotnull)))"
        " ORDER BY i.indisprimary AND (r.relreplident <> 'i' OR EXISTS (SELECT FROM pg_catalog.pg_index w"
        " WHERE w.indrelid = r.oid AND w.indisreplident AND i.indkey[0:i.indnkeyatts - 1]::int2[]"
        " <@ w.indkey[0:w.indnkeyatts - 1]::int2[])) DESC, i.indisreplident DESC, x.relname LIMIT 1) k ON true"
        " ORDER BY a.attnum",
        oid, types, oid);
}

void dbi_relation_sql(uint32_t oid, char sql[DBI_RELATION_SQL_SIZE]) {
    question(oid, "", sql);
}

void dbi_relation_question(const dbi_relation *relation, char sql[DBI_RELATION_SQL_SIZE]) {
    char types[TYPES_MAX * 11 + 1] = "";
    size_t length = 0;

    for (unsigned i = 0, listed = 0; i < relation->column_count && listed < TYPES_MAX; i++) {
        uint32_t type = relation->columns[i].type;
        unsigned before = 0;

        while (before < i && relation->columns[before].type != type)
            before++;
        if (type < FIRST_NORMAL_OID || before < i)
            continue;
        length += (size_t)snprintf(types + length, sizeof types - length, listed == 0 ? "%u" : ",%u", type);
        listed++;
    }
    question(relation->oid, types, sql);
}

static const char *answer_text(const PGresult *answer, int row, int field) {
    return PQgetvalue(answer, row, field);
}

static bool answer_true(const PGresult *answer, int row, int field) {
    return answer_text(answer, row, field)[0] == 't';
}

static uint32_t answer_oid(const PGresult *answer, int row, int field) {
    return (uint32_t)strtoul(answer_text(answer, row, field), NULL, 10);
}

static int32_t answer_int(const PGresult *answer, int row, int field) {
    return (int32_t)strtol(answer_text(answer, row, field), NULL, 10);
}

static dbi_rc answer_check(const PGresult *answer, dbi_err *err) {
    if (PQresultStatus(answer) != PGRES_TUPLES_OK || PQnfields(answer) != ANSWER_FIELDS)
        return dbi_err_set(err, DBI_ESERVER, "the catalogue did not say what a table looks like: %s",
                           PQresultErrorMessage(answer));
    for (int row = 0; row < PQntuples(answer); row++)
        for (int field = 0; field < ANSWER_FIELDS; field++)
            if (PQgetisnull(answer, row, field) && field != ANSWER_KEY)
                return dbi_err_set(err, DBI_ESERVER, "the catalogue says nothing in field %d of a table's column",
                                   field);
    return DBI_OK;
}

static int answer_row(const PGresult *answer, const char *name) {
    for (int row = 0; row < PQntuples(answer); row++)
        if (strcmp(answer_text(answer, row, ANSWER_NAME), name) == 0)
            return row;
    return -1;
}

/* The row that says what the column's type is: the column's own when that is still of this type, else one of the type.
 */
static int answer_type(const PGresult *answer, const dbi_relation_column *column) {
    int row = answer_row(answer, column->name);

    if (row >= 0 && answer_oid(answer, row, ANSWER_TYPE) == column->type)
        return row;
    for (row = 0; row < PQntuples(answer); row++)
        if (answer_text(answer, row, ANSWER_NAME)[0] == '\0' && answer_oid(answer, row, ANSWER_TYPE) == column->type)
            return row;
    return -1;
}

/* Takes in what the catalogue says of a column's type; did that change anything? */
static bool column_describe(dbi_relation_column *column, const PGresult *answer) {
    dbi_relation_column was = *column;
    int row = answer_type(answer, column);

    if (row < 0)
        return false;
    column->base = answer_oid(answer, row, ANSWER_BASE);
    column->base_typmod = answer_int(answer, row, ANSWER_BASE_TYPMOD);
    if (column->base == column->type)
        column->base_typmod = column->typmod;
    column->array = answer_int(answer, row, ANSWER_ARRAYS) > 0;
    column->delimiter = answer_text(answer, row, ANSWER_DELIMITER)[0];
    if (column->delimiter == '\0')
        column->delimiter = ',';
    if (answer_int(answer, row, ANSWER_ARRAYS) > 1)
        column->kind = DBI_PGKIND_UNKNOWN;
    else
        kind_settle(column, answer_text(answer, row, ANSWER_TYPTYPE)[0], answer_text(answer, row, ANSWER_TYPNAME));
    return column->kind != was.kind || column->array != was.array || column->base != was.base ||
           column->base_typmod != was.base_typmod || column->delimiter != was.delimiter;
}

/* The key as the catalogue says; false when it says none that the relation has. */
static bool key_describe(dbi_relation *relation, const PGresult *answer) {
    int rows = PQntuples(answer);
    unsigned count = 0;

    for (int position = 0; position < rows; position++) {
        int found = -1;
        unsigned at = 0;

        for (int row = 0; row < rows && found < 0; row++)
            if (!PQgetisnull(answer, row, ANSWER_KEY) && answer_int(answer, row, ANSWER_KEY) == position)
                found = row;
        if (found < 0)
            break;
        while (at < relation->column_count &&
               strcmp(relation->columns[at].name, answer_text(answer, found, ANSWER_NAME)) != 0)
            at++;
        if (at == relation->column_count || count == relation->column_count)
            return false;
        relation->key[count++] = at;
    }
    if (count == 0)
        return false;
    relation->key_count = count;
    for (unsigned i = 0; i < relation->column_count; i++)
        relation->columns[i].in_key = false;
    for (unsigned i = 0; i < count; i++)
        relation->columns[relation->key[i]].in_key = true;
    return true;
}

/* One number for the key, to see whether it changed. */
static uint64_t key_hash(const dbi_relation *relation) {
    uint64_t hash = relation->key_count;

    for (unsigned i = 0; i < relation->key_count; i++)
        hash = hash * UINT64_C(1099511628211) + relation->key[i] + 1;
    return hash;
}

static bool relation_describe(dbi_relation *relation, const PGresult *answer) {
    uint64_t key = key_hash(relation);
    bool changed = false;

    for (unsigned i = 0; i < relation->column_count; i++)
        changed = column_describe(&relation->columns[i], answer) || changed;
    if (!key_describe(relation, answer))
        key_from_identity(relation);
    relation->described = true;
    return changed || key_hash(relation) != key;
}

dbi_rc dbi_relations_describe(dbi_relations *relations, dbi_relation *relation, const PGresult *answer, dbi_err *err) {
    relation_slot *slot = slot_of(relations->slots, relations->slot_count, relation->oid);
    dbi_rc rc = answer_check(answer, err);

    if (rc != DBI_OK)
        return rc;
    if (PQntuples(answer) == 0) {
        relation->described = true;
        return DBI_OK;
    }
    if (relation_describe(relation, answer))
        relation->version = ++slot->version;
    return DBI_OK;
}

dbi_rc dbi_relations_load(dbi_relations *relations, const PGresult *answer, const char *const *names, unsigned count,
                          dbi_relation **relation, dbi_err *err) {
    dbi_pgoutput_column *columns = NULL;
    dbi_pgoutput_relation message = {0};
    dbi_rc rc = answer_check(answer, err);
    int rows = PQntuples(answer);

    *relation = NULL;
    if (rc != DBI_OK)
        return rc;
    if (rows == 0)
        return dbi_err_set(err, DBI_ESERVER, "there is no such table");
    message.oid = answer_oid(answer, 0, ANSWER_OID);
    message.nspname = answer_text(answer, 0, ANSWER_NSPNAME);
    message.relname = answer_text(answer, 0, ANSWER_RELNAME);
    message.identity = answer_text(answer, 0, ANSWER_IDENTITY)[0];
    columns = dbi_calloc((size_t)rows + count, sizeof *columns);
    if (columns == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "out of memory for table %s.%s", message.nspname, message.relname);
    for (unsigned i = 0; names != NULL ? i < count : i < (unsigned)rows; i++) {
        int row = names != NULL ? answer_row(answer, names[i]) : (int)i;
        dbi_pgoutput_column *column = &columns[message.column_count];

        if (row < 0) {
            rc = dbi_err_set(err, DBI_ESERVER, "table %s.%s has no column \"%s\"", message.nspname, message.relname,
                             names[i]);
            goto done;
        }
        if (names == NULL && answer_true(answer, row, ANSWER_GENERATED))
            continue;
        column->name = answer_text(answer, row, ANSWER_NAME);
        column->in_identity = answer_true(answer, row, ANSWER_IN_IDENTITY);
        column->type = answer_oid(answer, row, ANSWER_TYPE);
        column->typmod = answer_int(answer, row, ANSWER_TYPMOD);
        message.column_count++;
    }
    message.columns = columns;
    rc = dbi_relations_put(relations, &message, relation, err);
    if (rc == DBI_OK)
        rc = dbi_relations_describe(relations, *relation, answer, err);
done:
    dbi_free(columns);
    return rc;
}
