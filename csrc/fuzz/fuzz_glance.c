/* fuzz_glance.c - reading what a change is: any bytes, and only within them */
#include "fuzz.h"

#include "glance.h"

static const char *const examples[] = {
    "{\"before\":null,\"after\":{\"id\":1,\"t\":\"\\u00e9\"},\"source\":{\"version\":\"dbint 1\"},\"op\":\"c\"}",
    "{\"before\":{\"id\":1},\"after\":{\"id\":1,\"t\":\"__debezium_unavailable_value\"},\"op\":\"u\"}",
    "{\"before\":{\"id\":[{}]},\"after\":null,\"op\":\"d\"}", "{\"op\":\"t\"}"};

size_t dbi_fuzz_example(unsigned nth, uint8_t *out, size_t capacity) {
    size_t length;

    if (nth >= sizeof examples / sizeof *examples)
        return 0;
    length = strlen(examples[nth]);
    if (length > capacity)
        return 0;
    memcpy(out, examples[nth], length);
    return length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const dbi_glance_text placeholder = {"\"__debezium_unavailable_value\"", 30};
    dbi_glance glance;

    dbi_glance_read(&glance, data, size, &placeholder, 1);
    /* What counts as a change goes into a load as one line. */
    if (glance.kind == DBI_GLANCE_ROW || glance.kind == DBI_GLANCE_PARTIAL)
        FUZZ_CHECK(memchr(data, '\n', size) == NULL);
    if (glance.kind == DBI_GLANCE_PARTIAL)
        FUZZ_CHECK(glance.missing != 0 && glance.shape != 0);
    return 0;
}
