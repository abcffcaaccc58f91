/* writer_schema.c - the columns of tables: asked of the server, kept for when it is away.
 *
 * <journal>/schemas/<table>-<crc>.schema, mode 0600, replaced by rename. Numbers are little-endian:
 *
 *     at  size  field
 *      0    8   magic "DBINTSCH"
 *      8    4   version, 1
 *     12    4   length of the question
 *     16    4   length of the packed schema
 *     20    4   CRC32C of all the rest
 *     24    -   the question: schema name, table name, and the columns asked for, each closed by a NUL
 *      -    -   the schema (schema.h says how it is packed)
 *
 * The name of the file is for people; what it answers is the question in it. One that does not fit is as good as none.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc.h"
#include "crc32c.h"
#include "ledger.h"
#include "writer_int.h"

#define KEPT_HEAD 24u
#define KEPT_VERSION 1u
#define KEPT_MAX ((size_t)4 << 20)

static const char magic[8] = {'D', 'B', 'I', 'N', 'T', 'S', 'C', 'H'};

typedef struct question {
    char *text; /* names, each with its NUL */
    size_t length;
    char *path; /* of the file */
    char *folder;
} question;

static void question_reset(question *asked) {
    dbi_free(asked->text);
    dbi_free(asked->path);
    dbi_free(asked->folder);
}

static void put_u32(uint8_t *at, uint32_t value) {
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t get_u32(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void name_add(question *asked, const char *name) {
    size_t size = strlen(name) + 1;

    memcpy(asked->text + asked->length, name, size);
    asked->length += size;
}

static dbi_rc question_init(question *asked, const dbi_writer *writer, const char *nspname, const char *relname,
                            const char *const *names, size_t count, dbi_err *err) {
    size_t size = strlen(nspname) + strlen(relname) + 2, path_size = strlen(writer->directory) + 100;
    char shown[49];
    size_t at = 0;

    for (size_t i = 0; i < count; i++)
        size += strlen(names[i]) + 1;
    asked->text = dbi_malloc(size);
    asked->path = dbi_malloc(path_size);
    asked->folder = dbi_malloc(path_size);
    if (asked->text == NULL || asked->path == NULL || asked->folder == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory to look up table \"%.63s\"", relname);
    asked->length = 0;
    name_add(asked, nspname);
    name_add(asked, relname);
    for (size_t i = 0; i < count; i++)
        name_add(asked, names[i]);
    for (const char *from = relname; *from != '\0' && at < sizeof shown - 1; from++)
        shown[at++] = (*from >= 'a' && *from <= 'z') || (*from >= '0' && *from <= '9') ? *from : '_';
    shown[at] = '\0';
    (void)snprintf(asked->folder, path_size, "%s/schemas", writer->directory);
    (void)snprintf(asked->path, path_size, "%s/%s-%08x.schema", asked->folder, shown,
                   dbi_crc32c(0, asked->text, asked->length));
    return DBI_OK;
}

static uint32_t kept_crc(const uint8_t *bytes, size_t length) {
    return dbi_crc32c(dbi_crc32c(0, bytes, 20), bytes + KEPT_HEAD, length - KEPT_HEAD);
}

/* -- writing ------------------------------------------------------------------------------------------------------ */

static bool write_all(int fd, const uint8_t *bytes, size_t length) {
    while (length > 0) {
        ssize_t written = write(fd, bytes, length);

        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        bytes += written;
        length -= (size_t)written;
    }
    return true;
}

/* Whole or not at all. What cannot be kept is asked for again next time: no error. */
static void answer_keep(const question *asked, const dbi_schema *schema) {
    static atomic_uint number;
    uint8_t *packed = NULL, *bytes = NULL;
    size_t packed_length = 0, length, path_size = strlen(asked->path) + 40;
    char *temporary = NULL;
    int fd = -1;

    if (dbi_schema_pack(schema, &packed, &packed_length, NULL) != DBI_OK)
        return;
    length = KEPT_HEAD + asked->length + packed_length;
    bytes = dbi_malloc(length);
    temporary = dbi_malloc(path_size);
    if (bytes == NULL || temporary == NULL || length > KEPT_MAX)
        goto done;
    memcpy(bytes, magic, sizeof magic);
    put_u32(bytes + 8, KEPT_VERSION);
    put_u32(bytes + 12, (uint32_t)asked->length);
    put_u32(bytes + 16, (uint32_t)packed_length);
    memcpy(bytes + KEPT_HEAD, asked->text, asked->length);
    memcpy(bytes + KEPT_HEAD + asked->length, packed, packed_length);
    put_u32(bytes + 20, kept_crc(bytes, length));
    (void)mkdir(asked->folder, 0700);
    (void)snprintf(temporary, path_size, "%s.%ld.%u.tmp", asked->path, (long)getpid(),
                   atomic_fetch_add(&number, 1));
    fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd >= 0 && (!write_all(fd, bytes, length) || fsync(fd) != 0 || rename(temporary, asked->path) != 0))
        (void)unlink(temporary);
done:
    if (fd >= 0)
        (void)close(fd);
    dbi_free(packed);
    dbi_free(bytes);
    dbi_free(temporary);
}

/* -- reading ------------------------------------------------------------------------------------------------------ */

/* The file's content; NULL without one that can be read. */
static uint8_t *kept_read(const char *path, size_t *length) {
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    uint8_t *bytes = NULL;
    struct stat status;

    *length = 0;
    if (fd < 0)
        return NULL;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0 &&
        status.st_size <= (off_t)KEPT_MAX && (bytes = dbi_malloc((size_t)status.st_size)) != NULL) {
        while (*length < (size_t)status.st_size) {
            ssize_t got = read(fd, bytes + *length, (size_t)status.st_size - *length);

            if (got < 0 && errno == EINTR)
                continue;
            if (got <= 0)
                break;
            *length += (size_t)got;
        }
    }
    (void)close(fd);
    return bytes;
}

