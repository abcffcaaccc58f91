/* schema.c - see schema.h */
#include "schema.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "md5_int.h"
#include "utf8_int.h"

#define PACK_MAGIC "dbis"
#define PACK_VERSION 1
#define PACK_ARRAY 1u
#define PACK_NULLABLE 2u

#define OID_BPCHAR 1042
#define OID_VARCHAR 1043

/* --- the types --- */

/* What stands in the brackets after a type's name, and how typmod holds it. */
typedef enum modifier { MODIFIER_NONE, MODIFIER_LENGTH, MODIFIER_SCALE, MODIFIER_DIGITS, MODIFIER_INTERVAL } modifier;

/* The built-in types. */
static const struct type_row {
    uint32_t oid, array_oid;
    dbi_type type;
    modifier modifier;
    const char *name; /* format_type() without a modifier */
} type_rows[] = {
    {16, 1000, DBI_TYPE_BOOL, MODIFIER_NONE, "boolean"},
    {21, 1005, DBI_TYPE_INT2, MODIFIER_NONE, "smallint"},
    {23, 1007, DBI_TYPE_INT4, MODIFIER_NONE, "integer"},
    {20, 1016, DBI_TYPE_INT8, MODIFIER_NONE, "bigint"},
    {700, 1021, DBI_TYPE_FLOAT4, MODIFIER_NONE, "real"},
    {701, 1022, DBI_TYPE_FLOAT8, MODIFIER_NONE, "double precision"},
    {1700, 1231, DBI_TYPE_NUMERIC, MODIFIER_SCALE, "numeric"},
    {25, 1009, DBI_TYPE_TEXT, MODIFIER_NONE, "text"},
    {OID_VARCHAR, 1015, DBI_TYPE_TEXT, MODIFIER_LENGTH, "character varying"},
    {OID_BPCHAR, 1014, DBI_TYPE_TEXT, MODIFIER_LENGTH, "character"},
    {17, 1001, DBI_TYPE_BYTEA, MODIFIER_NONE, "bytea"},
    {1184, 1185, DBI_TYPE_TIMESTAMPTZ, MODIFIER_DIGITS, "timestamp with time zone"},
    {1114, 1115, DBI_TYPE_TIMESTAMP, MODIFIER_DIGITS, "timestamp without time zone"},
    {1082, 1182, DBI_TYPE_DATE, MODIFIER_NONE, "date"},
    {2950, 2951, DBI_TYPE_UUID, MODIFIER_NONE, "uuid"},
    {114, 199, DBI_TYPE_JSON, MODIFIER_NONE, "json"},
    {3802, 3807, DBI_TYPE_JSONB, MODIFIER_NONE, "jsonb"},
    {869, 1041, DBI_TYPE_INET, MODIFIER_NONE, "inet"},
    {650, 651, DBI_TYPE_CIDR, MODIFIER_NONE, "cidr"},
    {1083, 1183, DBI_TYPE_TIME, MODIFIER_DIGITS, "time without time zone"},
    {1186, 1187, DBI_TYPE_INTERVAL, MODIFIER_INTERVAL, "interval"},
};
#define TYPE_ROWS (sizeof type_rows / sizeof type_rows[0])

/* Other ways in which SQL writes them. */
static const struct type_alias {
    const char *alias;
    uint32_t oid;
} type_aliases[] = {
    {"bool", 16},    {"int2", 21},     {"int4", 23},          {"int", 23},         {"int8", 20},
    {"float4", 700}, {"float8", 701},  {"float", 701},        {"decimal", 1700},   {"varchar", 1043},
    {"char", 1042},  {"bpchar", 1042}, {"timestamptz", 1184}, {"timestamp", 1114}, {"time", 1083},
};

static const struct type_row *type_by_oid(uint32_t oid) {
    for (size_t i = 0; i < TYPE_ROWS; i++)
        if (type_rows[i].oid == oid)
            return &type_rows[i];
    return NULL;
}

static const struct type_row *type_by_name(const char *name) {
    for (size_t i = 0; i < TYPE_ROWS; i++)
        if (strcmp(type_rows[i].name, name) == 0)
            return &type_rows[i];
    for (size_t i = 0; i < sizeof type_aliases / sizeof type_aliases[0]; i++)
        if (strcmp(type_aliases[i].alias, name) == 0)
            return type_by_oid(type_aliases[i].oid);
    return NULL;
}

