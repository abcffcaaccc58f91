/* conn_info.c - what connections are opened with: the conninfo taken apart, once
 *
 * libpq goes through a list of hosts by itself, but without a time limit for each when it must not block: a host that
 * drops packets would use up the time of all. So the list is split here and each host tried by itself. Where libpq
 * has to see the whole list to choose (prefer-standby, load balancing), it gets it.
 */
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "conn_int.h"

/* For the client's side of the connection; the server's side has the same by a statement (conn_open.c). What the
 * conninfo says wins. */
static const char *const defaults[][2] = {
    {"fallback_application_name", "dbint"}, {"keepalives", "1"},       {"keepalives_idle", "30"},
    {"keepalives_interval", "10"},          {"keepalives_count", "3"}, {"tcp_user_timeout", "60000"},
};
#define DEFAULTS (sizeof defaults / sizeof *defaults)

/* By part of a host. */
static const char *const host_keywords[DBI__HOST_PARTS] = {"host", "hostaddr", "port"};

const char *dbi__conninfo_get(const dbi__conninfo *info, const char *keyword) {
    for (const PQconninfoOption *option = info->options; option->keyword != NULL; option++)
        if (strcmp(option->keyword, keyword) == 0)
            return option->val != NULL && option->val[0] != '\0' ? option->val : NULL;
    return NULL;
}

/* libpq's complaint about a conninfo, with what it quotes left out: between the quotes may be a password. */
static dbi_rc conninfo_refuse(const char *complaint, dbi_err *err) {
    const char *first = strchr(complaint, '"'), *last = strrchr(complaint, '"');
    int length = (int)strcspn(complaint, "\n");

    if (first == NULL)
        return dbi_err_set(err, DBI_ECONFIG, "conninfo: %.*s", length, complaint);
    return dbi_err_set(err, DBI_ECONFIG, "conninfo: %.*s\"…\"%.*s (what it quotes is not shown: it may be a secret)",
                       (int)(first - complaint), complaint, (int)strcspn(last + 1, "\n"), last + 1);
}

static unsigned list_count(const char *list) {
    unsigned count = 1;

    for (; *list != '\0'; list++)
        count += *list == ',';
    return count;
}

/* Cuts the list at its commas, in place, and gives each host its piece. Empty ones stay NULL. */
static void list_split(char *list, dbi__host *hosts, int part) {
    for (char *end; list != NULL; list = end, hosts++) {
        end = strchr(list, ',');
        if (end != NULL)
            *end++ = '\0';
        if (list[0] != '\0')
            hosts->parts[part] = list;
    }
}

static bool port_valid(const char *port) {
    size_t digits = strspn(port, "0123456789");
    long number = 0;

    if (digits == 0 || digits > 5 || port[digits] != '\0')
        return false;
    for (; *port != '\0'; port++)
        number = number * 10 + (*port - '0');
    return number >= 1 && number <= 65535;
}

/* A URI with a password that is not percent-encoded leaves parts of it where the host or the port should be. They would
 * be shown by the first error. */
static dbi_rc hosts_check(const dbi__conninfo *info, dbi_err *err) {
    for (unsigned i = 0; i < info->host_count; i++) {
        const char *name = info->hosts[i].parts[DBI__HOST_NAME], *port = info->hosts[i].parts[DBI__HOST_PORT];

        if (name != NULL && strchr(name + 1, '@') != NULL) /* at the beginning it is an abstract socket's */
            return dbi_err_set(err, DBI_ECONFIG,
                               "conninfo: the name of a host contains \"@\"; in a URI, special characters of a "
                               "password must be percent-encoded (@ is %%40)");
        if (port != NULL && !port_valid(port))
            return dbi_err_set(err, DBI_ECONFIG,
                               "conninfo: a port is not a number from 1 to 65535; in a URI, special characters of a "
                               "password must be percent-encoded (/ is %%2F, ? is %%3F)");
    }
    return DBI_OK;
}

/* Whether libpq must see all hosts at once. */
static bool hosts_together(const dbi__conninfo *info) {
    const char *attrs = dbi__conninfo_get(info, "target_session_attrs");
    const char *balance = dbi__conninfo_get(info, "load_balance_hosts");

    return (attrs != NULL && strcmp(attrs, "prefer-standby") == 0) ||
           (balance != NULL && strcmp(balance, "disable") != 0);
}

