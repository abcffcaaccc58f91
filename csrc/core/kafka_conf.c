/* kafka_conf.c - setting librdkafka's properties with errors that a person can act on */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "kafka_int.h"

#define CONF_NAME_MAX 64

/* Whether the value of that property must not be shown. Too many is better than one too few. */
static bool conf_secret(const char *name) {
    static const char *const marks[] = {"password", "passphrase", "secret",           "private.key",
                                        "key.pem",  "assertion",  "oauthbearer.config"};

    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (strstr(name, marks[i]) != NULL)
            return true;
    return false;
}

/* Levenshtein distance of two names shorter than CONF_NAME_MAX. */
static size_t conf_distance(const char *a, const char *b) {
    size_t row[CONF_NAME_MAX + 1];
    size_t b_len = strlen(b);

    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < b_len; j++) {
            size_t change = diagonal + (a[i] != b[j]);
            size_t least = row[j] < row[j + 1] ? row[j] + 1 : row[j + 1] + 1;
            diagonal = row[j + 1];
            row[j + 1] = change < least ? change : least;
        }
    }
    return row[b_len];
}

/* The known property nearest to `name`, or "": librdkafka's own table is the list, one property a line. */
static void conf_nearest(const char *name, char nearest[CONF_NAME_MAX]) {
    size_t best = 1 + strlen(name) / 3, size = 0, len;
    char *table = NULL, *line, *rest;
    FILE *file;

    nearest[0] = '\0';
    if (strlen(name) >= CONF_NAME_MAX || (file = open_memstream(&table, &size)) == NULL)
        return;
    rd_kafka_conf_properties_show(file);
    if (fclose(file) != 0 || table == NULL) {
        free(table);
        return;
    }
    for (line = strtok_r(table, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        len = strcspn(line, " |");
        if (len == 0 || len >= CONF_NAME_MAX || strchr(line, '|') == NULL)
            continue;
        line[len] = '\0';
        if (strcmp(line, "Property") == 0)
            continue;
        len = conf_distance(name, line);
        if (len < best) {
            best = len;
            memcpy(nearest, line, strlen(line) + 1); /* shorter than CONF_NAME_MAX */
        }
    }
    free(table);
}

dbi_rc dbi__kafka_conf_set(rd_kafka_conf_t *conf, const char *name, const char *value, dbi_err *err) {
    char text[400] = "", nearest[CONF_NAME_MAX];

    switch (rd_kafka_conf_set(conf, name, value, text, sizeof text)) {
    case RD_KAFKA_CONF_OK:
        return DBI_OK;
    case RD_KAFKA_CONF_UNKNOWN:
        conf_nearest(name, nearest);
        if (nearest[0] != '\0')
            return dbi_err_set(err, DBI_ECONFIG, "Kafka has no property \"%s\"; did you mean \"%s\"?", name, nearest);
        return dbi_err_set(err, DBI_ECONFIG, "Kafka has no property \"%s\"", name);
    default:
        if (conf_secret(name))
            return dbi_err_set(err, DBI_ECONFIG, "Kafka property \"%s\": its value (not shown) is not valid", name);
        return dbi_err_set(err, DBI_ECONFIG, "Kafka property \"%s\": %s", name, text);
    }
}
