/* producer_record.c - see producer_record.h; the format is in journal.h */
#include "producer_record.h"

#include <stdio.h>
#include <string.h>

#include "bytes_int.h"
#include "ledger_int.h"

#define VERSION 1u
#define HAS_KEY 1u
#define HAS_VALUE 2u
#define HEADER_FIXED 8u /* length of the name, of the value */
#define NULL_VALUE UINT32_MAX

static uint16_t get16le(const uint8_t *at) {
    return (uint16_t)(at[0] | at[1] << 8);
}

/* -- writing ------------------------------------------------------------------------------------------------------- */

size_t dbi__message_size(const char *topic, const dbi_message *message) {
    size_t topic_length = strlen(topic), size = DBI__MESSAGE_FIXED + topic_length, length, count = 0;
    const char *name;
    const void *value;

    if (topic_length == 0 || topic_length > UINT16_MAX || message->key_len > INT32_MAX ||
        message->value_len > INT32_MAX)
        return 0;
    size += message->key_len + message->value_len;
    if (message->headers == NULL)
        return size;
    for (; rd_kafka_header_get_all(message->headers, count, &name, &value, &length) == RD_KAFKA_RESP_ERR_NO_ERROR;
         count++) {
        size_t name_length = strlen(name);

        if (count == UINT16_MAX || length > INT32_MAX || name_length > INT32_MAX)
            return 0;
        size += HEADER_FIXED + name_length + length;
    }
    return size <= UINT32_MAX ? size : 0;
}

bool dbi__message_has_id(const dbi_message *message) {
    const void *value;
    size_t length;

    return message->headers != NULL && rd_kafka_header_get_last(message->headers, DBI__MESSAGE_ID, &value, &length) ==
                                           RD_KAFKA_RESP_ERR_NO_ERROR;
}

static uint8_t *put(uint8_t *at, const void *bytes, size_t length) {
    if (length > 0)
        memcpy(at, bytes, length);
    return at + length;
}

void dbi__message_write(const char *topic, const dbi_message *message, int64_t timestamp_ms, const uint8_t id[16],
                        uint8_t *body) {
    size_t topic_length = strlen(topic), length, count = 0;
    const void *value;
    const char *name;
    uint8_t *at;

    memset(body, 0, DBI__MESSAGE_FIXED);
    body[0] = VERSION;
    body[1] = (uint8_t)((message->key != NULL ? HAS_KEY : 0) | (message->value != NULL ? HAS_VALUE : 0));
    dbi__put16le(body + 2, (uint16_t)topic_length);
    dbi__put32le(body + 4, (uint32_t)message->partition);
    dbi__put64le(body + 8, (uint64_t)(message->timestamp_ms != 0 ? message->timestamp_ms : timestamp_ms));
    memcpy(body + 16, id, 16);
    dbi__put32le(body + 32, message->key != NULL ? (uint32_t)message->key_len : 0);
    dbi__put32le(body + 36, message->value != NULL ? (uint32_t)message->value_len : 0);
    at = put(body + DBI__MESSAGE_FIXED, topic, topic_length);
    if (message->key != NULL)
        at = put(at, message->key, message->key_len);
    if (message->value != NULL)
        at = put(at, message->value, message->value_len);
    for (; message->headers != NULL && rd_kafka_header_get_all(message->headers, count, &name, &value, &length) ==
                                           RD_KAFKA_RESP_ERR_NO_ERROR;
         count++) {
        dbi__put32le(at, (uint32_t)strlen(name));
        dbi__put32le(at + 4, value != NULL ? (uint32_t)length : NULL_VALUE);
        at = put(at + HEADER_FIXED, name, strlen(name));
        if (value != NULL)
            at = put(at, value, length);
    }
    dbi__put32le(body + 40, (uint32_t)count);
}

/* -- reading ------------------------------------------------------------------------------------------------------- */

