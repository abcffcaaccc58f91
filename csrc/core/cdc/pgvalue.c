/* pgvalue.c - see pgvalue.h; pgvalue_time.c has the temporal types, pgvalue_geometry.c what is made of numbers */
#include "pgvalue.h"

#include "envelope.h"
#include "pgvalue_int.h"

#define ARRAY_DEPTH_MAX 6 /* PostgreSQL's MAXDIM */

/* OIDs of pg_type.dat */
#define TYPE_JSON_ARRAY 199
#define TYPE_INT4_ARRAY 1007
#define TYPE_TEXT_ARRAY 1009
#define TYPE_VARCHAR_ARRAY 1015
#define TYPE_INT8_ARRAY 1016
#define TYPE_JSONB_ARRAY 3807

bool dbi__pgvalues_init(dbi__pgvalues *values, size_t max) {
    *values = (dbi__pgvalues){.element.max = max, .object.max = max};
    values->plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    return values->plain != (locale_t)0;
}

void dbi__pgvalues_free(dbi__pgvalues *values) {
    dbi__out_free(&values->element);
    dbi__out_free(&values->object);
    if (values->plain != (locale_t)0)
        freelocale(values->plain);
    values->plain = (locale_t)0;
}

/* --- which type is of which kind --- */

typedef struct builtin {
    uint32_t type, array;
    dbi_pgkind kind;
} builtin;

/* pg_type.dat; types that are missing here are unknown ones. */
static const builtin builtins[] = {
    {16, 1000, DBI_PGKIND_BOOL},          {17, 1001, DBI_PGKIND_BYTEA},      {18, 1002, DBI_PGKIND_STRING},
    {19, 1003, DBI_PGKIND_STRING},        {20, 1016, DBI_PGKIND_INT},        {21, 1005, DBI_PGKIND_INT},
    {23, 1007, DBI_PGKIND_INT},           {25, 1009, DBI_PGKIND_STRING},     {26, 1028, DBI_PGKIND_INT},
    {114, 199, DBI_PGKIND_STRING},        {142, 143, DBI_PGKIND_STRING},     {600, 1017, DBI_PGKIND_POINT},
    {601, 1018, DBI_PGKIND_LSEG},         {602, 1019, DBI_PGKIND_PATH},      {603, 1020, DBI_PGKIND_BOX},
    {604, 1027, DBI_PGKIND_POLYGON},      {628, 629, DBI_PGKIND_LINE},       {718, 719, DBI_PGKIND_CIRCLE},
    {700, 1021, DBI_PGKIND_FLOAT},        {701, 1022, DBI_PGKIND_FLOAT},     {790, 791, DBI_PGKIND_MONEY},
    {829, 1040, DBI_PGKIND_STRING},       {869, 1041, DBI_PGKIND_STRING},    {650, 651, DBI_PGKIND_STRING},
    {774, 775, DBI_PGKIND_STRING},        {1042, 1014, DBI_PGKIND_STRING},   {1043, 1015, DBI_PGKIND_STRING},
    {1082, 1182, DBI_PGKIND_DATE},        {1083, 1183, DBI_PGKIND_TIME},     {1114, 1115, DBI_PGKIND_TIMESTAMP},
    {1184, 1185, DBI_PGKIND_TIMESTAMPTZ}, {1186, 1187, DBI_PGKIND_INTERVAL}, {1266, 1270, DBI_PGKIND_TIMETZ},
    {1560, 1561, DBI_PGKIND_BITS},        {1562, 1563, DBI_PGKIND_BITS},     {1700, 1231, DBI_PGKIND_NUMERIC},
    {2950, 2951, DBI_PGKIND_STRING},      {3614, 3643, DBI_PGKIND_STRING},   {3802, 3807, DBI_PGKIND_STRING},
    {3904, 3905, DBI_PGKIND_STRING},      {3906, 3907, DBI_PGKIND_STRING},   {3908, 3909, DBI_PGKIND_STRING},
    {3910, 3911, DBI_PGKIND_STRING},      {3912, 3913, DBI_PGKIND_STRING},   {3926, 3927, DBI_PGKIND_STRING},
};

