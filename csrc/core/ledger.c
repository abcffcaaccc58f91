/* ledger.c - asks the ledger; see ledger.h */
#include "ledger.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "alloc.h"
#include "clock.h"
#include "ledger_int.h"

/* --- answers --- */

void dbi__uuid_text(const uint8_t id[16], char text[DBI__UUID_TEXT_SIZE]) {
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *text++ = '-';
        *text++ = digits[id[i] >> 4];
        *text++ = digits[id[i] & 15];
    }
    *text = '\0';
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

/* As the server writes it: lower case, with hyphens. */
static bool uuid_parse(const char *text, uint8_t id[16]) {
    for (size_t i = 0; i < 16; i++) {
        int high, low;

        if ((i == 4 || i == 6 || i == 8 || i == 10) && *text++ != '-')
            return false;
        if ((high = hex_digit(text[0])) < 0 || (low = hex_digit(text[1])) < 0)
            return false;
        id[i] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    return *text == '\0';
}

static bool integer_parse(const char *text, int64_t min, int64_t max, int64_t *value) {
    bool negative = *text == '-';
    uint64_t limit = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX, sum = 0;

    text += negative;
    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        unsigned digit = (unsigned)(*text - '0');

        if (digit > 9 || sum > (limit - digit) / 10)
            return false;
        sum = sum * 10 + digit;
    }
    *value = negative ? (int64_t)(0 - sum) : (int64_t)sum;
    return *value >= min && *value <= max;
}

static bool boolean_parse(const char *text, bool *value) {
    *value = text[0] == 't';
    return (text[0] == 't' || text[0] == 'f') && text[1] == '\0';
}

/* The text of a field, NULL for SQL's NULL. A field of a result ends with a NUL. */
static const char *field(const PGresult *answer, int row, int column) {
    return PQgetisnull(answer, row, column) ? NULL : PQgetvalue(answer, row, column);
}

static dbi_rc not_understood(dbi_err *err, const char *question) {
    return dbi_err_set(err, DBI_ESERVER, "the server's answer about %s cannot be understood", question);
}

static bool has_shape(const PGresult *answer, int rows, int columns) {
    return PQresultStatus(answer) == PGRES_TUPLES_OK && PQnfields(answer) == columns &&
           (rows < 0 || PQntuples(answer) == rows);
}

dbi_rc dbi__ledger_server(const PGresult *answer, uint8_t identity[16], int64_t *version, dbi_err *err) {
    const char *id, *number, *recovery;
    bool standby;

    if (!has_shape(answer, 1, 3) || (id = field(answer, 0, 0)) == NULL || (number = field(answer, 0, 1)) == NULL ||
        (recovery = field(answer, 0, 2)) == NULL || !uuid_parse(id, identity) ||
        !integer_parse(number, 1, INT32_MAX, version) || !boolean_parse(recovery, &standby))
        return not_understood(err, "its identity (dbint.server)");
    if (!standby)
        return DBI_OK;
    /* What it says of the ledger may be long out of date: it must not be taken for what the server has lost. */
    (void)dbi_err_set(err, DBI_ESERVER,
                      "the server is a standby: it is read-only, and knows the ledger only as it was");
    if (err != NULL)
        strcpy(err->sqlstate, "25006");
    return DBI_ESERVER;
}

dbi_rc dbi__ledger_entry(const PGresult *answer, dbi_ledger_entry *entry, dbi_err *err) {
    const char *last, *dead, *before;
    int64_t last_value = 0, dead_value = 0, before_value = INT64_MIN;

    if (!has_shape(answer, 1, 3))
        return not_understood(err, "a chain (dbint.chains)");
    last = field(answer, 0, 0);
    dead = field(answer, 0, 1);
    before = field(answer, 0, 2);
    if ((last == NULL) != (dead == NULL) || (last != NULL && !integer_parse(last, 0, INT64_MAX, &last_value)) ||
        (dead != NULL && !integer_parse(dead, 0, INT64_MAX, &dead_value)) ||
        (before != NULL && !integer_parse(before, INT64_MIN, INT64_MAX, &before_value)))
        return not_understood(err, "a chain (dbint.chains)");
    *entry = (dbi_ledger_entry){.found = last != NULL,
                                .last = (uint64_t)last_value,
                                .dead = (uint64_t)dead_value,
                                .collected_before_us = before_value};
    return DBI_OK;
}