const char *dbi_type_text(dbi_type type) {
    switch (type) {
#define TYPE_TEXT(name, number, text)                                                                                  \
    case DBI_TYPE_##name:                                                                                              \
        return text;
        DBI_COLUMN_TYPE_MAP(TYPE_TEXT)
#undef TYPE_TEXT
    case DBI_TYPE_COUNT:
        break;
    }
    return "unknown";
}

const char *dbi_fill_text(dbi_fill fill) {
    switch (fill) {
#define FILL_TEXT(name, number, text)                                                                                  \
    case DBI_FILL_##name:                                                                                              \
        return text;
        DBI_FILL_MAP(FILL_TEXT)
#undef FILL_TEXT
    case DBI_FILL_COUNT:
        break;
    }
    return "unknown";
}

/* --- life --- */

/* Copies a name of `what`; refuses what is no name of PostgreSQL's. */
static dbi_rc name_set(char out[DBI_NAME_SIZE], const char *name, const char *what, dbi_err *err) {
    size_t length = strlen(name);

    if (length == 0)
        return dbi_err_set(err, DBI_EINVAL, "the name of a %s is empty", what);
    if (length >= DBI_NAME_SIZE)
        return dbi_err_set(err, DBI_EINVAL, "the name of a %s has at most %d bytes: \"%.40s…\" has %zu", what,
                           DBI_NAME_SIZE - 1, name, length);
    memcpy(out, name, length + 1);
    return DBI_OK;
}

