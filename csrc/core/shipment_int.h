/* shipment_int.h - one transaction that lands records: its SQL, and how it is run on a connection */
#ifndef DBI_SHIPMENT_INT_H
#define DBI_SHIPMENT_INT_H

#include "dead.h"
#include "journal.h"
#include "ledger_int.h"
#include "schema.h"
#include "text_int.h"

/* How rows of one schema get into the table as it is now. */
typedef struct dbi__plan {
    const dbi_schema *schema; /* of the rows; borrowed */
    bool cast;                /* through a temporary table of the old types */
    dbi__text guard;          /* SELECT dbint.guard(...); and, with cast, CREATE TEMP TABLE ...; */
    dbi__text copy;           /* COPY ... */
    dbi__text after;          /* with cast: what moves the rows on, and empties the temporary table */
} dbi__plan;

/* Whether bytes written for a column of one type mean the same to one of the other, so that COPY takes them. */
bool dbi__column_reads(const dbi_column *written, const dbi_column *now);

/* `now`: the same columns as the catalogue has them; NULL = as in schema. DBI_ENOMEM. */
DBI_NODISCARD dbi_rc dbi__plan_make(dbi__plan *plan, const dbi_schema *schema, const dbi_schema *now,
                                    const uint8_t identity[16], dbi_err *err);
void dbi__plan_free(dbi__plan *plan);

/* A shipment that is being tried. */
typedef struct dbi__shipment {
    dbi_conn *conn;
    const dbi__plan *plan;
    dbi_records *records;
    const char *chain; /* its id as SQL writes it */
    const char *stream;
    uint64_t expected; /* where the ledger is */
    int64_t stall_timeout;
    uint32_t bad_max;        /* more refused rows than this are too many */
    double bad_share;        /* of seen + count: see too_many */
    uint64_t seen, seen_bad; /* rows of recent shipments, and how many were refused */
    dbi_dead *dead;
    void (*meanwhile)(void *arg); /* called when the server has all rows, before it is waited for */
    void *meanwhile_arg;
    /* what came of it */
    bool committing; /* the server may have been told to commit */
    bool committed;
    uint64_t bad;    /* rows that went to the dead letters */
    uint64_t copies; /* COPY statements */
    uint64_t bytes;  /* of the rows that landed */
    /* of its own */
    uint64_t sent; /* bytes of rows, by the last COPY */
    dbi__text sql;
    uint8_t *staging;
} dbi__shipment;

void dbi__shipment_free(dbi__shipment *shipment);

/* All records in one message. An error of the server leaves the connection ready for the next statement, where it is
 * not lost. */
DBI_NODISCARD dbi_rc dbi__shipment_send(dbi__shipment *shipment, dbi_err *err);

/* The same, and rows that the server refuses are found by bisecting and go to the dead letters. To be called when send
 * failed for a row's fault. DBI_EHELD: too many are refused. Other errors as of send. */
DBI_NODISCARD dbi_rc dbi__shipment_bisect(dbi__shipment *shipment, dbi_err *err);

#endif
