/* batch.c - see batch.h
 *
 * A part has two blocks: entries of a fixed size, and the bytes of all messages one behind the other: key, value, and
 * the headers, each of them the length of its name with the NUL (4 bytes), the length of its value or NO_VALUE (4), the
 * name, the value.
 */
#include "batch.h"

#include <stdatomic.h>
#include <string.h>

#include "alloc.h"
#include "batch_int.h"

#define FIRST_ENTRIES 16
#define FIRST_BYTES 1024
#define NO_VALUE UINT32_MAX

typedef struct part_entry {
    int64_t offset, timestamp;
    size_t at;
    uint32_t key_len, value_len, headers_len; /* NO_VALUE = Kafka's null */
} part_entry;

struct dbi__part {
    atomic_int refs; /* one per batch */
    int32_t partition;
    size_t count, capacity;
    part_entry *entries;
    size_t used, size;
    uint8_t *bytes;
    size_t key_bytes, value_bytes;
    char topic[];
};

/* -- parts -------------------------------------------------------------------------------------------------------- */

static dbi__part *part_new(const char *topic, int32_t partition) {
    size_t length = strlen(topic) + 1;
    dbi__part *part = dbi_calloc(1, sizeof *part + length);

    if (part == NULL)
        return NULL;
    atomic_init(&part->refs, 1);
    part->partition = partition;
    memcpy(part->topic, topic, length);
    return part;
}

static void part_release(dbi__part *part) {
    if (atomic_fetch_sub(&part->refs, 1) != 1)
        return;
    dbi_free(part->entries);
    dbi_free(part->bytes);
    dbi_free(part);
}

/* Makes a block hold `wanted` items at least; false when there is no memory, and then it is as it was. */
static bool block_reserve(void **block, size_t *capacity, size_t wanted, size_t first, size_t item) {
    size_t larger = *capacity > first ? *capacity : first;
    void *moved;

    if (wanted <= *capacity)
        return true;
    while (larger < wanted) {
        if (larger > SIZE_MAX / 2)
            return false;
        larger *= 2;
    }
    if (larger > SIZE_MAX / item || (moved = dbi_realloc(*block, larger * item)) == NULL)
        return false;
    *block = moved;
    *capacity = larger;
    return true;
}

static bool part_reserve(dbi__part *part, size_t bytes) {
    void *entries = part->entries, *contents = part->bytes;
    bool reserved = bytes < SIZE_MAX - part->used &&
                    /* one byte more: what is empty has an address, too */
                    block_reserve(&contents, &part->size, part->used + bytes + 1, FIRST_BYTES, 1);

    part->bytes = contents;
    reserved = reserved &&
               block_reserve(&entries, &part->capacity, part->count + 1, FIRST_ENTRIES, sizeof *part->entries);
    part->entries = entries;
    return reserved;
}

static void part_read(const dbi__part *part, size_t index, dbi_fetched *fetched) {
    const part_entry *entry = &part->entries[index];
    size_t key_len = entry->key_len == NO_VALUE ? 0 : entry->key_len;
    size_t value_len = entry->value_len == NO_VALUE ? 0 : entry->value_len;
    const uint8_t *at = part->bytes + entry->at;

    *fetched = (dbi_fetched){
        .topic = part->topic,
        .partition = part->partition,
        .offset = entry->offset,
        .timestamp = entry->timestamp,
        .key = entry->key_len == NO_VALUE ? NULL : at,
        .key_len = key_len,
        .value = entry->value_len == NO_VALUE ? NULL : at + key_len,
        .value_len = value_len,
        .headers = at + key_len + value_len,
        .headers_len = entry->headers_len,
    };
}

/* -- life --------------------------------------------------------------------------------------------------------- */