static const struct {
    const char *name;
    dbi_pgkind kind;
} extensions[] = {
    {"citext", DBI_PGKIND_STRING}, {"ltree", DBI_PGKIND_STRING},      {"isbn", DBI_PGKIND_STRING},
    {"hstore", DBI_PGKIND_HSTORE}, {"geometry", DBI_PGKIND_GEOMETRY}, {"geography", DBI_PGKIND_GEOMETRY},
    {"vector", DBI_PGKIND_VECTOR}, {"halfvec", DBI_PGKIND_VECTOR},
};

dbi_pgkind dbi__pgkind_of(uint32_t oid, char typtype, const char *typname, bool *array, uint32_t *base) {
    *array = false;
    *base = oid;
    for (size_t i = 0; i < sizeof builtins / sizeof builtins[0]; i++) {
        if (builtins[i].type == oid)
            return builtins[i].kind;
        if (builtins[i].array == oid) {
            *array = true;
            *base = builtins[i].type;
            return builtins[i].kind;
        }
    }
    if (typtype == 'e')
        return DBI_PGKIND_STRING;
    for (size_t i = 0; typtype == 'b' && typname != NULL && i < sizeof extensions / sizeof extensions[0]; i++)
        if (strcmp(extensions[i].name, typname) == 0)
            return extensions[i].kind;
    return DBI_PGKIND_UNKNOWN;
}

/* --- scalars --- */

static bool text_is(const uint8_t *text, size_t length, const char *expected) {
    return length == strlen(expected) && memcmp(text, expected, length) == 0;
}

static bool put_quoted(dbi__out *out, const uint8_t *text, size_t length) {
    dbi__out_byte(out, '"');
    dbi__out_put(out, text, length);
    dbi__out_byte(out, '"');
    return true;
}

static bool put_bool(dbi__out *out, const uint8_t *text, size_t length) {
    if (length != 1)
        return false;
    if (*text == 't' || *text == '1')
        DBI__OUT_TEXT(out, "true");
    else if (*text == 'f' || *text == '0')
        DBI__OUT_TEXT(out, "false");
    else
        return false;
    return true;
}

static bool put_int(dbi__out *out, const uint8_t *text, size_t length) {
    size_t digits = length;
    const uint8_t *at = text;

    if (digits > 0 && *at == '-')
        at++, digits--;
    if (digits == 0 || digits > 19 || (digits > 1 && *at == '0') || dbi__digits(at, digits) != digits)
        return false;
    dbi__out_put(out, text, length);
    return true;
}

/* JSON's grammar of a number. */
static bool is_number(const uint8_t *text, size_t length) {
    size_t at = 0, digits;

    if (at < length && text[at] == '-')
        at++;
    digits = dbi__digits(text + at, length - at);
    if (digits == 0 || (digits > 1 && text[at] == '0'))
        return false;
    at += digits;
    if (at < length && text[at] == '.') {
        digits = dbi__digits(text + at + 1, length - at - 1);
        if (digits == 0)
            return false;
        at += 1 + digits;
    }
    if (at < length && (text[at] == 'e' || text[at] == 'E')) {
        at++;
        if (at < length && (text[at] == '-' || text[at] == '+'))
            at++;
        digits = dbi__digits(text + at, length - at);
        if (digits == 0)
            return false;
        at += digits;
    }
    return at == length;
}

/* JSON has no number for these: they are strings, as Jackson writes them. */
bool dbi__put_float(dbi__out *out, const uint8_t *text, size_t length) {
    if (is_number(text, length)) {
        dbi__out_put(out, text, length);
        return true;
    }
    if (text_is(text, length, "NaN") || text_is(text, length, "Infinity") || text_is(text, length, "-Infinity"))
        return put_quoted(out, text, length);
    return false;
}

/* A string, for a number of JSON may be read as one of few digits; Debezium has names of its own for the special ones.
 */
static bool put_numeric(dbi__out *out, const uint8_t *text, size_t length) {
    if (is_number(text, length))
        return put_quoted(out, text, length);
    if (text_is(text, length, "NaN"))
        DBI__OUT_TEXT(out, "\"NAN\"");
    else if (text_is(text, length, "Infinity"))
        DBI__OUT_TEXT(out, "\"POSITIVE_INFINITY\"");
    else if (text_is(text, length, "-Infinity"))
        DBI__OUT_TEXT(out, "\"NEGATIVE_INFINITY\"");
    else
        return false;
    return true;
}

