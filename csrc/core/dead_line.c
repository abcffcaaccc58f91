/* dead_line.c - the lines of dead letters: see dead.h */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "dead_int.h"
#include "ledger_int.h"
#include "producer_record.h"
#include "utf8_int.h"

/* A server that has not yet agreed on an encoding may say what is not UTF-8: then all but ASCII becomes U+FFFD. */
static void text_json_bytes(dbi__text *text, const char *string, size_t length) {
    bool valid = dbi__utf8_valid((const uint8_t *)string, length);

    dbi__text_put(text, "\"");
    for (const char *end = string + length; string < end; string++) {
        unsigned char c = (unsigned char)*string;

        if (c < 0x20 || c == '"' || c == '\\')
            dbi__text_putf(text, "\\u%04x", c);
        else if (c >= 0x80 && !valid)
            dbi__text_put(text, "\xef\xbf\xbd");
        else
            dbi__text_add(text, string, 1);
    }
    dbi__text_put(text, "\"");
}

static void text_json(dbi__text *text, const char *string) {
    text_json_bytes(text, string, strlen(string));
}

static void text_base64(dbi__text *text, const uint8_t *bytes, size_t length) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *out;

    if (length > SIZE_MAX / 4 || !dbi__text_room(text, (length + 2) / 3 * 4))
        return;
    out = text->bytes + text->length;
    for (size_t i = 0; i < length; i += 3) {
        uint32_t three = (uint32_t)bytes[i] << 16 | (i + 1 < length ? (uint32_t)bytes[i + 1] << 8 : 0) |
                         (i + 2 < length ? bytes[i + 2] : 0);

        *out++ = digits[three >> 18];
        *out++ = digits[three >> 12 & 63];
        *out++ = i + 1 < length ? digits[three >> 6 & 63] : '=';
        *out++ = i + 2 < length ? digits[three & 63] : '=';
    }
    *out = '\0';
    text->length = (size_t)(out - text->bytes);
}

static void text_time(dbi__text *text, int64_t at_us) {
    time_t seconds = (time_t)(at_us / 1000000);
    struct tm utc;
    char date[32];

    if (gmtime_r(&seconds, &utc) == NULL || strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc) == 0) {
        dbi__text_put(text, "null");
        return;
    }
    dbi__text_putf(text, "\"%s.%06dZ\"", date, (int)(at_us % 1000000));
}

#define LINE_START "{\"v\":1,\"chain\":\""
#define LINE_SEQUENCE "\",\"sequence\":"
#define LINE_WITHDRAWN ",\"withdrawn\":true"
#define LINE_LETTER ",\"stream\":"

/* Bytes in quotes, or null. */
static void text_bytes(dbi__text *text, const void *bytes, size_t length) {
    if (bytes == NULL) {
        dbi__text_put(text, "null");
        return;
    }
    dbi__text_put(text, "\"");
    if (length > 0)
        text_base64(text, bytes, length);
    dbi__text_put(text, "\"");
}

static void text_message(dbi__text *text, const dbi_dead_letter *letter, int64_t at_us) {
    static const uint8_t none[16];
    const dbi__message_view *message = letter->kafka;
    const uint8_t *at = message->headers, *end = at + message->headers_length;
    size_t name_length, length;
    char id[DBI__UUID_TEXT_SIZE];
    const void *value;
    const char *name;

    dbi__text_put(text, ",\"topic\":");
    text_json_bytes(text, message->topic, message->topic_length);
    dbi__text_put(text, ",\"error\":");
    text_json(text, letter->error);
    dbi__text_put(text, ",\"message\":");
    text_json(text, letter->message);
    dbi__text_put(text, ",\"at\":");
    text_time(text, at_us);
    dbi__text_putf(text, ",\"partition\":%d,\"timestamp\":%" PRId64 ",\"id\":", (int)message->partition,
                   message->timestamp_ms);
    if (memcmp(message->id, none, sizeof none) == 0) {
        dbi__text_put(text, "null");
    } else {
        dbi__uuid_text(message->id, id);
        dbi__text_putf(text, "\"%s\"", id);
    }
    dbi__text_put(text, ",\"key\":");
    text_bytes(text, message->key, message->key_length);
    dbi__text_put(text, ",\"value\":");
    text_bytes(text, message->value, message->value_length);
    dbi__text_put(text, ",\"headers\":[");
    for (uint32_t i = 0;
         i < message->header_count && dbi__message_header(&at, end, &name, &name_length, &value, &length); i++) {
        dbi__text_put(text, i > 0 ? ",[" : "[");
        text_json_bytes(text, name, name_length);
        dbi__text_put(text, ",");
        text_bytes(text, value, length);
        dbi__text_put(text, "]");
    }
    dbi__text_put(text, "]}\n");
}

void dbi__dead_line(dbi__text *text, const char *chain, uint64_t sequence, const dbi_dead_letter *letter,
                    int64_t at_us) {
    dbi__text_put(text, LINE_START);
    dbi__text_put(text, chain);
    dbi__text_put(text, LINE_SEQUENCE);
    dbi__text_putf(text, "%" PRIu64, sequence);
    if (letter == NULL) {
        dbi__text_put(text, LINE_WITHDRAWN ",\"at\":");
        text_time(text, at_us);
        dbi__text_put(text, "}\n");
        return;
    }
    dbi__text_put(text, LINE_LETTER);
    text_json(text, letter->stream);
    if (letter->kafka != NULL) {
        text_message(text, letter, at_us);
        return;
    }
    dbi__text_put(text, ",\"table\":[");
    text_json(text, letter->schema->nspname);
    dbi__text_put(text, ",");
    text_json(text, letter->schema->relname);
    dbi__text_put(text, "],\"sqlstate\":");
    text_json(text, letter->sqlstate);
    dbi__text_put(text, ",\"message\":");
    text_json(text, letter->message);
    dbi__text_put(text, ",\"at\":");
    text_time(text, at_us);
    dbi__text_put(text, ",\"columns\":[");
    for (unsigned i = 0; i < letter->schema->column_count; i++) {
        dbi__text_put(text, i > 0 ? ",[" : "[");
        text_json(text, letter->schema->columns[i].name);
        dbi__text_put(text, ",");
        text_json(text, letter->schema->columns[i].type_name);
        dbi__text_put(text, "]");
    }
    dbi__text_put(text, "],\"tuple\":\"");
    text_base64(text, letter->tuple, letter->length);
    dbi__text_put(text, "\"}\n");
}

/* Takes `part` off the front. */
static bool skip(const char **at, const char *end, const char *part) {
    size_t length = strlen(part);

    if ((size_t)(end - *at) < length || memcmp(*at, part, length) != 0)
        return false;
    *at += length;
    return true;
}

bool dbi__dead_read(const char *line, size_t length, const char *chain, uint64_t *sequence, bool *withdrawn) {
    const char *at = line, *end = line + length;
    uint64_t sum = 0;

    if (!skip(&at, end, LINE_START) || !skip(&at, end, chain) || !skip(&at, end, LINE_SEQUENCE) || at == end ||
        end[-1] != '}')
        return false;
    if (*at < '1' || *at > '9')
        return false;
    for (; at < end && *at >= '0' && *at <= '9'; at++) {
        unsigned digit = (unsigned)(*at - '0');

        if (sum > (UINT64_MAX - digit) / 10)
            return false;
        sum = sum * 10 + digit;
    }
    *sequence = sum;
    *withdrawn = skip(&at, end, LINE_WITHDRAWN);
    return *withdrawn || skip(&at, end, LINE_LETTER);
}
