/* pgvalue_geometry.c - points, shapes and vectors
 *
 *   point    (x,y)                              circle  <(x,y),r>
 *   line     {A,B,C}                            lseg    [(x,y),(x,y)]
 *   box      (x,y),(x,y)                        path    ((x,y),…) closed, [(x,y),…] open
 *   polygon  ((x,y),…)                          vector  [n,n,…]
 *   PostGIS  EWKB in hexadecimal: byte order, type with a flag for the SRID, the SRID where the flag says so
 *
 * Shapes become well-known binary, as Debezium makes them of these: a box and a polygon a ring that ends where it
 * began, a line segment and a path a string of points; what that leaves out stands in "extensions".
 */
#include <stdlib.h>

#include "bytes_int.h"
#include "pgvalue_int.h"

#define NUMBER_MAX 32 /* bytes of a float8's text */
#define WKB_POINT 1
#define WKB_LINE_STRING 2
#define WKB_POLYGON 3

typedef struct pg_point {
    double x, y;
} pg_point;

/* --- reading --- */

/* The end of the number that begins at `at` and is followed by `stop`; NULL when there is none. */
static const uint8_t *number_end(const uint8_t *at, const uint8_t *end, uint8_t stop) {
    const uint8_t *found = at < end ? memchr(at, stop, (size_t)(end - at)) : NULL;

    return found != NULL && found > at && found - at < NUMBER_MAX ? found : NULL;
}

static bool number_read(const dbi__pgvalues *values, const uint8_t *at, const uint8_t *end, double *number) {
    char text[NUMBER_MAX];
    char *stop;

    memcpy(text, at, (size_t)(end - at));
    text[end - at] = '\0';
    *number = strtod_l(text, &stop, values->plain);
    return stop == text + (end - at);
}

/* The texts of a point's numbers; the byte after it, NULL when it is none. */
typedef struct point_text {
    const uint8_t *x, *x_end, *y, *y_end;
} point_text;

static const uint8_t *point_find(const uint8_t *at, const uint8_t *end, point_text *point) {
    if (at == end || *at != '(')
        return NULL;
    point->x = at + 1;
    point->x_end = number_end(point->x, end, ',');
    if (point->x_end == NULL)
        return NULL;
    point->y = point->x_end + 1;
    point->y_end = number_end(point->y, end, ')');
    return point->y_end != NULL ? point->y_end + 1 : NULL;
}

static bool point_read(const dbi__pgvalues *values, const point_text *text, pg_point *point) {
    return number_read(values, text->x, text->x_end, &point->x) && number_read(values, text->y, text->y_end, &point->y);
}

/* --- well-known binary, little-endian, in values->object --- */

static void wkb_number(dbi__out *wkb, uint32_t number) {
    uint8_t bytes[4];

    dbi__put32le(bytes, number);
    dbi__out_put(wkb, bytes, sizeof bytes);
}

static void wkb_begin(dbi__out *wkb, uint32_t type) {
    dbi__out_reset(wkb);
    dbi__out_byte(wkb, 1);
    wkb_number(wkb, type);
}

static void wkb_point(dbi__out *wkb, double x, double y) {
    uint8_t bytes[16];
    uint64_t bits[2];

    memcpy(&bits[0], &x, sizeof bits[0]);
    memcpy(&bits[1], &y, sizeof bits[1]);
    dbi__put64le(bytes, bits[0]);
    dbi__put64le(bytes + 8, bits[1]);
    dbi__out_put(wkb, bytes, sizeof bytes);
}

/* "wkb":"…","srid":null */
static void put_wkb(dbi__out *out, const dbi__out *wkb) {
    DBI__OUT_TEXT(out, "\"wkb\":\"");
    if (wkb->rc == DBI_OK)
        dbi__out_base64(out, wkb->bytes, wkb->length);
    else if (out->rc == DBI_OK)
        out->rc = wkb->rc;
    DBI__OUT_TEXT(out, "\",\"srid\":null");
}

/* --- values --- */