dbi_rc dbi__batch_new(dbi_batch **batch_out, dbi_err *err) {
    dbi_batch *batch = dbi_calloc(1, sizeof *batch);

    *batch_out = batch;
    if (batch == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a batch of messages");
    batch->ends = rd_kafka_topic_partition_list_new(1);
    return DBI_OK;
}

void dbi_batch_free(dbi_batch *batch) {
    if (batch == NULL)
        return;
    for (size_t i = 0; i < batch->part_count; i++)
        part_release(batch->parts[i]);
    rd_kafka_topic_partition_list_destroy(batch->ends);
    if (batch->assigned != NULL)
        rd_kafka_topic_partition_list_destroy(batch->assigned);
    if (batch->revoked != NULL)
        rd_kafka_topic_partition_list_destroy(batch->revoked);
    dbi_free(batch->parts);
    dbi_free(batch);
}

/* -- filling ------------------------------------------------------------------------------------------------------ */

/* The part for a message; messages of one partition mostly come together, so the newest is looked at first. */
static dbi__part *batch_find(const dbi_batch *batch, const char *topic, int32_t partition) {
    for (size_t i = batch->part_count; i-- > 0;)
        if (batch->parts[i]->partition == partition && strcmp(batch->parts[i]->topic, topic) == 0)
            return batch->parts[i];
    return NULL;
}

static bool batch_attach(dbi_batch *batch, dbi__part *part) {
    void *parts = batch->parts;
    bool reserved =
        block_reserve(&parts, &batch->part_capacity, batch->part_count + 1, 1, sizeof *batch->parts);

    batch->parts = parts;
    if (reserved)
        batch->parts[batch->part_count++] = part;
    return reserved;
}

static size_t headers_size(const rd_kafka_headers_t *headers) {
    const char *name;
    const void *value;
    size_t size, total = 0;

    for (size_t i = 0; headers != NULL; i++) {
        if (rd_kafka_header_get_all(headers, i, &name, &value, &size) != RD_KAFKA_RESP_ERR_NO_ERROR)
            break;
        total += 2 * sizeof(uint32_t) + strlen(name) + 1 + (value != NULL ? size : 0);
    }
    return total;
}

static uint8_t *put(uint8_t *at, const void *data, size_t size) {
    if (size > 0)
        memcpy(at, data, size);
    return at + size;
}

static void headers_write(const rd_kafka_headers_t *headers, uint8_t *at) {
    const char *name;
    const void *value;
    size_t size;

    for (size_t i = 0; headers != NULL; i++) {
        uint32_t lengths[2];

        if (rd_kafka_header_get_all(headers, i, &name, &value, &size) != RD_KAFKA_RESP_ERR_NO_ERROR)
            break;
        lengths[0] = (uint32_t)strlen(name) + 1;
        lengths[1] = value != NULL ? (uint32_t)size : NO_VALUE;
        at = put(at, lengths, sizeof lengths);
        at = put(at, name, lengths[0]);
        at = put(at, value, value != NULL ? size : 0);
    }
}

dbi_rc dbi__batch_add(dbi_batch *batch, const rd_kafka_message_t *message, dbi_err *err) {
    const char *topic = rd_kafka_topic_name(message->rkt);
    dbi__part *found = batch_find(batch, topic, message->partition);
    dbi__part *part = found != NULL ? found : part_new(topic, message->partition);
    size_t key_len = message->key != NULL ? message->key_len : 0;
    size_t value_len = message->payload != NULL ? message->len : 0;
    rd_kafka_headers_t *headers = NULL;
    rd_kafka_timestamp_type_t kind;
    part_entry *entry;
    size_t headers_len;
    int64_t timestamp;
    uint8_t *at;

    if (rd_kafka_message_headers(message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
        headers = NULL;
    headers_len = headers_size(headers);
    /* Kafka's own lengths have 31 bits. */
    if (part == NULL || !part_reserve(part, key_len + value_len + headers_len) ||
        (found == NULL && !batch_attach(batch, part))) {
        if (part != NULL && found == NULL)
            part_release(part);
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a message of %zu bytes", key_len + value_len);
    }
    timestamp = rd_kafka_message_timestamp(message, &kind);
    entry = &part->entries[part->count++];
    *entry = (part_entry){
        .offset = message->offset,
        .timestamp = kind == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ? -1 : timestamp,
        .at = part->used,
        .key_len = message->key != NULL ? (uint32_t)key_len : NO_VALUE,
        .value_len = message->payload != NULL ? (uint32_t)value_len : NO_VALUE,
        .headers_len = (uint32_t)headers_len,
    };
    at = put(part->bytes + part->used, message->key, key_len);
    at = put(at, message->payload, value_len);
    headers_write(headers, at);
    part->used += key_len + value_len + headers_len;
    part->value_bytes += value_len;
    batch->count++;
    batch->bytes += key_len + value_len;
    part->key_bytes += key_len;
    return DBI_OK;
}

void dbi__batch_trim(dbi_batch *batch) {
    for (size_t i = 0; i < batch->part_count; i++) {
        dbi__part *part = batch->parts[i];
        part_entry *entries = dbi_realloc(part->entries, part->count * sizeof *part->entries);
        uint8_t *bytes = dbi_realloc(part->bytes, part->used + 1);

        if (entries != NULL) { /* NULL: it stays as large as it is */
            part->entries = entries;
            part->capacity = part->count;
        }
        if (bytes != NULL) {
            part->bytes = bytes;
            part->size = part->used + 1;
        }
    }
}

/* -- reading ------------------------------------------------------------------------------------------------------ */

size_t dbi_batch_count(const dbi_batch *batch) {
    return batch->count;
}

size_t dbi_batch_bytes(const dbi_batch *batch) {
    return batch->bytes;
}

size_t dbi_batch_memory(const dbi_batch *batch) {
    size_t total = sizeof *batch + batch->part_capacity * sizeof *batch->parts;

    for (size_t i = 0; i < batch->part_count; i++) {
        const dbi__part *part = batch->parts[i];
        total += sizeof *part + strlen(part->topic) + 1 + part->capacity * sizeof *part->entries + part->size;
    }
    return total;
}

bool dbi_batch_message(const dbi_batch *batch, size_t index, dbi_fetched *fetched) {
    for (size_t i = 0; i < batch->part_count; i++) {
        if (index < batch->parts[i]->count) {
            part_read(batch->parts[i], index, fetched);
            return true;
        }
        index -= batch->parts[i]->count;
    }
    return false;
}

bool dbi_fetched_header(const dbi_fetched *fetched, size_t *at, dbi_header *header) {
    const uint8_t *from = fetched->headers + *at;
    uint32_t lengths[2];
    bool is_null;

    if (*at >= fetched->headers_len)
        return false;
    memcpy(lengths, from, sizeof lengths);
    from += sizeof lengths;
    is_null = lengths[1] == NO_VALUE;
    *header = (dbi_header){.name = (const char *)from,
                           .value = is_null ? NULL : from + lengths[0],
                           .value_len = is_null ? 0 : lengths[1]};
    *at += sizeof lengths + lengths[0] + header->value_len;
    return true;
}

size_t dbi_batch_parts(const dbi_batch *batch) {
    return batch->part_count;
}

dbi_part dbi_batch_part(const dbi_batch *batch, size_t index) {
    const dbi__part *part = batch->parts[index];

    return (dbi_part){.topic = part->topic,
                      .partition = part->partition,
                      .first = part->entries[0].offset,
                      .last = part->entries[part->count - 1].offset,
                      .count = part->count,
                      .bytes = part->value_bytes};
}

dbi_rc dbi_batch_split(const dbi_batch *batch, size_t index, dbi_batch **part_out, dbi_err *err) {
    dbi__part *part = batch->parts[index];
    dbi_rc rc = dbi__batch_new(part_out, err);

    if (rc != DBI_OK)
        return rc;
    if (!batch_attach(*part_out, part)) {
        dbi_batch_free(*part_out);
        *part_out = NULL;
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a part of a batch");
    }
    atomic_fetch_add(&part->refs, 1);
    (*part_out)->count = part->count;
    (*part_out)->bytes = part->key_bytes + part->value_bytes;
    return DBI_OK;
}

const rd_kafka_topic_partition_list_t *dbi_batch_ends(const dbi_batch *batch) {
    return batch->ends;
}

const rd_kafka_topic_partition_list_t *dbi_batch_assigned(const dbi_batch *batch) {
    return batch->assigned;
}

const rd_kafka_topic_partition_list_t *dbi_batch_revoked(const dbi_batch *batch) {
    return batch->revoked;
}

bool dbi_batch_lost(const dbi_batch *batch) {
    return batch->lost;
}

/* Whether the offset stands in the list, which is walked along with the messages of a part. */
static bool selection_lists(const dbi_selection *selection, int64_t offset, size_t *listed) {
    while (*listed < selection->count && selection->offsets[*listed] < offset)
        (*listed)++;
    return *listed < selection->count && selection->offsets[*listed] == offset;
}

static bool selection_has(const dbi_selection *selection, int64_t offset, size_t *listed) {
    if (offset < selection->start || offset >= selection->end)
        return false;
    return selection->offsets == NULL || selection_lists(selection, offset, listed) != selection->without;
}

bool dbi_batch_next(const dbi_batch *batch, const dbi_selection *selection, dbi_cursor *cursor, dbi_fetched *fetched) {
    for (; cursor->part < batch->part_count; *cursor = (dbi_cursor){.part = cursor->part + 1}) {
        const dbi__part *part = batch->parts[cursor->part];

        if (selection->topic != NULL &&
            (part->partition != selection->partition || strcmp(part->topic, selection->topic) != 0))
            continue;
        while (cursor->index < part->count) {
            size_t index = cursor->index++;

            if (selection_has(selection, part->entries[index].offset, &cursor->listed)) {
                part_read(part, index, fetched);
                return true;
            }
        }
    }
    return false;
}

void dbi_batch_concat(const dbi_batch *batch, const dbi_selection *selection, const void *separator,
                      size_t separator_len, void *out, size_t *size) {
    dbi_cursor cursor = {0};
    dbi_fetched fetched;
    bool first = true;
    uint8_t *at = out;

    *size = 0;
    while (dbi_batch_next(batch, selection, &cursor, &fetched)) {
        size_t between = first ? 0 : separator_len;

        if (fetched.value == NULL)
            continue;
        if (at != NULL) {
            at = put(at, separator, between);
            at = put(at, fetched.value, fetched.value_len);
        }
        *size += between + fetched.value_len;
        first = false;
    }
}
