/* shipment_plan.c - the SQL of a shipment: see shipment_int.h */
#include <string.h>

#include "alloc.h"
#include "shipment_int.h"

#define TEMPORARY "pg_temp.dbint_shipment"

bool dbi__column_reads(const dbi_column *written, const dbi_column *now) {
    bool texts = (written->type == DBI_TYPE_TEXT || written->type == DBI_TYPE_ENUM) &&
                 (now->type == DBI_TYPE_TEXT || now->type == DBI_TYPE_ENUM);

    if (written->array != now->array || (written->type != now->type && !texts))
        return false;
    /* An array says what its elements are. A text and a label of an enum are the same characters, which the type's
     * input takes or refuses; so are numbers that another typmod rounds or refuses. */
    return !written->array || written->element_oid == now->element_oid;
}

static void plan_table(dbi__text *sql, const dbi_schema *schema) {
    dbi__text_identifier(sql, schema->nspname);
    dbi__text_put(sql, ".");
    dbi__text_identifier(sql, schema->relname);
}

static void plan_names(dbi__text *sql, const dbi_schema *schema) {
    for (unsigned i = 0; i < schema->column_count; i++) {
        dbi__text_put(sql, i > 0 ? "," : "");
        dbi__text_identifier(sql, schema->columns[i].name);
    }
}

static void plan_guard(dbi__text *sql, const dbi_schema *schema, const char *fingerprint, const uint8_t identity[16]) {
    char id[DBI__UUID_TEXT_SIZE];
    dbi__text table = {0};

    dbi__uuid_text(identity, id);
    plan_table(&table, schema);
    sql->failed = sql->failed || table.failed;
    dbi__text_put(sql, "SELECT dbint.guard('");
    dbi__text_put(sql, id);
    dbi__text_put(sql, "',");
    dbi__text_literal(sql, table.failed ? "" : table.bytes);
    dbi__text_put(sql, ",");
    dbi__text_literal(sql, fingerprint);
    dbi__text_put(sql, ",ARRAY[");
    for (unsigned i = 0; i < schema->column_count; i++) {
        dbi__text_put(sql, i > 0 ? "," : "");
        dbi__text_literal(sql, schema->columns[i].name);
    }
    dbi__text_put(sql, "]::text[]);");
    dbi__text_free(&table);
}

static void plan_temporary(dbi__text *sql, const dbi_schema *schema) {
    dbi__text_put(sql, "CREATE TEMP TABLE dbint_shipment (");
    for (unsigned i = 0; i < schema->column_count; i++) {
        dbi__text_put(sql, i > 0 ? "," : "");
        dbi__text_identifier(sql, schema->columns[i].name);
        dbi__text_put(sql, " ");
        dbi__text_put(sql, schema->columns[i].type_name);
    }
    dbi__text_put(sql, ") ON COMMIT DROP;");
}

dbi_rc dbi__plan_make(dbi__plan *plan, const dbi_schema *schema, const dbi_schema *now, const uint8_t identity[16],
                      dbi_err *err) {
    char *fingerprint = dbi_ledger_fingerprint(now != NULL ? now : schema);

    memset(plan, 0, sizeof *plan);
    plan->schema = schema;
    for (unsigned i = 0; now != NULL && i < schema->column_count; i++)
        plan->cast = plan->cast || !dbi__column_reads(&schema->columns[i], &now->columns[i]);
    if (fingerprint != NULL)
        plan_guard(&plan->guard, schema, fingerprint, identity);
    if (plan->cast)
        plan_temporary(&plan->guard, schema);
    dbi__text_put(&plan->copy, "COPY ");
    if (plan->cast)
        dbi__text_put(&plan->copy, TEMPORARY);
    else
        plan_table(&plan->copy, schema);
    dbi__text_put(&plan->copy, " (");
    plan_names(&plan->copy, schema);
    dbi__text_put(&plan->copy, ") FROM STDIN (FORMAT binary);");
    dbi__text_put(&plan->after, "");
    if (plan->cast) { /* OVERRIDING: as COPY does */
        dbi__text_put(&plan->after, "INSERT INTO ");
        plan_table(&plan->after, schema);
        dbi__text_put(&plan->after, " (");
        plan_names(&plan->after, schema);
        dbi__text_put(&plan->after, ") OVERRIDING SYSTEM VALUE SELECT ");
        plan_names(&plan->after, schema);
        dbi__text_put(&plan->after, " FROM " TEMPORARY ";TRUNCATE " TEMPORARY ";");
    }
    dbi_free(fingerprint);
    if (fingerprint == NULL || plan->guard.failed || plan->copy.failed || plan->after.failed) {
        dbi__plan_free(plan);
        return dbi_err_set(err, DBI_ENOMEM, "out of memory for the SQL of a shipment");
    }
    return DBI_OK;
}

void dbi__plan_free(dbi__plan *plan) {
    dbi__text_free(&plan->guard);
    dbi__text_free(&plan->copy);
    dbi__text_free(&plan->after);
    memset(plan, 0, sizeof *plan);
}