dbi_rc dbi__ledger_number(const PGresult *answer, int64_t *number, dbi_err *err) {
    const char *text;

    if (!has_shape(answer, 1, 1) || (text = field(answer, 0, 0)) == NULL ||
        !integer_parse(text, INT64_MIN, INT64_MAX, number))
        return not_understood(err, "a number");
    return DBI_OK;
}

/* --- the catalogue --- */

/* A row for each column of the table, in its order. Of a domain, the type is the one below it. */
static const char columns_sql[] =
    "SELECT n.nspname, c.relname, c.relkind, a.attname, b.oid,"
    " CASE t.typtype WHEN 'd' THEN t.typtypmod ELSE a.atttypmod END, b.typtype,"
    " CASE b.typcategory WHEN 'A' THEN b.typelem ELSE 0 END, coalesce(e.typtype, ''),"
    " format_type(b.oid, CASE t.typtype WHEN 'd' THEN t.typtypmod ELSE a.atttypmod END),"
    " CASE t.typtype WHEN 'd' THEN t.oid ELSE 0 END, a.attnotnull OR t.typnotnull,"
    " CASE WHEN a.attgenerated <> '' THEN 'generated' WHEN a.attidentity <> '' THEN 'identity' ELSE '' END,"
    " pg_get_expr(d.adbin, d.adrelid)"
    " FROM pg_catalog.pg_class AS c"
    " JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
    " JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
    " JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid"
    " JOIN pg_catalog.pg_type AS b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END"
    " LEFT JOIN pg_catalog.pg_type AS e ON e.oid = b.typelem AND b.typcategory = 'A'"
    " LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum"
    " WHERE c.oid = to_regclass(CASE $1 WHEN '' THEN format('%I', $2::text) ELSE format('%I.%I', $1, $2) END)"
    " ORDER BY a.attnum";

enum {
    AT_NSPNAME,
    AT_RELNAME,
    AT_RELKIND,
    AT_NAME,
    AT_OID,
    AT_TYPMOD,
    AT_TYPTYPE,
    AT_ELEMENT,
    AT_ELEMENT_TYPTYPE,
    AT_TYPE_NAME,
    AT_DOMAIN,
    AT_NOT_NULL,
    AT_MADE,
    AT_DEFAULT
};
_Static_assert(AT_DEFAULT + 1 == DBI__COLUMNS_FIELDS, "every field has its name");

/* The function that a default calls, when it is nothing but a call with no argument: "ext.uuid_generate_v4()". */
static bool default_is(const char *expression, const char *const *calls) {
    const char *dot = strrchr(expression, '.');

    if (dot != NULL)
        expression = dot + 1;
    for (; *calls != NULL; calls++)
        if (strcmp(expression, *calls) == 0)
            return true;
    return false;
}

static dbi_fill fill_of(const dbi_column *column, const char *expression) {
    static const char *const ids[] = {
        "gen_random_uuid()",  "uuidv4()",           "uuidv7()",           "uuid_generate_v1mc()",
        "uuid_generate_v1()", "uuid_generate_v4()", "uuid_generate_v7()", NULL};
    static const char *const times[] = {
        "now()", "CURRENT_TIMESTAMP", "clock_timestamp()", "statement_timestamp()", "transaction_timestamp()", NULL};

    if (expression == NULL)
        return column->nullable ? DBI_FILL_NULL : DBI_FILL_NONE;
    if (column->type == DBI_TYPE_UUID && !column->array && default_is(expression, ids))
        return DBI_FILL_UUID7;
    if (column->type == DBI_TYPE_TIMESTAMPTZ && !column->array && default_is(expression, times))
        return DBI_FILL_NOW;
    return DBI_FILL_NONE;
}

/* Whether an event has the column when nobody said which ones it has. */
static bool given_by_events(const dbi_column *column, const char *made, const char *expression) {
    return made[0] == '\0' && (expression == NULL || fill_of(column, expression) != DBI_FILL_NONE);
}

