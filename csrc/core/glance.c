/* glance.c - see glance.h */
#include "glance.h"

#include <string.h>

#define FNV_BASIS UINT64_C(14695981039346656037)
#define FNV_PRIME UINT64_C(1099511628211)
#define LISTED_BASIS UINT64_C(0x9e3779b97f4a7c15) /* apart from the hashes of names */

static uint64_t hash_bytes(uint64_t hash, const uint8_t *at, const uint8_t *end) {
    for (; at < end; at++)
        hash = (hash ^ *at) * FNV_PRIME;
    return (hash ^ 0xff) * FNV_PRIME; /* closes a name: no byte of UTF-8 */
}

uint64_t dbi_glance_listed(const void *header, size_t length) {
    const uint8_t *at = header;
    uint64_t hash = hash_bytes(LISTED_BASIS, at, at + length);

    return hash != 0 ? hash : 1;
}

static const uint8_t *skip_blanks(const uint8_t *at, const uint8_t *end) {
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    return at;
}

/* From behind the opening quote to behind the closing one; NULL where there is none, or a control character before. */
static const uint8_t *skip_string(const uint8_t *at, const uint8_t *end) {
    for (; at < end; at++) {
        if (*at == '"')
            return at + 1;
        if (*at < 0x20 || (*at == '\\' && ++at == end))
            return NULL;
    }
    return NULL;
}

/* From the first character of a value to behind its last; NULL where it does not end or has a line break in it. */
static const uint8_t *skip_value(const uint8_t *at, const uint8_t *end) {
    size_t depth = 0;

    do {
        if (at == end)
            return NULL;
        switch (*at) {
        case '"':
            if ((at = skip_string(at + 1, end)) == NULL)
                return NULL;
            break;
        case '{':
        case '[':
            depth++;
            at++;
            break;
        case '}':
        case ']':
            if (depth == 0) /* where a value should be */
                return NULL;
            depth--;
            at++;
            break;
        case ',':
        case ':':
        case ' ':
        case '\t':
            if (depth == 0)
                return NULL;
            at++;
            break;
        default: /* a number or a word */
            if (*at <= 0x20)
                return NULL;
            while (at < end && *at > 0x20 && *at != ',' && *at != '}' && *at != ']' && *at != ':' && *at != '"')
                at++;
        }
    } while (depth > 0);
    return at;
}

/* A field of an object: its name without the quotes, and its value. */
typedef struct field {
    const uint8_t *name, *name_end, *value, *value_end;
} field;

static bool field_is(const field *found, const char *name) {
    size_t length = strlen(name);

    return (size_t)(found->name_end - found->name) == length && memcmp(found->name, name, length) == 0;
}

/* Reads the next field of an object. `*at` stands behind its brace or behind the field before, and moves; false at the
 * object's end, with *at behind the closing brace, or NULL where it is no object. */
static bool field_next(const uint8_t **at, const uint8_t *end, bool first, field *found) {
    const uint8_t *now = skip_blanks(*at, end);

    *at = NULL;
    if (now < end && *now == '}') {
        *at = now + 1;
        return false;
    }
    if (!first) {
        if (now == end || *now != ',')
            return false;
        now = skip_blanks(now + 1, end);
    }
    if (now == end || *now != '"')
        return false;
    found->name = now + 1;
    if ((now = skip_string(found->name, end)) == NULL)
        return false;
    found->name_end = now - 1;
    now = skip_blanks(now, end);
    if (now == end || *now != ':')
        return false;
    found->value = skip_blanks(now + 1, end);
    found->value_end = skip_value(found->value, end);
    if (found->value_end == NULL)
        return false;
    *at = found->value_end;
    return true;
}

static bool is_placeholder(const field *found, const dbi_glance_text *placeholders, size_t count) {
    size_t length = (size_t)(found->value_end - found->value);

    for (size_t i = 0; i < count; i++)
        if (placeholders[i].length == length && memcmp(placeholders[i].data, found->value, length) == 0)
            return true;
    return false;
}

/* The row after the change; false where it is no object. */
static bool read_after(dbi_glance *glance, const field *after, const dbi_glance_text *placeholders, size_t count) {
    const uint8_t *at = after->value + 1, *end = after->value_end;
    uint64_t shape = FNV_BASIS, missing = FNV_BASIS;
    bool any = false;
    field found;

    for (bool first = true; field_next(&at, end, first, &found); first = false) {
        shape = hash_bytes(shape, found.name, found.name_end);
        if (is_placeholder(&found, placeholders, count)) {
            missing = hash_bytes(missing, found.name, found.name_end);
            any = true;
        }
    }
    glance->shape = shape != 0 ? shape : 1;
    glance->missing = !any ? 0 : missing != 0 ? missing : 1;
    return at == end;
}

static bool read_source(dbi_glance *glance, const field *source) {
    const uint8_t *at = source->value + 1, *end = source->value_end;
    field found;

    for (bool first = true; field_next(&at, end, first, &found); first = false)
        if (field_is(&found, "version"))
            glance->own = found.value_end - found.value > 6 && memcmp(found.value, "\"dbint", 6) == 0;
    return at == end;
}

static bool read_envelope(dbi_glance *glance, const uint8_t *at, const uint8_t *end,
                          const dbi_glance_text *placeholders, size_t count) {
    field found;

    at = skip_blanks(at, end);
    if (at == end || *at++ != '{')
        return false;
    for (bool first = true; field_next(&at, end, first, &found); first = false) {
        if (field_is(&found, "op")) {
            if (found.value_end - found.value != 3 || *found.value != '"')
                return false;
            glance->op = (char)found.value[1];
        } else if (field_is(&found, "after") && *found.value == '{') {
            if (!read_after(glance, &found, placeholders, count))
                return false;
        } else if (field_is(&found, "source") && *found.value == '{') {
            if (!read_source(glance, &found))
                return false;
        }
    }
    return at != NULL && skip_blanks(at, end) == end;
}

void dbi_glance_read(dbi_glance *glance, const void *value, size_t length, const dbi_glance_text *placeholders,
                     size_t count) {
    const uint8_t *at = value;

    *glance = (dbi_glance){.kind = DBI_GLANCE_UNKNOWN};
    if (value == NULL) {
        glance->kind = DBI_GLANCE_NULL;
        return;
    }
    if (!read_envelope(glance, at, at + length, placeholders, count))
        return;
    switch (glance->op) {
    case 'c':
    case 'u':
    case 'r':
        if (glance->shape != 0)
            glance->kind = glance->missing != 0 ? DBI_GLANCE_PARTIAL : DBI_GLANCE_ROW;
        break;
    case 'd':
        glance->kind = DBI_GLANCE_ROW;
        break;
    case 't':
        glance->kind = DBI_GLANCE_TRUNCATE;
        break;
    case 'm':
        glance->kind = DBI_GLANCE_LOGICAL;
        break;
    default:
        break;
    }
}
