/* fuzz_producer_record.c - any bytes as the body of a Kafka message in a journal: refused, or read within their end; and
 * what was read is the same when it is written again. */
#include "fuzz.h"
#include "producer_record.h"

size_t dbi_fuzz_example(unsigned nth, uint8_t *out, size_t capacity) {
    static const uint8_t id[16] = {1, 2, 3};
    dbi_message message = {.key = "key", .key_len = 3, .value = "value", .value_len = 5, .partition = -1};
    size_t length;

    if (nth > 2)
        return 0;
    if (nth == 1)
        message.key = NULL;
    if (nth == 2) {
        rd_kafka_headers_t *headers = rd_kafka_headers_new(2);

        (void)rd_kafka_header_add(headers, "name", -1, "value", 5);
        (void)rd_kafka_header_add(headers, "null", -1, NULL, 0);
        message.headers = headers;
    }
    if (message.key == NULL)
        message.key_len = 0;
    length = dbi__message_size("topic", &message);
    if (length <= capacity)
        dbi__message_write("topic", &message, 1700000000000, id, out);
    if (message.headers != NULL)
        rd_kafka_headers_destroy((rd_kafka_headers_t *)(uintptr_t)message.headers);
    return length <= capacity ? length : 0;
}

/* Without headers, for librdkafka ends their names at a NUL. */
static void write_again(const dbi__message_view *view, const uint8_t *body, size_t size) {
    const dbi_message message = {.key = view->key,
                                 .value = view->value,
                                 .key_len = view->key_length,
                                 .value_len = view->value_length,
                                 .partition = view->partition,
                                 .timestamp_ms = view->timestamp_ms};
    char *topic = calloc(1, view->topic_length + 1);
    uint8_t *again = malloc(size);

    FUZZ_CHECK(topic != NULL && again != NULL);
    memcpy(topic, view->topic, view->topic_length);
    FUZZ_CHECK(dbi__message_size(topic, &message) == size);
    dbi__message_write(topic, &message, 1, view->id, again);
    FUZZ_CHECK(memcmp(again, body, size) == 0);
    free(again);
    free(topic);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *body = malloc(size > 0 ? size : 1); /* of its own: who reads past the end is caught */
    rd_kafka_headers_t *headers;
    dbi__message_view view;

    FUZZ_CHECK(body != NULL);
    memcpy(body, data, size);
    if (dbi__message_read(body, size, &view)) {
        headers = dbi__message_headers(&view);
        FUZZ_CHECK(headers != NULL && rd_kafka_header_cnt(headers) <= (size_t)view.header_count + 1);
        rd_kafka_headers_destroy(headers);
        if (view.header_count == 0 && view.timestamp_ms != 0 &&
            memchr(view.topic, '\0', view.topic_length) == NULL)
            write_again(&view, body, size);
    }
    free(body);
    return 0;
}