static dbi_rc hosts_read(dbi__conninfo *info, dbi_err *err) {
    bool together = hosts_together(info);
    const char *lists[DBI__HOST_PARTS];
    unsigned counts[DBI__HOST_PARTS], hosts;
    size_t size = 0;
    char *text;

    for (int part = 0; part < DBI__HOST_PARTS; part++) {
        lists[part] = dbi__conninfo_get(info, host_keywords[part]);
        counts[part] = lists[part] != NULL && !together ? list_count(lists[part]) : 1;
        size += lists[part] != NULL ? strlen(lists[part]) + 1 : 0;
    }
    hosts = lists[DBI__HOST_ADDRESS] != NULL ? counts[DBI__HOST_ADDRESS] : counts[DBI__HOST_NAME];
    if (lists[DBI__HOST_NAME] != NULL && counts[DBI__HOST_NAME] != hosts)
        return dbi_err_set(err, DBI_ECONFIG, "conninfo: %u hosts and %u addresses (hostaddr): there must be as many",
                           counts[DBI__HOST_NAME], hosts);
    if (counts[DBI__HOST_PORT] != 1 && counts[DBI__HOST_PORT] != hosts)
        return dbi_err_set(err, DBI_ECONFIG, "conninfo: %u ports for %u hosts: give one, or as many",
                           counts[DBI__HOST_PORT], hosts);
    info->host_count = hosts;
    info->hosts = dbi_calloc(hosts, sizeof *info->hosts);
    info->texts = text = dbi_malloc(size);
    if (info->hosts == NULL || text == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a conninfo");
    for (int part = 0; part < DBI__HOST_PARTS; part++) {
        if (lists[part] == NULL)
            continue;
        size = strlen(lists[part]) + 1;
        memcpy(text, lists[part], size);
        if (together)
            info->hosts[0].parts[part] = text;
        else
            list_split(text, info->hosts, part);
        text += size;
    }
    for (unsigned i = 1; counts[DBI__HOST_PORT] == 1 && i < hosts; i++)
        info->hosts[i].parts[DBI__HOST_PORT] = info->hosts[0].parts[DBI__HOST_PORT];
    return together ? DBI_OK : hosts_check(info, err);
}

dbi_rc dbi__conninfo_init(dbi__conninfo *info, const char *conninfo, dbi_err *err) {
    char *complaint = NULL;
    dbi_rc rc;

    *info = (dbi__conninfo){0};
    info->options = PQconninfoParse(conninfo, &complaint);
    if (info->options == NULL) {
        rc = complaint != NULL ? conninfo_refuse(complaint, err)
                               : dbi_err_set(err, DBI_ENOMEM, "no memory for a conninfo");
        PQfreemem(complaint);
        return rc;
    }
    rc = hosts_read(info, err);
    if (rc != DBI_OK)
        dbi__conninfo_reset(info);
    return rc;
}

void dbi__conninfo_reset(dbi__conninfo *info) {
    PQconninfoFree(info->options);
    dbi_free(info->hosts);
    dbi_free(info->texts);
    *info = (dbi__conninfo){0};
}

static void params_add(dbi__params *params, const char *keyword, const char *value) {
    if (value == NULL || value[0] == '\0' || params->count == DBI__PARAMS_MAX)
        return;
    params->keywords[params->count] = keyword;
    params->values[params->count++] = value;
}

static bool is_of_the_host(const char *keyword) {
    for (int part = 0; part < DBI__HOST_PARTS; part++)
        if (strcmp(keyword, host_keywords[part]) == 0)
            return true;
    return false;
}

/* Of a keyword that comes twice, libpq takes the last. */
void dbi__params_fill(dbi__params *params, const dbi__conninfo *info, const dbi__host *host,
                      const dbi_credentials *credentials) {
    params->count = 0;
    for (size_t i = 0; i < DEFAULTS; i++)
        params_add(params, defaults[i][0], defaults[i][1]);
    for (const PQconninfoOption *option = info->options; option->keyword != NULL; option++)
        if (!is_of_the_host(option->keyword))
            params_add(params, option->keyword, option->val);
    for (int part = 0; part < DBI__HOST_PARTS; part++)
        params_add(params, host_keywords[part], host->parts[part]);
    params_add(params, "user", credentials->user);
    params_add(params, "password", credentials->password);
    params_add(params, "client_encoding", "UTF8");
    params->keywords[params->count] = params->values[params->count] = NULL;
}
