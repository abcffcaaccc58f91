/* spool.c - see spool.h */
#include "cdc/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alloc.h"

#define RECORD_HEADER ((size_t)12)
#define BUFFER_MIN ((size_t)65536)
#define READ_MIN ((size_t)262144)

typedef struct spool_txn {
    struct spool_txn *next;
    uint32_t xid;
    int fd;         /* -1 = all of it is in memory */
    uint64_t filed; /* bytes in the file; what is in memory comes after them */
    uint8_t *buffer;
    size_t used, size;
    uint32_t *aborted;
    size_t aborted_count, aborted_size;
    uint64_t read_at; /* where the next record begins: in the file, then in memory */
} spool_txn;

struct dbi_spool {
    char *directory;
    size_t memory;
    size_t used; /* of the memory, by all */
    spool_txn *txns;
    uint8_t *window; /* a part of a file, as it was read */
    size_t window_size, window_used;
    uint64_t window_at; /* its place in the file */
    const spool_txn *window_of;
};

dbi_rc dbi_spool_new(dbi_spool **spool_out, size_t memory, const char *directory, dbi_err *err) {
    dbi_spool *spool = dbi_calloc(1, sizeof *spool);

    *spool_out = NULL;
    if (directory == NULL && ((directory = getenv("TMPDIR")) == NULL || directory[0] == '\0'))
        directory = "/tmp";
    if (spool != NULL)
        spool->directory = dbi_strdup(directory);
    if (spool == NULL || spool->directory == NULL) {
        dbi_free(spool);
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a spool");
    }
    spool->memory = memory;
    *spool_out = spool;
    return DBI_OK;
}

static spool_txn *txn_find(const dbi_spool *spool, uint32_t xid) {
    spool_txn *txn = spool->txns;

    while (txn != NULL && txn->xid != xid)
        txn = txn->next;
    return txn;
}

static void txn_free(dbi_spool *spool, spool_txn *txn) {
    if (txn->fd >= 0)
        (void)close(txn->fd);
    if (spool->window_of == txn)
        spool->window_of = NULL;
    spool->used -= txn->used;
    dbi_free(txn->buffer);
    dbi_free(txn->aborted);
    dbi_free(txn);
}

void dbi_spool_drop(dbi_spool *spool, uint32_t xid) {
    for (spool_txn **at = &spool->txns; *at != NULL; at = &(*at)->next)
        if ((*at)->xid == xid) {
            spool_txn *txn = *at;

            *at = txn->next;
            txn_free(spool, txn);
            return;
        }
}

void dbi_spool_clear(dbi_spool *spool) {
    while (spool->txns != NULL)
        dbi_spool_drop(spool, spool->txns->xid);
}

void dbi_spool_free(dbi_spool *spool) {
    if (spool == NULL)
        return;
    dbi_spool_clear(spool);
    dbi_free(spool->window);
    dbi_free(spool->directory);
    dbi_free(spool);
}

static dbi_rc txn_get(dbi_spool *spool, uint32_t xid, spool_txn **txn, dbi_err *err) {
    *txn = txn_find(spool, xid);
    if (*txn != NULL)
        return DBI_OK;
    *txn = dbi_calloc(1, sizeof **txn);
    if (*txn == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a streamed transaction");
    (*txn)->xid = xid;
    (*txn)->fd = -1;
    (*txn)->next = spool->txns;
    spool->txns = *txn;
    return DBI_OK;
}

/* --- files --- */

/* A file that nobody else can open: without a name where the file system can do that, else with one for an instant. */
static int file_open(const char *directory) {
    int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    char path[4096];

    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT))
        return fd;
    if (snprintf(path, sizeof path, "%s/dbint-spool-XXXXXX", directory) >= (int)sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        (void)unlink(path);
    return fd;
}

/* Moves what the transaction has in memory to its file. */
static dbi_rc txn_file(dbi_spool *spool, spool_txn *txn, dbi_err *err) {
    size_t done = 0;

    if (txn->fd < 0)
        txn->fd = file_open(spool->directory);
    if (txn->fd < 0)
        return dbi_err_sys(err, DBI_ESYS, errno, "a temporary file for a large transaction in %.200s",
                           spool->directory);
    while (done < txn->used) {
        ssize_t written = pwrite(txn->fd, txn->buffer + done, txn->used - done, (off_t)(txn->filed + done));

        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return dbi_err_sys(err, DBI_ESYS, written < 0 ? errno : ENOSPC,
                               "writing the temporary file of a large transaction in %.200s", spool->directory);
        done += (size_t)written;
    }
    txn->filed += done;
    spool->used -= txn->used;
    txn->used = 0;
    return DBI_OK;
}

static spool_txn *txn_largest(const dbi_spool *spool) {
    spool_txn *largest = spool->txns;

    for (spool_txn *txn = spool->txns; txn != NULL; txn = txn->next)
        if (txn->used > largest->used)
            largest = txn;
    return largest;
}

/* --- records --- */

