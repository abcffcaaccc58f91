/* err.c - see err.h */
#include "err.h"

#include <stdio.h>
#include <string.h>

const char *dbi_rc_name(dbi_rc rc) {
    switch (rc) {
#define DBI_RC_NAME(name, value, text)                                                                                 \
    case DBI_##name:                                                                                                   \
        return "DBI_" #name;
        DBI_RC_MAP(DBI_RC_NAME)
#undef DBI_RC_NAME
    }
    return "unknown";
}

const char *dbi_rc_text(dbi_rc rc) {
    switch (rc) {
#define DBI_RC_TEXT(name, value, text)                                                                                 \
    case DBI_##name:                                                                                                   \
        return text;
        DBI_RC_MAP(DBI_RC_TEXT)
#undef DBI_RC_TEXT
    }
    return "unknown";
}

void dbi_err_reset(dbi_err *err) {
    if (err == NULL)
        return;
    err->rc = DBI_OK;
    err->sys = 0;
    err->kafka = 0;
    err->sqlstate[0] = '\0';
    err->msg[0] = '\0';
}

static void err_vset(dbi_err *err, dbi_rc rc, const char *fmt, va_list args) {
    dbi_err_reset(err);
    err->rc = rc;
    if (vsnprintf(err->msg, sizeof err->msg, fmt, args) < 0)
        err->msg[0] = '\0';
}

dbi_rc dbi_err_set(dbi_err *err, dbi_rc rc, const char *fmt, ...) {
    va_list args;

    if (err == NULL)
        return rc;
    va_start(args, fmt);
    err_vset(err, rc, fmt, args);
    va_end(args);
    return rc;
}

/* strerror_r exists in two shapes (XSI and GNU): these accept whichever the C library declares. */
static const char *err_text_gnu(const char *text, const char *buf) {
    (void)buf;
    return text;
}

static const char *err_text_xsi(int failed, const char *buf) {
    return failed ? "unknown error" : buf;
}

#define ERR_TEXT(call, buf) _Generic((call), char *: err_text_gnu, int: err_text_xsi)((call), (buf))

dbi_rc dbi_err_sys(dbi_err *err, dbi_rc rc, int sys, const char *fmt, ...) {
    char buf[128] = "";
    size_t used;
    va_list args;

    if (err == NULL)
        return rc;
    va_start(args, fmt);
    err_vset(err, rc, fmt, args);
    va_end(args);
    err->sys = sys;
    used = strlen(err->msg);
    (void)snprintf(err->msg + used, sizeof err->msg - used, ": %s", ERR_TEXT(strerror_r(sys, buf, sizeof buf), buf));
    return rc;
}