static bool put_point_text(dbi__pgvalues *values, dbi__out *out, const point_text *text) {
    dbi__out *wkb = &values->object;
    pg_point point;

    if (!point_read(values, text, &point))
        return false;
    wkb_begin(wkb, WKB_POINT);
    wkb_point(wkb, point.x, point.y);
    DBI__OUT_TEXT(out, "{\"x\":");
    if (!dbi__put_float(out, text->x, (size_t)(text->x_end - text->x)))
        return false;
    DBI__OUT_TEXT(out, ",\"y\":");
    if (!dbi__put_float(out, text->y, (size_t)(text->y_end - text->y)))
        return false;
    dbi__out_byte(out, ',');
    put_wkb(out, wkb);
    dbi__out_byte(out, '}');
    return true;
}

bool dbi__put_point(dbi__pgvalues *values, dbi__out *out, const uint8_t *text, size_t length) {
    point_text point;

    return point_find(text, text + length, &point) == text + length && put_point_text(values, out, &point);
}

bool dbi__put_line(dbi__out *out, const uint8_t *text, size_t length) {
    static const char names[] = "abc";
    const uint8_t *at = text + 1, *end = text + length;

    if (length == 0 || *text != '{')
        return false;
    for (size_t i = 0; i < 3; i++) {
        const uint8_t *stop = number_end(at, end, i < 2 ? ',' : '}');

        if (stop == NULL)
            return false;
        dbi__out_byte(out, i == 0 ? '{' : ',');
        dbi__out_byte(out, '"');
        dbi__out_byte(out, names[i]);
        DBI__OUT_TEXT(out, "\":");
        if (!dbi__put_float(out, at, (size_t)(stop - at)))
            return false;
        at = stop + 1;
    }
    dbi__out_byte(out, '}');
    return at == end;
}

bool dbi__put_circle(dbi__pgvalues *values, dbi__out *out, const uint8_t *text, size_t length) {
    const uint8_t *at, *end = text + length, *stop;
    point_text center;

    if (length == 0 || *text != '<')
        return false;
    at = point_find(text + 1, end, &center);
    if (at == NULL || at == end || *at != ',')
        return false;
    at++;
    stop = number_end(at, end, '>');
    if (stop == NULL || stop + 1 != end)
        return false;
    DBI__OUT_TEXT(out, "{\"center\":");
    if (!put_point_text(values, out, &center))
        return false;
    DBI__OUT_TEXT(out, ",\"radius\":");
    if (!dbi__put_float(out, at, (size_t)(stop - at)))
        return false;
    dbi__out_byte(out, '}');
    return true;
}

/* Reads points up to the end, comma-separated, into WKB; how many, 0 = it is something else. */
static uint32_t shape_points(dbi__pgvalues *values, const uint8_t *at, const uint8_t *end, pg_point corners[2]) {
    uint32_t count = 0;

    while (at < end) {
        point_text text;
        pg_point point;

        if (count > 0 && *at++ != ',')
            return 0;
        at = point_find(at, end, &text);
        if (at == NULL || !point_read(values, &text, &point))
            return 0;
        if (count == 0)
            corners[0] = point;
        corners[1] = point;
        wkb_point(&values->object, point.x, point.y);
        if (++count == UINT32_MAX)
            return 0;
    }
    return count;
}