dbi_rc dbi_spool_add(dbi_spool *spool, uint32_t xid, uint64_t position, const void *bytes, size_t length,
                     dbi_err *err) {
    size_t wanted;
    uint32_t size = (uint32_t)length;
    spool_txn *txn;
    dbi_rc rc;

    if (length > UINT32_MAX - RECORD_HEADER)
        return dbi_err_set(err, DBI_ETOOBIG, "a message of a streamed transaction has %zu bytes", length);
    rc = txn_get(spool, xid, &txn, err);
    while (rc == DBI_OK && spool->used > 0 && spool->used + RECORD_HEADER + length > spool->memory)
        rc = txn_file(spool, txn_largest(spool), err);
    if (rc != DBI_OK)
        return rc;
    wanted = txn->used + RECORD_HEADER + length;
    if (wanted > txn->size) {
        size_t grown = txn->size * 2 > wanted ? txn->size * 2 : wanted > BUFFER_MIN ? wanted : BUFFER_MIN;
        uint8_t *buffer = dbi_realloc(txn->buffer, grown);

        if (buffer == NULL)
            return dbi_err_set(err, DBI_ENOMEM, "no memory for %zu bytes of a streamed transaction", grown);
        txn->buffer = buffer;
        txn->size = grown;
    }
    memcpy(txn->buffer + txn->used, &size, 4);
    memcpy(txn->buffer + txn->used + 4, &position, 8);
    memcpy(txn->buffer + txn->used + RECORD_HEADER, bytes, length);
    spool->used += wanted - txn->used;
    txn->used = wanted;
    return DBI_OK;
}

dbi_rc dbi_spool_abort(dbi_spool *spool, uint32_t xid, uint32_t subxid, dbi_err *err) {
    spool_txn *txn;
    dbi_rc rc = txn_get(spool, xid, &txn, err);

    if (rc != DBI_OK)
        return rc;
    if (txn->aborted_count == txn->aborted_size) {
        size_t grown = txn->aborted_size != 0 ? txn->aborted_size * 2 : 16;
        uint32_t *aborted = dbi_realloc(txn->aborted, grown * sizeof *aborted);

        if (aborted == NULL)
            return dbi_err_set(err, DBI_ENOMEM, "no memory for a rolled back subtransaction");
        txn->aborted = aborted;
        txn->aborted_size = grown;
    }
    txn->aborted[txn->aborted_count++] = subxid;
    return DBI_OK;
}

static int xid_compare(const void *a, const void *b) {
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

    return left < right ? -1 : left > right;
}

bool dbi_spool_aborted(const dbi_spool *spool, uint32_t xid, uint32_t subxid) {
    const spool_txn *txn = txn_find(spool, xid);

    return txn != NULL && txn->aborted_count > 0 &&
           bsearch(&subxid, txn->aborted, txn->aborted_count, sizeof subxid, xid_compare) != NULL;
}

void dbi_spool_rewind(dbi_spool *spool, uint32_t xid) {
    spool_txn *txn = txn_find(spool, xid);

    if (txn == NULL)
        return;
    txn->read_at = 0;
    if (txn->aborted_count > 1)
        qsort(txn->aborted, txn->aborted_count, sizeof *txn->aborted, xid_compare);
}

/* Makes `length` bytes of the file, from read_at on, stand in the window. */
static dbi_rc window_fill(dbi_spool *spool, const spool_txn *txn, size_t length, const uint8_t **bytes, dbi_err *err) {
    size_t wanted = length > READ_MIN ? length : READ_MIN;

    if (spool->window_of == txn && txn->read_at >= spool->window_at &&
        txn->read_at + length <= spool->window_at + spool->window_used)
        goto done;
    if (wanted > spool->window_size) {
        uint8_t *window = dbi_realloc(spool->window, wanted);

        if (window == NULL)
            return dbi_err_set(err, DBI_ENOMEM, "no memory for %zu bytes of a streamed transaction", wanted);
        spool->window = window;
        spool->window_size = wanted;
    }
    spool->window_of = txn;
    spool->window_at = txn->read_at;
    spool->window_used = 0;
    while (spool->window_used < length) {
        ssize_t got = pread(txn->fd, spool->window + spool->window_used, spool->window_size - spool->window_used,
                            (off_t)(spool->window_at + spool->window_used));

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return dbi_err_sys(err, DBI_ESYS, got < 0 ? errno : EIO,
                               "reading the temporary file of a large transaction");
        spool->window_used += (size_t)got;
    }
done:
    *bytes = spool->window + (txn->read_at - spool->window_at);
    return DBI_OK;
}

dbi_rc dbi_spool_next(dbi_spool *spool, uint32_t xid, uint64_t *position, const uint8_t **bytes, size_t *length,
                      dbi_err *err) {
    spool_txn *txn = txn_find(spool, xid);
    const uint8_t *record = NULL;
    uint32_t size;
    dbi_rc rc;

    *bytes = NULL;
    *length = 0;
    if (txn == NULL || txn->read_at >= txn->filed + txn->used)
        return DBI_OK;
    if (txn->read_at >= txn->filed) {
        record = txn->buffer + (txn->read_at - txn->filed);
        memcpy(&size, record, 4);
    } else {
        rc = window_fill(spool, txn, RECORD_HEADER, &record, err);
        if (rc != DBI_OK)
            return rc;
        memcpy(&size, record, 4);
        rc = window_fill(spool, txn, RECORD_HEADER + size, &record, err);
        if (rc != DBI_OK)
            return rc;
    }
    memcpy(position, record + 4, 8);
    *bytes = record + RECORD_HEADER;
    *length = size;
    txn->read_at += RECORD_HEADER + size;
    return DBI_OK;
}

uint64_t dbi_spool_bytes(const dbi_spool *spool) {
    uint64_t bytes = 0;

    for (const spool_txn *txn = spool->txns; txn != NULL; txn = txn->next)
        bytes += txn->filed + txn->used;
    return bytes;
}
