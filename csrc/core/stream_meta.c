/* stream_meta.c - what a segment says of its stream: the format stands in stream.h */
#include <string.h>

#include "alloc.h"
#include "bytes_int.h"
#include "crc32c.h"
#include "stream.h"

#define META_HEAD 16u
#define META_VERSION 1u
#define META_MAX (UINT32_C(1) << 20) /* as of dbi_journal_chain */

static const char magic[4] = {'D', 'B', 'S', 'M'};

/* Of all but the field itself. */
static uint32_t meta_crc(const uint8_t *meta, size_t length) {
    return dbi_crc32c(dbi_crc32c(0, meta, 12), meta + META_HEAD, length - META_HEAD);
}

dbi_rc dbi_stream_meta_pack(const char *name, const dbi_schema *schema, uint8_t **meta_out, size_t *length_out,
                            dbi_err *err) {
    size_t name_length = strlen(name), schema_length = 0, length;
    uint8_t *packed = NULL, *meta = NULL;
    dbi_rc rc;

    *meta_out = NULL;
    *length_out = 0;
    if (name_length == 0 || name_length >= DBI_STREAM_NAME_SIZE)
        return dbi_err_set(err, DBI_EINVAL, "the name of a stream has 1 to %d bytes, not %zu", DBI_STREAM_NAME_SIZE - 1,
                           name_length);
    rc = dbi_schema_pack(schema, &packed, &schema_length, err);
    if (rc != DBI_OK)
        return rc;
    length = META_HEAD + name_length + schema_length;
    if (schema_length > META_MAX || length > META_MAX) {
        rc = dbi_err_set(err, DBI_ETOOBIG, "the columns of stream \"%s\" take %zu bytes, more than 1 MiB", name,
                         schema_length);
        goto done;
    }
    meta = dbi_malloc(length);
    if (meta == NULL) {
        rc = dbi_err_set(err, DBI_ENOMEM, "no memory for the columns of stream \"%s\"", name);
        goto done;
    }
    memcpy(meta, magic, sizeof magic);
    dbi__put16le(meta + 4, META_VERSION);
    dbi__put16le(meta + 6, (uint16_t)name_length);
    dbi__put32le(meta + 8, (uint32_t)schema_length);
    memcpy(meta + META_HEAD, name, name_length);
    memcpy(meta + META_HEAD + name_length, packed, schema_length);
    dbi__put32le(meta + 12, meta_crc(meta, length));
    *meta_out = meta;
    *length_out = length;
done:
    dbi_free(packed);
    return rc;
}

dbi_rc dbi_stream_meta_unpack(const void *bytes, size_t length, char name[DBI_STREAM_NAME_SIZE], dbi_schema **schema,
                              dbi_err *err) {
    const uint8_t *meta = bytes;
    size_t name_length, schema_length;

    *schema = NULL;
    if (length < META_HEAD || memcmp(meta, magic, sizeof magic) != 0)
        return dbi_err_set(err, DBI_ECORRUPT, "no description of a stream");
    if (meta[4] != META_VERSION || meta[5] != 0)
        return dbi_err_set(err, DBI_ECORRUPT, "the description of a stream is of version %u, not %u",
                           meta[4] | (unsigned)meta[5] << 8, META_VERSION);
    name_length = meta[6] | (size_t)meta[7] << 8;
    schema_length = dbi__get32le(meta + 8);
    if (name_length == 0 || name_length >= DBI_STREAM_NAME_SIZE || length - META_HEAD < name_length ||
        length - META_HEAD - name_length != schema_length)
        return dbi_err_set(err, DBI_ECORRUPT, "the lengths in the description of a stream do not fit");
    if (dbi__get32le(meta + 12) != meta_crc(meta, length))
        return dbi_err_set(err, DBI_ECORRUPT, "the description of a stream does not fit its CRC");
    if (memchr(meta + META_HEAD, '\0', name_length) != NULL)
        return dbi_err_set(err, DBI_ECORRUPT, "the name of a stream contains a NUL");
    if (name != NULL) {
        memcpy(name, meta + META_HEAD, name_length);
        name[name_length] = '\0';
    }
    return dbi_schema_unpack(schema, meta + META_HEAD + name_length, schema_length, err);
}
