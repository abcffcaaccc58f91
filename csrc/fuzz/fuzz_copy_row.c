/* fuzz_copy_row.c - what a server sends of tables: rows in COPY's text format, frames of the replication stream
 *
 * The first byte of a row says how many fields are asked for. A row that can be read is written again as COPY would,
 * and must then be the same row; a frame's parts must lie within it.
 */
#include "fuzz.h"

#include "cdc/replication.h"
#include "cdc/snapshot.h"

#define FIELDS 9u

static const struct {
    const char *bytes;
    size_t length;
} examples[] = {
#define EXAMPLE(text) {(text), sizeof(text) - 1}
    EXAMPLE("\1one\n"),
    EXAMPLE("\3one\ttwo\\tthree\t\\N\n"),
    EXAMPLE("\2\\\\N\tback\\\\slash\\n\\b\\f\\r\\v\\x"),
    EXAMPLE("\4\t\t\t"),
    EXAMPLE("w\0\0\0\x16\xB3\x74\xD8\x48\0\0\0\x16\xB3\x74\xD9\0\0\1\2\3\4\5\6\7Bxy"),
    EXAMPLE("k\0\0\0\x16\xB3\x74\xD9\0\0\1\2\3\4\5\6\7\1"),
#undef EXAMPLE
};

size_t dbi_fuzz_example(unsigned nth, uint8_t *out, size_t capacity) {
    if (nth >= sizeof examples / sizeof *examples || examples[nth].length > capacity)
        return 0;
    memcpy(out, examples[nth].bytes, examples[nth].length);
    return examples[nth].length;
}

/* A field as COPY TO writes it; where it ends. */
static char *field_write(char *at, const dbi_cell *cell) {
    static const char special[] = "\b\f\n\r\t\v\\", letters[] = "bfnrtv\\";

    if (cell->kind == DBI_CELL_NULL) {
        *at++ = '\\';
        *at++ = 'N';
        return at;
    }
    for (uint32_t i = 0; i < cell->length; i++) {
        const char *found = memchr(special, cell->bytes[i], sizeof special - 1);

        if (found != NULL)
            *at++ = '\\';
        *at++ = found != NULL ? letters[found - special] : (char)cell->bytes[i];
    }
    return at;
}

/* In memory of just that size, so that a sanitizer sees each step past it. */
static char *copied(const void *bytes, size_t length) {
    char *copy = malloc(length > 0 ? length : 1);

    FUZZ_CHECK(copy != NULL);
    if (length > 0)
        memcpy(copy, bytes, length);
    return copy;
}

static void row_check(const uint8_t *data, size_t size) {
    fuzz_input input = {.data = data, .left = size};
    unsigned count = fuzz_byte(&input) % (FIELDS + 1);
    dbi_cell cells[FIELDS + 1], again[FIELDS + 1];
    size_t length = input.left;
    char *row = copied(input.data, length), *text, *end;
    dbi_err err;

    if (dbi_copy_row_read(row, length, cells, count, &err) == DBI_OK) {
        end = text = malloc(2 * length + 2);
        FUZZ_CHECK(text != NULL);
        for (unsigned i = 0; i < count; i++) {
            const char *from = cells[i].kind == DBI_CELL_TEXT ? (const char *)cells[i].bytes : row;

            FUZZ_CHECK(from >= row && cells[i].length <= length - (size_t)(from - row));
            if (i > 0)
                *end++ = '\t';
            end = field_write(end, &cells[i]);
        }
        *end++ = '\n';
        FUZZ_CHECK(dbi_copy_row_read(text, (size_t)(end - text), again, count, &err) == DBI_OK);
        for (unsigned i = 0; i < count; i++) {
            FUZZ_CHECK(again[i].kind == cells[i].kind);
            if (cells[i].kind == DBI_CELL_TEXT)
                FUZZ_CHECK(again[i].length == cells[i].length &&
                           memcmp(again[i].bytes, cells[i].bytes, cells[i].length) == 0);
        }
        free(text);
    }
    free(row);
}

static void frame_check(const uint8_t *data, size_t size) {
    uint8_t *bytes = (uint8_t *)copied(data, size);
    dbi_frame frame;
    dbi_err err;

    if (dbi_frame_read(bytes, size, &frame, &err) == DBI_OK && frame.kind == DBI_FRAME_CHANGE)
        FUZZ_CHECK(frame.bytes + frame.length == bytes + size);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    row_check(data, size);
    frame_check(data, size);
    return 0;
}