/* "-$1,234.56" (lc_monetary=C), or the same without a currency. */
static bool put_money(dbi__out *out, const uint8_t *text, size_t length) {
    bool digit = false;

    dbi__out_byte(out, '"');
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '$' || text[i] == ',')
            continue;
        if (text[i] >= '0' && text[i] <= '9')
            digit = true;
        else if (text[i] != '.' && (text[i] != '-' || digit))
            return false;
        dbi__out_byte(out, (char)text[i]);
    }
    dbi__out_byte(out, '"');
    return digit;
}

/* --- binary --- */

int dbi__hex_digit(uint8_t byte) {
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* Hexadecimal digits as base64, without quotes: some at a time, a multiple of three bytes. */
bool dbi__put_hex_as_base64(dbi__out *out, const uint8_t *hex, size_t length) {
    uint8_t some[768];

    if (length % 2 != 0)
        return false;
    while (length > 0) {
        size_t bytes = length / 2 < sizeof some ? length / 2 : sizeof some;

        for (size_t i = 0; i < bytes; i++) {
            int high = dbi__hex_digit(hex[2 * i]), low = dbi__hex_digit(hex[2 * i + 1]);

            if (high < 0 || low < 0)
                return false;
            some[i] = (uint8_t)(high << 4 | low);
        }
        dbi__out_base64(out, some, bytes);
        hex += 2 * bytes;
        length -= 2 * bytes;
    }
    return true;
}

static bool put_bytea(dbi__out *out, const uint8_t *text, size_t length) {
    bool good;

    if (length < 2 || text[0] != '\\' || text[1] != 'x')
        return false;
    dbi__out_byte(out, '"');
    good = dbi__put_hex_as_base64(out, text + 2, length - 2);
    dbi__out_byte(out, '"');
    return good;
}

/* The bits as a number, little-endian, in as many bytes as its highest bit asks for. */
static bool put_bits(dbi__out *out, const uint8_t *text, size_t length) {
    uint8_t some[768];
    size_t bits;

    for (size_t i = 0; i < length; i++)
        if (text[i] != '0' && text[i] != '1')
            return false;
    for (bits = length; bits > 0 && text[length - bits] == '0'; bits--)
        ;
    dbi__out_byte(out, '"');
    for (size_t done = 0; done < bits; done += 8 * sizeof some) {
        size_t left = bits - done, bytes = left < 8 * sizeof some ? (left + 7) / 8 : sizeof some;

        memset(some, 0, bytes);
        for (size_t bit = 0; bit < left && bit < 8 * bytes; bit++)
            if (text[length - 1 - done - bit] == '1')
                some[bit / 8] |= (uint8_t)(1u << bit % 8);
        dbi__out_base64(out, some, bytes);
    }
    dbi__out_byte(out, '"');
    return true;
}

static bool put_base64(dbi__out *out, const uint8_t *text, size_t length) {
    dbi__out_byte(out, '"');
    dbi__out_base64(out, text, length);
    dbi__out_byte(out, '"');
    return true;
}

/* --- hstore --- */

/* One quoted text of hstore, as a JSON string; the end of it, NULL when it is not one. */
static const uint8_t *hstore_text(dbi__out *out, const uint8_t *at, const uint8_t *end) {
    if (at == end || *at++ != '"')
        return NULL;
    dbi__out_byte(out, '"');
    while (at < end && *at != '"') {
        const uint8_t *from = at;

        if (*at == '\\') {
            if (++at == end)
                return NULL;
            from = at++; /* whatever follows stands for itself */
            while (at < end && (*at & 0xc0) == 0x80)
                at++;
        } else {
            while (at < end && *at != '"' && *at != '\\')
                at++;
        }
        if (!dbi__out_string_part(out, from, (size_t)(at - from)))
            return NULL;
    }
    dbi__out_byte(out, '"');
    return at < end ? at + 1 : NULL;
}

/* "a"=>"1", "b"=>NULL as a string that holds {"a":"1","b":null} */
static bool put_hstore(dbi__pgvalues *values, dbi__out *out, const uint8_t *text, size_t length) {
    dbi__out *object = &values->object;
    const uint8_t *at = text, *end = text + length;

    dbi__out_reset(object);
    dbi__out_byte(object, '{');
    while (at < end) {
        if (at != text) {
            if (end - at < 2 || at[0] != ',' || at[1] != ' ')
                return false;
            at += 2;
            dbi__out_byte(object, ',');
        }
        at = hstore_text(object, at, end);
        if (at == NULL || end - at < 3 || at[0] != '=' || at[1] != '>')
            return false;
        at += 2;
        dbi__out_byte(object, ':');
        if (end - at >= 4 && memcmp(at, "NULL", 4) == 0) {
            DBI__OUT_TEXT(object, "null");
            at += 4;
        } else {
            at = hstore_text(object, at, end);
            if (at == NULL)
                return false;
        }
    }
    dbi__out_byte(object, '}');
    if (object->rc != DBI_OK) {
        out->rc = out->rc != DBI_OK ? out->rc : object->rc;
        return true;
    }
    return dbi__out_string(out, object->bytes, object->length);
}

static bool put_scalar(dbi__pgvalues *values, dbi__out *out, const dbi_relation_column *column, const uint8_t *text,
                       size_t length) {
    switch (column->kind) {
    case DBI_PGKIND_STRING:
        return dbi__out_string(out, text, length);
    case DBI_PGKIND_NUMERIC:
        return put_numeric(out, text, length);
    case DBI_PGKIND_INT:
        return put_int(out, text, length);
    case DBI_PGKIND_BOOL:
    case DBI_PGKIND_BIT:
        return put_bool(out, text, length);
    case DBI_PGKIND_FLOAT:
        return dbi__put_float(out, text, length);
    case DBI_PGKIND_MONEY:
        return put_money(out, text, length);
    case DBI_PGKIND_DATE:
        return dbi__put_date(out, text, length);
    case DBI_PGKIND_TIME:
        return dbi__put_time(out, text, length);
    case DBI_PGKIND_TIMETZ:
        return dbi__put_timetz(out, text, length);
    case DBI_PGKIND_TIMESTAMP:
        return dbi__put_timestamp(out, text, length);
    case DBI_PGKIND_TIMESTAMPTZ:
        return dbi__put_timestamptz(out, text, length, column->base_typmod);
    case DBI_PGKIND_INTERVAL:
        return dbi__put_interval(out, text, length);
    case DBI_PGKIND_BYTEA:
        return put_bytea(out, text, length);
    case DBI_PGKIND_BITS:
        return put_bits(out, text, length);
    case DBI_PGKIND_HSTORE:
        return put_hstore(values, out, text, length);
    case DBI_PGKIND_POINT:
        return dbi__put_point(values, out, text, length);
    case DBI_PGKIND_GEOMETRY:
        return dbi__put_geometry(out, text, length);
    case DBI_PGKIND_LINE:
        return dbi__put_line(out, text, length);
    case DBI_PGKIND_CIRCLE:
        return dbi__put_circle(values, out, text, length);
    case DBI_PGKIND_LSEG:
    case DBI_PGKIND_BOX:
    case DBI_PGKIND_PATH:
    case DBI_PGKIND_POLYGON:
        return dbi__put_shape(values, out, column->kind, text, length);
    case DBI_PGKIND_VECTOR:
        return dbi__put_vector(out, text, length);
    case DBI_PGKIND_UNKNOWN:
        break;
    }
    return put_base64(out, text, length);
}

/* --- arrays --- */

/* One element, from its first byte on; the byte after it, NULL when it is malformed. */
static const uint8_t *put_element(dbi__pgvalues *values, dbi__out *out, const dbi_relation_column *column,
                                  const uint8_t *at, const uint8_t *end) {
    dbi__out *element = &values->element;
    const uint8_t *from = at;

    if (*at != '"') {
        while (at < end && *at != (uint8_t)column->delimiter && *at != '}')
            at++;
        if (at == from)
            return NULL;
        if (text_is(from, (size_t)(at - from), "NULL")) {
            DBI__OUT_TEXT(out, "null");
            return at;
        }
        return put_scalar(values, out, column, from, (size_t)(at - from)) ? at : NULL;
    }
    dbi__out_reset(element);
    for (from = ++at; at < end && *at != '"'; at++) {
        if (*at != '\\')
            continue;
        dbi__out_put(element, from, (size_t)(at - from));
        if (++at == end)
            return NULL;
        from = at;
    }
    if (at == end)
        return NULL;
    if (element->length == 0)
        return put_scalar(values, out, column, from, (size_t)(at - from)) ? at + 1 : NULL;
    dbi__out_put(element, from, (size_t)(at - from));
    if (element->rc != DBI_OK) {
        out->rc = out->rc != DBI_OK ? out->rc : element->rc;
        return at + 1;
    }
    return put_scalar(values, out, column, element->bytes, element->length) ? at + 1 : NULL;
}

/* {1,NULL,"a b",{...}}, with the bounds before it where they are not the usual ones: [2:3]={...} */
static bool put_array(dbi__pgvalues *values, dbi__out *out, const dbi_relation_column *column, const uint8_t *text,
                      size_t length) {
    const uint8_t *at = text, *end = text + length;
    unsigned depth = 0;
    bool wanted = true; /* an element or an array may come now */

    if (length > 0 && *at == '[') {
        at = memchr(at, '=', length);
        if (at == NULL)
            return false;
        at++;
    }
    if (at == end || *at != '{')
        return false;
    while (at < end) {
        if (*at == '{') {
            if (!wanted || depth == ARRAY_DEPTH_MAX)
                return false;
            dbi__out_byte(out, '[');
            depth++;
            at++;
            if (at < end && *at == '}') { /* an empty one */
                wanted = false;
            }
        } else if (*at == '}') {
            if (wanted || depth == 0)
                return false;
            dbi__out_byte(out, ']');
            at++;
            if (--depth == 0)
                return at == end;
        } else if (*at == (uint8_t)column->delimiter) {
            if (wanted)
                return false;
            dbi__out_byte(out, ',');
            wanted = true;
            at++;
        } else {
            if (!wanted)
                return false;
            at = put_element(values, out, column, at, end);
            if (at == NULL)
                return false;
            wanted = false;
        }
    }
    return false;
}

bool dbi__pgvalue_put(dbi__pgvalues *values, dbi__out *out, const dbi_relation_column *column, const uint8_t *text,
                      size_t length) {
    return column->array ? put_array(values, out, column, text, length) : put_scalar(values, out, column, text, length);
}

/* In the form that Debezium gives it, where that has a form: a list of the text, of its bytes as numbers, a map of it.
 */
void dbi__pgvalue_put_unavailable(dbi__out *out, const dbi_relation_column *column) {
    static const char unavailable[] = DBI_ENVELOPE_UNAVAILABLE;

    switch (column->type) {
    case TYPE_TEXT_ARRAY:
    case TYPE_VARCHAR_ARRAY:
    case TYPE_JSON_ARRAY:
    case TYPE_JSONB_ARRAY:
        DBI__OUT_TEXT(out, "[\"" DBI_ENVELOPE_UNAVAILABLE "\"]");
        return;
    case TYPE_INT4_ARRAY:
    case TYPE_INT8_ARRAY:
        for (size_t i = 0; i < sizeof unavailable - 1; i++) {
            dbi__out_byte(out, i == 0 ? '[' : ',');
            dbi__out_unsigned(out, (uint8_t)unavailable[i]);
        }
        dbi__out_byte(out, ']');
        return;
    default:
        break;
    }
    if (column->kind == DBI_PGKIND_HSTORE && !column->array)
        DBI__OUT_TEXT(out, "\"{\\\"" DBI_ENVELOPE_UNAVAILABLE "\\\":\\\"" DBI_ENVELOPE_UNAVAILABLE "\\\"}\"");
    else
        DBI__OUT_TEXT(out, "\"" DBI_ENVELOPE_UNAVAILABLE "\"");
}