bool dbi__put_shape(dbi__pgvalues *values, dbi__out *out, dbi_pgkind kind, const uint8_t *text, size_t length) {
    bool ring = kind == DBI_PGKIND_BOX || kind == DBI_PGKIND_POLYGON, open = length > 0 && *text == '[';
    const uint8_t *begin = text, *end = text + length;
    dbi__out *wkb = &values->object;
    pg_point corners[2] = {{0, 0}, {0, 0}};
    size_t counted;
    uint32_t count;

    if (kind != DBI_PGKIND_BOX) {
        if (length < 2 || (*text != '(' && !open) || end[-1] != (open ? ']' : ')') ||
            (open ? kind == DBI_PGKIND_POLYGON : kind == DBI_PGKIND_LSEG))
            return false;
        begin++;
        end--;
    }
    wkb_begin(wkb, ring ? WKB_POLYGON : WKB_LINE_STRING);
    if (ring)
        wkb_number(wkb, 1);
    counted = wkb->length;
    wkb_number(wkb, 0);
    count = shape_points(values, begin, end, corners);
    if (count == 0 || (count != 2 && (kind == DBI_PGKIND_BOX || kind == DBI_PGKIND_LSEG)))
        return false;
    if (kind == DBI_PGKIND_BOX) {
        wkb->length = wkb->rc == DBI_OK ? counted + 4 : wkb->length;
        wkb_point(wkb, corners[0].x, corners[0].y);
        wkb_point(wkb, corners[0].x, corners[1].y);
        wkb_point(wkb, corners[1].x, corners[1].y);
        wkb_point(wkb, corners[1].x, corners[0].y);
        wkb_point(wkb, corners[0].x, corners[0].y);
        count = 5;
    } else if (ring && count >= 2 && (corners[0].x != corners[1].x || corners[0].y != corners[1].y)) {
        wkb_point(wkb, corners[0].x, corners[0].y);
        count++;
    }
    if (wkb->rc == DBI_OK)
        dbi__put32le(wkb->bytes + counted, count);
    dbi__out_byte(out, '{');
    put_wkb(out, wkb);
    switch (kind) {
    case DBI_PGKIND_LSEG:
        DBI__OUT_TEXT(out, ",\"extensions\":{\"type\":\"lseg\"}}");
        break;
    case DBI_PGKIND_BOX:
        DBI__OUT_TEXT(out, ",\"extensions\":{\"type\":\"box\"}}");
        break;
    case DBI_PGKIND_POLYGON:
        DBI__OUT_TEXT(out, ",\"extensions\":{\"type\":\"polygon\"}}");
        break;
    default:
        if (open)
            DBI__OUT_TEXT(out, ",\"extensions\":{\"type\":\"path\",\"closed\":\"false\"}}");
        else
            DBI__OUT_TEXT(out, ",\"extensions\":{\"type\":\"path\",\"closed\":\"true\"}}");
    }
    return true;
}

bool dbi__put_geometry(dbi__out *out, const uint8_t *text, size_t length) {
    uint8_t head[9];
    uint32_t type, srid;

    if (length < 2 * sizeof head)
        return false;
    for (size_t i = 0; i < sizeof head; i++) {
        int high = dbi__hex_digit(text[2 * i]), low = dbi__hex_digit(text[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        head[i] = (uint8_t)(high << 4 | low);
    }
    type = dbi__get32le(head + 1);
    srid = dbi__get32le(head + 5);
    if (head[0] == 0) {
        type = __builtin_bswap32(type);
        srid = __builtin_bswap32(srid);
    }
    DBI__OUT_TEXT(out, "{\"wkb\":\"");
    if (!dbi__put_hex_as_base64(out, text, length))
        return false;
    DBI__OUT_TEXT(out, "\",\"srid\":");
    if ((type & UINT32_C(0x20000000)) != 0)
        dbi__out_signed(out, (int32_t)srid);
    else
        DBI__OUT_TEXT(out, "null");
    dbi__out_byte(out, '}');
    return true;
}

/* It is JSON already, when each number is one. */
bool dbi__put_vector(dbi__out *out, const uint8_t *text, size_t length) {
    const uint8_t *at = text + 1, *end = text + length - 1;

    if (length < 3 || text[0] != '[' || *end != ']')
        return false;
    dbi__out_byte(out, '[');
    while (at < end) {
        const uint8_t *stop = memchr(at, ',', (size_t)(end - at));

        if (stop == NULL)
            stop = end;
        if (at != text + 1)
            dbi__out_byte(out, ',');
        if (!dbi__put_float(out, at, (size_t)(stop - at)) || stop + 1 == end)
            return false;
        at = stop + 1;
    }
    dbi__out_byte(out, ']');
    return true;
}