dbi_rc dbi_schema_new(dbi_schema **schema, const char *nspname, const char *relname, unsigned columns, dbi_err *err) {
    dbi_schema *made = NULL;
    dbi_rc rc = DBI_OK;

    if (columns == 0 || columns > DBI_COLUMNS_MAX)
        return dbi_err_set(err, DBI_EINVAL, "a stream has 1 to %d columns, not %u", DBI_COLUMNS_MAX, columns);
    made = dbi_calloc(1, sizeof *made);
    if (made == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a schema");
    made->columns = dbi_calloc(columns, sizeof *made->columns);
    if (made->columns == NULL) {
        rc = dbi_err_set(err, DBI_ENOMEM, "no memory for a schema of %u columns", columns);
        goto done;
    }
    made->column_count = columns;
    if ((rc = name_set(made->nspname, nspname, "schema", err)) != DBI_OK ||
        (rc = name_set(made->relname, relname, "table", err)) != DBI_OK)
        goto done;
    *schema = made;
    made = NULL;
done:
    dbi_schema_free(made);
    return rc;
}

dbi_rc dbi_schema_copy(dbi_schema **copy, const dbi_schema *schema, dbi_err *err) {
    dbi_rc rc = dbi_schema_new(copy, schema->nspname, schema->relname, schema->column_count, err);

    if (rc == DBI_OK)
        memcpy((*copy)->columns, schema->columns, schema->column_count * sizeof *schema->columns);
    return rc;
}

void dbi_schema_free(dbi_schema *schema) {
    if (schema == NULL)
        return;
    dbi_free(schema->columns);
    dbi_free(schema);
}

/* --- columns --- */

#define TYPE_TEXT_SIZE 64

/* A type as SQL writes it, taken apart. */
typedef struct type_words {
    char name[TYPE_TEXT_SIZE]; /* lower case, single spaces, without what follows */
    int numbers[2];
    unsigned number_count;
    bool array, not_null;
} type_words;

/* Cuts `suffix` off the end of the text, and the spaces before it. */
static bool cut_suffix(char *text, const char *suffix) {
    size_t length = strlen(text), cut = strlen(suffix);

    if (length < cut || strcmp(text + length - cut, suffix) != 0)
        return false;
    length -= cut;
    while (length > 0 && text[length - 1] == ' ')
        length--;
    text[length] = '\0';
    return true;
}

/* Takes "(10, 2)" out of the text: false when it is not one or two numbers of at most 8 digits. */
static bool cut_numbers(char *text, type_words *words) {
    char *open = strchr(text, '('), *at = open;

    if (open == NULL)
        return strchr(text, ')') == NULL;
    do {
        int sign = 1, digits = 0, number = 0;

        at++;
        while (*at == ' ')
            at++;
        if (*at == '-') {
            sign = -1;
            at++;
        }
        for (; isdigit((unsigned char)*at) && digits < 8; at++, digits++)
            number = number * 10 + (*at - '0');
        while (*at == ' ')
            at++;
        if (digits == 0 || words->number_count == 2)
            return false;
        words->numbers[words->number_count++] = sign * number;
    } while (*at == ',');
    if (*at++ != ')')
        return false;
    while (open > text && open[-1] == ' ')
        open--;
    memmove(open, at, strlen(at) + 1);
    return strpbrk(text, "()") == NULL;
}

/* False when the text cannot be a type's. */
static bool type_words_read(const char *text, type_words *words) {
    size_t used = 0;

    *words = (type_words){0};
    for (; *text != '\0'; text++) {
        char c = isspace((unsigned char)*text) ? ' ' : (char)tolower((unsigned char)*text);

        if (c == ' ' && (used == 0 || words->name[used - 1] == ' '))
            continue;
        if (used + 1 >= sizeof words->name)
            return false;
        words->name[used++] = c;
    }
    if (used > 0 && words->name[used - 1] == ' ')
        words->name[used - 1] = '\0';
    if (cut_suffix(words->name, " not null"))
        words->not_null = true;
    else
        (void)cut_suffix(words->name, " null");
    while (cut_suffix(words->name, "[]"))
        words->array = true;
    return cut_numbers(words->name, words);
}

/* The typmod for the numbers in brackets, -1 for none; false when the type does not take them. */
static bool typmod_of(const struct type_row *row, const type_words *words, int32_t *typmod) {
    int first = words->numbers[0], scale = words->number_count == 2 ? words->numbers[1] : 0;

    *typmod = -1;
    if (words->number_count == 0) {
        if (row->oid == OID_BPCHAR && strcmp(words->name, "bpchar") != 0) /* char is char(1) */
            *typmod = 1 + 4;
        return true;
    }
    if (words->number_count == 2 && row->modifier != MODIFIER_SCALE)
        return false;
    switch (row->modifier) {
    case MODIFIER_NONE:
        return false;
    case MODIFIER_LENGTH:
        *typmod = first + 4;
        return first >= 1 && first <= 10485760;
    case MODIFIER_SCALE:
        if (first < 1 || first > 1000 || scale < -1000 || scale > 1000)
            return false;
        *typmod = (int32_t)(((uint32_t)first << 16 | ((uint32_t)scale & 0x7ffu)) + 4);
        return true;
    case MODIFIER_DIGITS:
        *typmod = first;
        return first >= 0 && first <= 6;
    case MODIFIER_INTERVAL: /* of all fields, with so many digits of the second */
        *typmod = (int32_t)(UINT32_C(0x7fff) << 16 | (uint32_t)first);
        return first >= 0 && first <= 6;
    }
    return false;
}

/* The type as format_type() writes it. */
static void type_name_set(dbi_column *column, const struct type_row *row, const type_words *words) {
    const char *rest = "", *name = row->name;
    char numbers[32] = "";
    int head = (int)strlen(name);

    if (row->modifier == MODIFIER_DIGITS && words->number_count != 0) { /* timestamp(3) with time zone */
        rest = strchr(name, ' ');
        head = (int)(rest - name);
    }
    if (row->oid == OID_BPCHAR && column->typmod < 0)
        name = "bpchar", head = 6;
    else if (row->oid == OID_BPCHAR)
        (void)snprintf(numbers, sizeof numbers, "(%d)", column->typmod - 4);
    else if (row->modifier == MODIFIER_SCALE && words->number_count != 0)
        (void)snprintf(numbers, sizeof numbers, "(%d,%d)", words->numbers[0],
                       words->number_count == 2 ? words->numbers[1] : 0);
    else if (words->number_count != 0)
        (void)snprintf(numbers, sizeof numbers, "(%d)", words->numbers[0]);
    (void)snprintf(column->type_name, sizeof column->type_name, "%.*s%s%s%s", head, name, numbers, rest,
                   column->array ? "[]" : "");
}

dbi_rc dbi_column_declare(dbi_column *column, const char *name, const char *type_text, dbi_err *err) {
    dbi_column made = {0};
    const struct type_row *row;
    type_words words;
    dbi_rc rc = name_set(made.name, name, "column", err);

    if (rc != DBI_OK)
        return rc;
    row = type_words_read(type_text, &words) ? type_by_name(words.name) : NULL;
    if (row == NULL)
        return dbi_err_set(err, DBI_EINVAL,
                           "column \"%s\": \"%.80s\" is no built-in type that can be encoded; columns of other types, "
                           "such as enums, have to be read from the server",
                           name, type_text);
    if (!typmod_of(row, &words, &made.typmod))
        return dbi_err_set(err, DBI_EINVAL, "column \"%s\": the numbers in \"%.80s\" are not possible for %s", name,
                           type_text, row->name);
    made.array = words.array;
    made.oid = made.array ? row->array_oid : row->oid;
    made.element_oid = made.array ? row->oid : 0;
    made.type = row->type;
    made.nullable = !words.not_null;
    type_name_set(&made, row, &words);
    *column = made;
    return DBI_OK;
}

/* "citext" or "public.citext[]": the extension's oid differs from database to database. */
static bool is_citext(const char *type_name) {
    const char *dot = strrchr(type_name, '.'), *last = dot != NULL ? dot + 1 : type_name;

    return strcmp(last, "citext") == 0 || strcmp(last, "citext[]") == 0;
}

dbi_rc dbi_column_resolve(dbi_column *column, uint32_t oid, int32_t typmod, char typtype, uint32_t element_oid,
                          char element_typtype, const char *type_name, dbi_err *err) {
    uint32_t value_oid = element_oid != 0 ? element_oid : oid;
    char value_typtype = element_oid != 0 ? element_typtype : typtype;
    const struct type_row *row = value_typtype == 'b' ? type_by_oid(value_oid) : NULL;

    if (strlen(type_name) > UINT8_MAX)
        return dbi_err_set(err, DBI_EINVAL, "column \"%s\": the name of its type, \"%.80s\", is longer than 255 bytes",
                           column->name, type_name);
    if (row != NULL && (element_oid == 0 || row->array_oid == oid))
        column->type = row->type;
    else if (value_typtype == 'e')
        column->type = DBI_TYPE_ENUM;
    else if (value_typtype == 'b' && row == NULL && is_citext(type_name))
        column->type = DBI_TYPE_TEXT;
    else
        return dbi_err_set(err, DBI_EINVAL,
                           "column \"%s\" is of type %.80s, which cannot be encoded: leave the column out of the "
                           "stream, or change its type",
                           column->name, type_name);
    column->oid = oid;
    column->element_oid = element_oid;
    column->domain_oid = 0;
    column->typmod = typmod;
    column->array = element_oid != 0;
    memcpy(column->type_name, type_name, strlen(type_name) + 1);
    return DBI_OK;
}

/* --- the whole --- */

static dbi_rc fill_check(const dbi_column *column, dbi_err *err) {
    bool fits = true;

    switch (column->fill) {
    case DBI_FILL_NONE:
        break;
    case DBI_FILL_NULL:
        fits = column->nullable;
        break;
    case DBI_FILL_UUID7:
        fits = column->type == DBI_TYPE_UUID && !column->array;
        break;
    case DBI_FILL_NOW:
        fits = column->type == DBI_TYPE_TIMESTAMPTZ && !column->array;
        break;
    case DBI_FILL_COUNT:
        fits = false;
        break;
    }
    if (fits)
        return DBI_OK;
    return dbi_err_set(err, DBI_EINVAL, "column \"%s\" of type %.80s%s cannot be filled with %s", column->name,
                       column->type_name, column->nullable ? "" : " not null", dbi_fill_text(column->fill));
}

dbi_rc dbi_schema_check(const dbi_schema *schema, dbi_err *err) {
    for (unsigned i = 0; i < schema->column_count; i++) {
        const dbi_column *column = &schema->columns[i];
        dbi_rc rc = fill_check(column, err);

        if (rc != DBI_OK)
            return rc;
        for (unsigned j = 0; j < i; j++)
            if (strcmp(column->name, schema->columns[j].name) == 0)
                return dbi_err_set(err, DBI_EINVAL, "column \"%s\" is there twice", column->name);
    }
    return DBI_OK;
}

void dbi_schema_fingerprint(const dbi_schema *schema, uint8_t out[16]) {
    dbi__md5 md5;

    dbi__md5_init(&md5);
    for (unsigned i = 0; i < schema->column_count; i++) {
        const dbi_column *column = &schema->columns[i];
        char line[DBI_NAME_SIZE + 32];
        int length = snprintf(line, sizeof line, "%s%s:%lu:%ld", i != 0 ? "\n" : "", column->name,
                              (unsigned long)(column->domain_oid != 0 ? column->domain_oid : column->oid),
                              column->domain_oid != 0 ? -1L : (long)column->typmod);

        dbi__md5_add(&md5, line, (size_t)length);
    }
    dbi__md5_end(&md5, out);
}

/* --- the packed form --- */

#define PACK_HEAD 8    /* magic, version, number of columns */
#define PACK_COLUMN 19 /* the fixed part of a column */

static uint8_t *pack_number(uint8_t *at, uint32_t number, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++)
        *at++ = (uint8_t)(number >> (8 * i));
    return at;
}