/* One row of the answer. *given says whether the column belongs to an event that names no columns. */
static dbi_rc column_read(const PGresult *answer, int row, dbi_column *column, bool *given, dbi_err *err) {
    const char *text[DBI__COLUMNS_FIELDS];
    int64_t oid, typmod, element, domain;
    bool not_null;
    dbi_rc rc;

    for (int i = 0; i < DBI__COLUMNS_FIELDS; i++)
        if ((text[i] = field(answer, row, i)) == NULL && i != AT_DEFAULT)
            return not_understood(err, "a table's columns");
    if (!integer_parse(text[AT_OID], 1, UINT32_MAX, &oid) ||
        !integer_parse(text[AT_TYPMOD], INT32_MIN, INT32_MAX, &typmod) ||
        !integer_parse(text[AT_ELEMENT], 0, UINT32_MAX, &element) ||
        !integer_parse(text[AT_DOMAIN], 0, UINT32_MAX, &domain) || !boolean_parse(text[AT_NOT_NULL], &not_null) ||
        strlen(text[AT_NAME]) >= sizeof column->name || text[AT_NAME][0] == '\0')
        return not_understood(err, "a table's columns");
    memset(column, 0, sizeof *column);
    strcpy(column->name, text[AT_NAME]);
    rc = dbi_column_resolve(column, (uint32_t)oid, (int32_t)typmod, text[AT_TYPTYPE][0], (uint32_t)element,
                            text[AT_ELEMENT_TYPTYPE][0], text[AT_TYPE_NAME], err);
    if (rc != DBI_OK)
        return rc;
    column->domain_oid = (uint32_t)domain;
    column->nullable = !not_null;
    column->fill = fill_of(column, text[AT_DEFAULT]);
    *given = given_by_events(column, text[AT_MADE], text[AT_DEFAULT]);
    return DBI_OK;
}

static int row_named(const PGresult *answer, const char *name) {
    for (int row = 0; row < PQntuples(answer); row++)
        if (strcmp(PQgetvalue(answer, row, AT_NAME), name) == 0)
            return row;
    return -1;
}

/* "schema"."table" as a person would write it, for messages. */
static const char *table_text(const char *nspname, const char *relname, char text[2 * DBI_NAME_SIZE + 2]) {
    (void)snprintf(text, 2 * DBI_NAME_SIZE + 2, "%.63s%s%.63s", nspname != NULL ? nspname : "",
                   nspname != NULL && nspname[0] != '\0' ? "." : "", relname);
    return text;
}

dbi_rc dbi__ledger_columns(const PGresult *answer, const char *nspname, const char *relname, const char *const *names,
                           size_t count, dbi_schema **schema, dbi_err *err) {
    char table[2 * DBI_NAME_SIZE + 2];
    dbi_schema *made = NULL;
    dbi_column column;
    unsigned filled = 0;
    size_t wanted;
    bool given = false;
    int rows;
    dbi_rc rc;

    *schema = NULL;
    (void)table_text(nspname, relname, table);
    if (!has_shape(answer, -1, DBI__COLUMNS_FIELDS))
        return not_understood(err, "a table's columns");
    rows = PQntuples(answer);
    if (rows == 0)
        return dbi_err_set(err, DBI_EINVAL, "there is no table %s in the database, or it has no columns", table);
    if (field(answer, 0, AT_RELKIND) == NULL || strchr("rpvf", PQgetvalue(answer, 0, AT_RELKIND)[0]) == NULL)
        return dbi_err_set(err, DBI_EINVAL, "%s is nothing that rows can be written to", table);
    wanted = count > 0 ? count : (size_t)rows;
    if (wanted > DBI_COLUMNS_MAX)
        return dbi_err_set(err, DBI_EINVAL, "a table has at most %d columns, not %zu", DBI_COLUMNS_MAX, wanted);
    rc = dbi_schema_new(&made, PQgetvalue(answer, 0, AT_NSPNAME), PQgetvalue(answer, 0, AT_RELNAME), (unsigned)wanted,
                        err);
    if (rc != DBI_OK)
        return rc;
    for (size_t i = 0; i < wanted; i++) {
        int row = count > 0 ? row_named(answer, names[i]) : (int)i;

        if (row < 0) {
            rc = dbi_err_set(err, DBI_EINVAL, "table %s has no column \"%s\"", table, names[i]);
            goto done;
        }
        /* A column that nobody asked for may be of a type that cannot be written, when the server fills it. */
        rc = column_read(answer, row, &column, &given, err);
        if (rc == DBI_EINVAL && count == 0 &&
            (PQgetvalue(answer, row, AT_MADE)[0] != '\0' || !PQgetisnull(answer, row, AT_DEFAULT))) {
            dbi_err_reset(err);
            continue;
        }
        if (rc != DBI_OK)
            goto done;
        if (count > 0 && strcmp(PQgetvalue(answer, row, AT_MADE), "generated") == 0) {
            rc = dbi_err_set(err, DBI_EINVAL, "column \"%s\" of table %s is generated: it cannot be written", names[i],
                             table);
            goto done;
        }
        if (count > 0 || given)
            made->columns[filled++] = column;
    }
    if (filled == 0) {
        rc = dbi_err_set(err, DBI_EINVAL, "table %s has no column that an event could give", table);
        goto done;
    }
    made->column_count = filled;
    rc = dbi_schema_check(made, err);
    if (rc != DBI_OK)
        goto done;
    *schema = made;
    made = NULL;

done:
    dbi_schema_free(made);
    return rc;
}

