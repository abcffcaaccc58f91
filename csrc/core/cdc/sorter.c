/* sorter.c - see sorter.h */
#include "cdc/sorter.h"

#include <string.h>

#include "alloc.h"

/* About a request of librdkafka's (batch.size), and no more than is sent one by one within a second or two. */
#define SORTER_MESSAGES 500u
#define SORTER_BYTES ((size_t)1 << 20)

typedef struct sorter_entry {
    struct sorter_entry *next;
    dbi_outlet_topic *topic;
    dbi_message message; /* key and value lie behind the entry; headers are its own */
    rd_kafka_headers_t *headers;
    bool to_all;
    const char *text;
    char bytes[];
} sorter_entry;

struct dbi_sorter {
    dbi_outlet *outlet;
    sorter_entry *first, **last;
    unsigned count;
    size_t bytes;
    uint64_t mark; /* behind them; 0 = none */
};

dbi_rc dbi_sorter_new(dbi_sorter **sorter, dbi_outlet *outlet, dbi_err *err) {
    *sorter = dbi_calloc(1, sizeof **sorter);
    if (*sorter == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a sorter of messages");
    (*sorter)->outlet = outlet;
    (*sorter)->last = &(*sorter)->first;
    return DBI_OK;
}

void dbi_sorter_clear(dbi_sorter *sorter) {
    while (sorter->first != NULL) {
        sorter_entry *entry = sorter->first;

        sorter->first = entry->next;
        if (entry->headers != NULL)
            rd_kafka_headers_destroy(entry->headers);
        dbi_free(entry);
    }
    sorter->last = &sorter->first;
    sorter->count = 0;
    sorter->bytes = 0;
    sorter->mark = 0;
}

void dbi_sorter_free(dbi_sorter *sorter) {
    if (sorter == NULL)
        return;
    dbi_sorter_clear(sorter);
    dbi_free(sorter);
}

dbi_message dbi_sorter_note(const void *key, size_t key_len, const char *text) {
    return (dbi_message){.key = key,
                         .key_len = key_len,
                         .value = text,
                         .value_len = strlen(text),
                         .partition = RD_KAFKA_PARTITION_UA};
}

bool dbi_sorter_needed(dbi_outlet *outlet) {
    return dbi_outlet_poll(outlet, NULL) == DBI_ETOOBIG;
}

bool dbi_sorter_empty(const dbi_sorter *sorter) {
    return sorter->first == NULL;
}

void dbi_sorter_mark(dbi_sorter *sorter, uint64_t position) {
    if (sorter->first == NULL)
        dbi_outlet_mark(sorter->outlet, position);
    else
        sorter->mark = position;
}

/* Appends `length` bytes; NULL stays NULL. */
static const void *kept(char **at, const void *bytes, size_t length) {
    char *copy = *at;

    if (bytes == NULL)
        return NULL;
    if (length > 0)
        memcpy(copy, bytes, length);
    *at += length;
    return copy;
}

dbi_rc dbi_sorter_add(dbi_sorter *sorter, const dbi_sorter_calls *calls, dbi_outlet_topic *topic,
                      const dbi_message *message, bool to_all, const char *text, dbi_err *err) {
    size_t size = strlen(text) + 1, bytes = message->key_len + message->value_len;
    sorter_entry *entry = dbi_calloc(1, sizeof *entry + size + bytes);
    char *at;

    if (entry == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a message of %zu bytes", bytes);
    at = entry->bytes;
    entry->topic = topic;
    entry->to_all = to_all;
    entry->text = kept(&at, text, size);
    entry->message = *message;
    entry->message.key = kept(&at, message->key, message->key_len);
    entry->message.value = kept(&at, message->value, message->value_len);
    if (message->headers != NULL) {
        entry->headers = rd_kafka_headers_copy(message->headers);
        entry->message.headers = entry->headers;
        if (entry->headers == NULL) {
            dbi_free(entry);
            return dbi_err_set(err, DBI_ENOMEM, "no memory for a message's headers");
        }
    }
    *sorter->last = entry;
    sorter->last = &entry->next;
    sorter->count++;
    sorter->bytes += bytes;
    return sorter->count < SORTER_MESSAGES && sorter->bytes < SORTER_BYTES ? DBI_OK
                                                                            : dbi_sorter_send(sorter, calls, err);
}

/* --- sending --- */

static dbi_rc entry_refused(const sorter_entry *entry, const dbi_sorter_calls *calls, dbi_err *err) {
    return calls->refused(calls->arg, entry->message.key, entry->message.key_len, entry->text, err);
}

/* Hands it to the outlet, whose window may be full. */
static dbi_rc entry_send(dbi_sorter *sorter, const sorter_entry *entry, const dbi_sorter_calls *calls, dbi_err *err) {
    for (bool again = false;; again = true) {
        dbi_rc rc = entry->to_all ? dbi_outlet_send_to_all(sorter->outlet, entry->topic, &entry->message, 0, err)
                                  : dbi_outlet_send(sorter->outlet, entry->topic, &entry->message, 0, err);

        if (rc == DBI_ETOOBIG && !dbi_sorter_needed(sorter->outlet)) /* to the producer already */
            return entry_refused(entry, calls, err);
        if (rc != DBI_EFULL)
            return rc;
        rc = calls->wait(calls->arg, again, err);
        if (rc != DBI_OK)
            return rc;
    }
}

static dbi_rc send_together(dbi_sorter *sorter, const dbi_sorter_calls *calls, dbi_err *err) {
    dbi_rc rc = DBI_OK;

    for (const sorter_entry *entry = sorter->first; entry != NULL && rc == DBI_OK; entry = entry->next)
        rc = entry_send(sorter, entry, calls, err);
    return rc == DBI_OK ? calls->wait(calls->arg, true, err) : rc;
}

/* In a request of its own. */
static dbi_rc send_alone(dbi_sorter *sorter, const sorter_entry *entry, const dbi_sorter_calls *calls, dbi_err *err) {
    dbi_rc rc = entry_send(sorter, entry, calls, err);

    if (rc == DBI_OK)
        rc = calls->wait(calls->arg, true, err);
    if (rc != DBI_ETOOBIG || !dbi_sorter_needed(sorter->outlet))
        return rc;
    rc = dbi_outlet_reset(sorter->outlet, err);
    if (rc == DBI_OK)
        rc = entry_refused(entry, calls, err);
    return rc == DBI_OK ? calls->wait(calls->arg, true, err) : rc;
}

dbi_rc dbi_sorter_send(dbi_sorter *sorter, const dbi_sorter_calls *calls, dbi_err *err) {
    dbi_rc rc = DBI_OK;

    if (sorter->first == NULL)
        return DBI_OK;
    rc = send_together(sorter, calls, err);
    if (rc == DBI_ETOOBIG && dbi_sorter_needed(sorter->outlet)) {
        rc = dbi_outlet_reset(sorter->outlet, err);
        for (const sorter_entry *entry = sorter->first; entry != NULL && rc == DBI_OK; entry = entry->next)
            rc = send_alone(sorter, entry, calls, err);
    }
    if (rc == DBI_OK && sorter->mark != 0)
        dbi_outlet_mark(sorter->outlet, sorter->mark);
    dbi_sorter_clear(sorter);
    return rc;
}