static uint8_t *pack_string(uint8_t *at, const char *text) {
    size_t length = strlen(text);

    *at++ = (uint8_t)length;
    memcpy(at, text, length);
    return at + length;
}

dbi_rc dbi_schema_pack(const dbi_schema *schema, uint8_t **bytes, size_t *length, dbi_err *err) {
    size_t size = PACK_HEAD + 2 + strlen(schema->nspname) + strlen(schema->relname);
    uint8_t *at;

    for (unsigned i = 0; i < schema->column_count; i++)
        size += PACK_COLUMN + 2 + strlen(schema->columns[i].name) + strlen(schema->columns[i].type_name);
    at = dbi_malloc(size);
    if (at == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a packed schema of %zu bytes", size);
    *bytes = at;
    *length = size;
    memcpy(at, PACK_MAGIC, 4);
    at = pack_number(at + 4, PACK_VERSION, 2);
    at = pack_number(at, schema->column_count, 2);
    at = pack_string(at, schema->nspname);
    at = pack_string(at, schema->relname);
    for (unsigned i = 0; i < schema->column_count; i++) {
        const dbi_column *column = &schema->columns[i];

        at = pack_number(at, column->oid, 4);
        at = pack_number(at, column->element_oid, 4);
        at = pack_number(at, column->domain_oid, 4);
        at = pack_number(at, (uint32_t)column->typmod, 4);
        at = pack_number(at, (uint32_t)column->type, 1);
        at = pack_number(at, (column->array ? PACK_ARRAY : 0) | (column->nullable ? PACK_NULLABLE : 0), 1);
        at = pack_number(at, (uint32_t)column->fill, 1);
        at = pack_string(at, column->name);
        at = pack_string(at, column->type_name);
    }
    return DBI_OK;
}

/* A packed schema being read. */
typedef struct unpack {
    const uint8_t *bytes;
    size_t length, at;
    dbi_err *err;
} unpack;

static dbi_rc unpack_bad(const unpack *from, const char *what) {
    return dbi_err_set(from->err, DBI_ECORRUPT, "packed schema, byte %zu of %zu: %s", from->at, from->length, what);
}

static dbi_rc unpack_number(unpack *from, unsigned bytes, uint32_t *number) {
    if (from->length - from->at < bytes)
        return unpack_bad(from, "it ends in the middle of a number");
    *number = 0;
    for (unsigned i = 0; i < bytes; i++)
        *number |= (uint32_t)from->bytes[from->at++] << (8 * i);
    return DBI_OK;
}

static dbi_rc unpack_string(unpack *from, char *out, size_t size) {
    size_t length;

    if (from->at == from->length)
        return unpack_bad(from, "it ends where a string begins");
    length = from->bytes[from->at];
    if (length == 0 || length >= size)
        return unpack_bad(from, "a string of a length that no name has");
    if (from->length - from->at - 1 < length)
        return unpack_bad(from, "it ends in the middle of a string");
    from->at++;
    if (memchr(from->bytes + from->at, '\0', length) != NULL || !dbi__utf8_valid(from->bytes + from->at, length))
        return unpack_bad(from, "a name that is not UTF-8, or holds a NUL");
    memcpy(out, from->bytes + from->at, length);
    out[length] = '\0';
    from->at += length;
    return DBI_OK;
}

/* Do the numbers say the same as the type? A domain and an enum may have any oid, and so may citext. */
static bool column_consistent(const dbi_column *column) {
    uint32_t value_oid = column->array ? column->element_oid : column->oid;
    const struct type_row *row = type_by_oid(value_oid);

    if (column->oid == 0 || column->array != (column->element_oid != 0) || column->typmod < -1)
        return false;
    if (row != NULL)
        return row->type == column->type && (!column->array || row->array_oid == column->oid);
    return column->type == DBI_TYPE_ENUM || (column->type == DBI_TYPE_TEXT && is_citext(column->type_name));
}

static dbi_rc unpack_column(unpack *from, dbi_column *column) {
    uint32_t typmod = 0, type = 0, flags = 0, fill = 0;
    dbi_rc rc;

    if ((rc = unpack_number(from, 4, &column->oid)) != DBI_OK ||
        (rc = unpack_number(from, 4, &column->element_oid)) != DBI_OK ||
        (rc = unpack_number(from, 4, &column->domain_oid)) != DBI_OK ||
        (rc = unpack_number(from, 4, &typmod)) != DBI_OK || (rc = unpack_number(from, 1, &type)) != DBI_OK ||
        (rc = unpack_number(from, 1, &flags)) != DBI_OK || (rc = unpack_number(from, 1, &fill)) != DBI_OK ||
        (rc = unpack_string(from, column->name, sizeof column->name)) != DBI_OK ||
        (rc = unpack_string(from, column->type_name, sizeof column->type_name)) != DBI_OK)
        return rc;
    if (type >= DBI_TYPE_COUNT || fill >= DBI_FILL_COUNT || (flags & ~(PACK_ARRAY | PACK_NULLABLE)) != 0)
        return unpack_bad(from, "a type, fill or flag that version 1 does not have");
    column->typmod = (int32_t)typmod;
    column->type = (dbi_type)type;
    column->fill = (dbi_fill)fill;
    column->array = (flags & PACK_ARRAY) != 0;
    column->nullable = (flags & PACK_NULLABLE) != 0;
    if (!column_consistent(column))
        return unpack_bad(from, "a column whose oids and type do not go together");
    return DBI_OK;
}

dbi_rc dbi_schema_unpack(dbi_schema **schema, const uint8_t *bytes, size_t length, dbi_err *err) {
    unpack from = {.bytes = bytes, .length = length, .err = err};
    dbi_schema *made = NULL;
    char nspname[DBI_NAME_SIZE], relname[DBI_NAME_SIZE];
    uint32_t version = 0, columns = 0;
    dbi_rc rc = DBI_OK;
    dbi_err why;

    if (length < PACK_HEAD || memcmp(bytes, PACK_MAGIC, 4) != 0)
        return unpack_bad(&from, "it does not begin as a packed schema");
    from.at = 4;
    if ((rc = unpack_number(&from, 2, &version)) != DBI_OK)
        return rc;
    if (version != PACK_VERSION)
        return dbi_err_set(err, DBI_ECORRUPT, "packed schema of version %lu: this dbint reads version %d",
                           (unsigned long)version, PACK_VERSION);
    if ((rc = unpack_number(&from, 2, &columns)) != DBI_OK ||
        (rc = unpack_string(&from, nspname, sizeof nspname)) != DBI_OK ||
        (rc = unpack_string(&from, relname, sizeof relname)) != DBI_OK)
        return rc;
    if (columns == 0 || columns > DBI_COLUMNS_MAX || columns > (length - from.at) / (PACK_COLUMN + 4))
        return unpack_bad(&from, "a number of columns that does not fit");
    if ((rc = dbi_schema_new(&made, nspname, relname, columns, err)) != DBI_OK)
        return rc;
    for (unsigned i = 0; i < columns; i++)
        if ((rc = unpack_column(&from, &made->columns[i])) != DBI_OK)
            goto done;
    if (from.at != length) {
        rc = unpack_bad(&from, "more bytes than columns");
        goto done;
    }
    if (dbi_schema_check(made, &why) != DBI_OK) {
        rc = dbi_err_set(err, DBI_ECORRUPT, "packed schema: %.400s", why.msg);
        goto done;
    }
    *schema = made;
    made = NULL;
done:
    dbi_schema_free(made);
    return rc;
}