bool dbi__message_read(const uint8_t *body, size_t length, dbi__message_view *view) {
    const uint8_t *at, *end = body + length, *header;
    uint64_t rest;

    if (length < DBI__MESSAGE_FIXED || body[0] != VERSION || (body[1] & ~(HAS_KEY | HAS_VALUE)) != 0)
        return false;
    *view = (dbi__message_view){
        .topic_length = get16le(body + 2),
        .partition = (int32_t)dbi__get32le(body + 4),
        .timestamp_ms = (int64_t)dbi__get64le(body + 8),
        .key_length = dbi__get32le(body + 32),
        .value_length = dbi__get32le(body + 36),
        .header_count = dbi__get32le(body + 40),
    };
    memcpy(view->id, body + 16, sizeof view->id);
    rest = (uint64_t)view->topic_length + view->key_length + view->value_length;
    if (view->topic_length == 0 || rest > length - DBI__MESSAGE_FIXED || dbi__get32le(body + 44) != 0)
        return false;
    if (((body[1] & HAS_KEY) == 0 && view->key_length != 0) || ((body[1] & HAS_VALUE) == 0 && view->value_length != 0))
        return false;
    at = body + DBI__MESSAGE_FIXED;
    view->topic = (const char *)at;
    at += view->topic_length;
    view->key = (body[1] & HAS_KEY) != 0 ? at : NULL;
    at += view->key_length;
    view->value = (body[1] & HAS_VALUE) != 0 ? at : NULL;
    at += view->value_length;
    view->headers = at;
    view->headers_length = (size_t)(end - at);
    header = at;
    for (uint32_t i = 0; i < view->header_count; i++) {
        size_t name_length, value_length;
        const void *value;
        const char *name;

        if (!dbi__message_header(&header, end, &name, &name_length, &value, &value_length))
            return false;
    }
    return header == end;
}

bool dbi__message_header(const uint8_t **at, const uint8_t *end, const char **name, size_t *name_length,
                         const void **value, size_t *value_length) {
    const uint8_t *from = *at;
    uint32_t length;
    size_t left = (size_t)(end - from);

    if (left < HEADER_FIXED)
        return false;
    *name_length = dbi__get32le(from);
    length = dbi__get32le(from + 4);
    *value_length = length == NULL_VALUE ? 0 : length;
    left -= HEADER_FIXED;
    if (*name_length > left || *value_length > left - *name_length)
        return false;
    *name = (const char *)from + HEADER_FIXED;
    *value = length == NULL_VALUE ? NULL : from + HEADER_FIXED + *name_length;
    *at = from + HEADER_FIXED + *name_length + *value_length;
    return true;
}

rd_kafka_headers_t *dbi__message_headers(const dbi__message_view *view) {
    static const uint8_t none[16];
    rd_kafka_headers_t *headers = rd_kafka_headers_new(view->header_count + 1);
    const uint8_t *at = view->headers, *end = at + view->headers_length;
    char id[DBI__UUID_TEXT_SIZE];

    if (headers == NULL)
        return NULL;
    for (uint32_t i = 0; i < view->header_count; i++) {
        size_t name_length, value_length;
        const void *value;
        const char *name;

        if (!dbi__message_header(&at, end, &name, &name_length, &value, &value_length))
            break;
        (void)rd_kafka_header_add(headers, name, (ssize_t)name_length, value, (ssize_t)value_length);
    }
    if (memcmp(view->id, none, sizeof none) != 0) {
        dbi__uuid_text(view->id, id);
        (void)rd_kafka_header_add(headers, DBI__MESSAGE_ID, sizeof DBI__MESSAGE_ID - 1, id, DBI__UUID_TEXT_SIZE - 1);
    }
    return headers;
}

/* -- lanes --------------------------------------------------------------------------------------------------------- */

uint32_t dbi__murmur2(const void *bytes, size_t length) {
    const uint32_t m = 0x5bd1e995;
    const uint8_t *at = bytes;
    uint32_t hash = 0x9747b28c ^ (uint32_t)length;

    for (; length >= 4; at += 4, length -= 4) {
        uint32_t k = dbi__get32le(at) * m;

        k = (k ^ k >> 24) * m;
        hash = hash * m ^ k;
    }
    if (length >= 3)
        hash ^= (uint32_t)at[2] << 16;
    if (length >= 2)
        hash ^= (uint32_t)at[1] << 8;
    if (length >= 1)
        hash = (hash ^ at[0]) * m;
    hash = (hash ^ hash >> 13) * m;
    return hash ^ hash >> 15;
}