/* DBI_ESTATE when nothing is kept that fits. */
static dbi_rc answer_read(const question *asked, dbi_schema **schema, dbi_err *err) {
    size_t length;
    uint8_t *bytes = kept_read(asked->path, &length);
    dbi_rc rc = DBI_ESTATE;

    if (bytes != NULL && length >= KEPT_HEAD && memcmp(bytes, magic, sizeof magic) == 0 &&
        get_u32(bytes + 8) == KEPT_VERSION && get_u32(bytes + 12) == asked->length &&
        length - KEPT_HEAD >= asked->length && length - KEPT_HEAD - asked->length == get_u32(bytes + 16) &&
        get_u32(bytes + 20) == kept_crc(bytes, length) && memcmp(bytes + KEPT_HEAD, asked->text, asked->length) == 0)
        rc = dbi_schema_unpack(schema, bytes + KEPT_HEAD + asked->length, length - KEPT_HEAD - asked->length, err);
    dbi_free(bytes);
    return rc == DBI_ECORRUPT ? DBI_ESTATE : rc;
}

/* -- asking ------------------------------------------------------------------------------------------------------- */

/* What the answer tells of the server: a table that is not there is an answer, too. */
static dbi_outcome outcome_of(dbi_rc rc) {
    switch (rc) {
    case DBI_OK:
    case DBI_EINVAL:
        return DBI_OUTCOME_SUCCEEDED;
    case DBI_ENOMEM:
    case DBI_ECLOSED:
    case DBI_EFULL:
    case DBI_EINTR:
        return DBI_OUTCOME_IGNORED;
    default:
        return DBI_OUTCOME_FAILED;
    }
}

static dbi_rc server_ask(const dbi_writer *writer, const char *nspname, const char *relname, const char *const *names,
                         size_t count, int64_t deadline, const dbi_interrupt *interrupt, dbi_schema **schema,
                         dbi_err *err) {
    dbi_breaker *breaker = writer->config.breaker;
    dbi_permit permit = {0};
    dbi_conn *conn = NULL;
    dbi_rc rc;

    if (breaker != NULL && dbi_breaker_acquire(breaker, &permit, NULL) != DBI_OK)
        return dbi_err_set(err, DBI_EOPEN, "circuit breaker \"%s\" is open", dbi_breaker_name(breaker));
    rc = dbi_pool_acquire_with(writer->config.pool, &conn, deadline, interrupt, err);
    if (rc == DBI_OK)
        rc = dbi_ledger_schema(conn, nspname, relname, names, count, deadline, schema, err);
    dbi_pool_release(writer->config.pool, conn, DBI_CONN_KEEP, NULL);
    if (breaker != NULL)
        dbi_breaker_done(breaker, &permit, outcome_of(rc));
    return rc;
}

dbi_rc dbi_writer_schema(dbi_writer *writer, const char *nspname, const char *relname, const char *const *names,
                         size_t count, int64_t deadline, const dbi_interrupt *interrupt, dbi_schema **schema,
                         dbi_err *err) {
    question asked = {0};
    dbi_err why;
    dbi_rc rc;

    *schema = NULL;
    if (nspname == NULL)
        nspname = "";
    rc = question_init(&asked, writer, nspname, relname, names, count, err);
    if (rc != DBI_OK)
        goto done;
    rc = server_ask(writer, nspname, relname, names, count, deadline, interrupt, schema, &why);
    if (rc == DBI_OK) {
        answer_keep(&asked, *schema);
        goto done;
    }
    if (rc == DBI_EINVAL || rc == DBI_ENOMEM || rc == DBI_EINTR) {
        rc = dbi_err_set(err, rc, "%s", why.msg);
        goto done;
    }
    rc = answer_read(&asked, schema, err);
    if (rc == DBI_ESTATE)
        rc = dbi_err_set(err, why.rc == DBI_ETIMEOUT ? DBI_EUNREACHABLE : why.rc,
                         "the columns of table \"%s%s%.63s\" are not known: %.200s; and none were kept in %.100s. "
                         "Declare them by columns={name: type}, or open the stream while the server is there",
                         nspname, nspname[0] != '\0' ? "." : "", relname, why.msg, asked.folder);
done:
    question_reset(&asked);
    return rc;
}