char *dbi_ledger_fingerprint(const dbi_schema *schema) {
    size_t room = 1, used = 0;
    char *text;

    for (unsigned i = 0; i < schema->column_count; i++)
        room += strlen(schema->columns[i].name) + sizeof ":4294967295:-2147483648\n";
    text = dbi_malloc(room);
    if (text == NULL)
        return NULL;
    for (unsigned i = 0; i < schema->column_count; i++) {
        const dbi_column *column = &schema->columns[i];
        bool domain = column->domain_oid != 0; /* whose columns have no typmod of their own */
        int wrote = snprintf(text + used, room - used, "%s%s:%" PRIu32 ":%" PRId32, i > 0 ? "\n" : "", column->name,
                             domain ? column->domain_oid : column->oid, domain ? -1 : column->typmod);

        if (wrote > 0)
            used += (size_t)wrote;
    }
    text[used] = '\0';
    return text;
}

/* --- questions --- */

/* What only an owner of the database can mend is no failure of the server: it is held, and says what to run. */
static dbi_rc prepare_failed(dbi_rc rc, dbi_err *err, const char *advice) {
    char said[sizeof err->msg];

    if (strcmp(err->sqlstate, "42501") != 0)
        return rc;
    memcpy(said, err->msg, sizeof said);
    (void)dbi_err_set(err, DBI_EHELD, "%.300s. %s", said, advice);
    strcpy(err->sqlstate, "42501");
    return DBI_EHELD;
}

static dbi_rc server_read(dbi_conn *conn, int64_t deadline, uint8_t identity[16], int64_t *version, dbi_err *err) {
    PGresult *answer = NULL;
    dbi_rc rc =
        dbi_conn_exec(conn, "SELECT identity, version, pg_is_in_recovery() FROM dbint.server", deadline, &answer, err);

    if (rc == DBI_OK)
        rc = dbi__ledger_server(answer, identity, version, err);
    PQclear(answer);
    return rc;
}

dbi_rc dbi_ledger_prepare(dbi_conn *conn, bool install, int64_t deadline, uint8_t identity[16], dbi_err *err) {
    dbi_err local;
    int64_t version = 0;
    dbi_rc rc;

    if (err == NULL)
        err = &local;
    rc = server_read(conn, deadline, identity, &version, err);
    if (rc == DBI_OK && version == DBI_LEDGER_VERSION)
        return DBI_OK;
    if (rc == DBI_OK && version > DBI_LEDGER_VERSION)
        return dbi_err_set(err, DBI_EHELD,
                           "the ledger in this database (schema dbint) has version %" PRId64
                           ", this dbint knows %d: upgrade dbint",
                           version, DBI_LEDGER_VERSION);
    if (rc == DBI_ESERVER && strcmp(err->sqlstate, "42501") == 0)
        return prepare_failed(rc, err,
                              "As owner of schema dbint run, for the role that writes events: GRANT USAGE ON SCHEMA "
                              "dbint; GRANT SELECT ON dbint.server; GRANT SELECT, INSERT, UPDATE ON dbint.chains");
    if (rc != DBI_OK &&
        !(rc == DBI_ESERVER && (strcmp(err->sqlstate, "42P01") == 0 || strcmp(err->sqlstate, "3F000") == 0)))
        return rc;
    if (!install) {
        (void)dbi_err_set(err, DBI_EHELD,
                          "the ledger (schema dbint) is %s this database: run the migrations of "
                          "dbint.django.observability, or the SQL of dbint._core.ledger_sql()",
                          rc == DBI_OK ? "outdated in" : "not installed in");
        if (rc != DBI_OK)
            memcpy(err->sqlstate, DBI_SQLSTATE_NO_LEDGER, sizeof DBI_SQLSTATE_NO_LEDGER);
        return DBI_EHELD;
    }
    rc = dbi_conn_exec(conn, dbi_ledger_sql(), deadline, NULL, err);
    if (rc != DBI_OK)
        return prepare_failed(rc, err,
                              "The ledger (schema dbint) is to be installed by a role that may: by the migrations of "
                              "dbint.django.observability, or the SQL of dbint._core.ledger_sql()");
    return server_read(conn, deadline, identity, &version, err);
}

dbi_rc dbi_ledger_register(dbi_conn *conn, const uint8_t chain[16], const dbi_ledger_chain *about,
                           const dbi_ledger_entry *start, int64_t deadline, dbi_err *err) {
    char id[DBI__UUID_TEXT_SIZE], host[256] = "", lane[16], last[24], dead[24];
    const char *values[8] = {id, last, dead, about->stream, about->relation, lane, about->slot, host};

    dbi__uuid_text(chain, id);
    (void)snprintf(last, sizeof last, "%" PRIu64, start->last);
    (void)snprintf(dead, sizeof dead, "%" PRIu64, start->dead);
    (void)snprintf(lane, sizeof lane, "%" PRIu32, about->lane);
    if (gethostname(host, sizeof host - 1) != 0)
        host[0] = '\0';
    /* As durable as shipments, which rely on it: one statement is one transaction, and the setting holds to its end. */
    return dbi_conn_exec_params(
        conn,
        "WITH durable AS (SELECT CASE WHEN current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')"
        " THEN set_config('synchronous_commit', 'on', true) END)"
        " INSERT INTO dbint.chains (chain, last, dead, stream, relation, lane, slot, host)"
        " SELECT $1::uuid, $2::bigint, $3::bigint, $4, $5, $6::integer, $7, $8 FROM durable"
        " ON CONFLICT (chain) DO NOTHING",
        8, values, deadline, NULL, err);
}

dbi_rc dbi_ledger_read(dbi_conn *conn, const uint8_t chain[16], int64_t deadline, dbi_ledger_entry *entry,
                       dbi_err *err) {
    char id[DBI__UUID_TEXT_SIZE];
    const char *values[1] = {id};
    PGresult *answer = NULL;
    dbi_rc rc;

    dbi__uuid_text(chain, id);
    rc = dbi_conn_exec_params(conn,
                              "SELECT c.last, c.dead, (extract(epoch FROM s.collected_before) * 1000000)::bigint"
                              " FROM dbint.server AS s LEFT JOIN dbint.chains AS c ON c.chain = $1::uuid",
                              1, values, deadline, &answer, err);
    if (rc == DBI_OK)
        rc = dbi__ledger_entry(answer, entry, err);
    PQclear(answer);
    return rc;
}

#define END_AGAIN_MS 20

/* Waits a moment; DBI_EINTR when cancel_fd became readable. */
static dbi_rc moment(int cancel_fd, dbi_err *err) {
    struct pollfd cancel = {.fd = cancel_fd, .events = POLLIN};

    if (poll(&cancel, 1, END_AGAIN_MS) > 0)
        return dbi_err_set(err, DBI_EINTR, "interrupted while an earlier shipment was being ended");
    return DBI_OK;
}

dbi_rc dbi_ledger_end_shipments(dbi_conn *conn, const uint8_t chain[16], int cancel_fd, int64_t deadline,
                                unsigned *ended, unsigned *left, dbi_err *err) {
    char id[DBI__UUID_TEXT_SIZE];
    const char *values[1] = {id};
    int64_t seen;
    dbi_rc rc;

    dbi__uuid_text(chain, id);
    *ended = *left = 0;
    for (bool first = true;; first = false) {
        PGresult *answer = NULL;

        rc = dbi_conn_exec_params(conn, "SELECT dbint.end_shipments($1::uuid)", 1, values, deadline, &answer, err);
        if (rc == DBI_OK)
            rc = dbi__ledger_number(answer, &seen, err);
        PQclear(answer);
        if (rc != DBI_OK)
            return rc;
        *left = seen > 0 ? (unsigned)seen : 0;
        if (first)
            *ended = *left;
        if (*left == 0 || dbi_clock_left(NULL, deadline) < 2 * END_AGAIN_MS * DBI_NS_PER_MS)
            return DBI_OK;
        rc = moment(cancel_fd, err);
        if (rc != DBI_OK)
            return rc;
    }
}

dbi_rc dbi_ledger_schema(dbi_conn *conn, const char *nspname, const char *relname, const char *const *names,
                         size_t count, int64_t deadline, dbi_schema **schema, dbi_err *err) {
    const char *values[2] = {nspname != NULL ? nspname : "", relname};
    PGresult *answer = NULL;
    dbi_rc rc = dbi_conn_exec_params(conn, columns_sql, 2, values, deadline, &answer, err);

    *schema = NULL;
    if (rc == DBI_OK)
        rc = dbi__ledger_columns(answer, nspname, relname, names, count, schema, err);
    PQclear(answer);
    return rc;
}
