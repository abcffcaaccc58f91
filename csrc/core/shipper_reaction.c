/* shipper_reaction.c - what is done about which error: the table in shipper.h */
#include <string.h>

#include "ledger.h"
#include "shipper.h"

#define REACTION_TEXT(name, text) text,

static const char *const state_texts[] = {DBI_SHIP_STATE_MAP(REACTION_TEXT)};
static const char *const reaction_texts[] = {DBI_REACTION_MAP(REACTION_TEXT)};
static const char *const event_texts[] = {DBI_SHIP_EVENT_MAP(REACTION_TEXT)};

const char *dbi_ship_state_text(dbi_ship_state state) {
    return (unsigned)state < DBI_SHIP_STATE_COUNT ? state_texts[state] : "unknown";
}

const char *dbi_reaction_text(dbi_reaction reaction) {
    return (unsigned)reaction < DBI_REACTION_COUNT ? reaction_texts[reaction] : "unknown";
}

const char *dbi_ship_event_text(dbi_ship_event_kind kind) {
    return (unsigned)kind < DBI_SHIP_EVENT_COUNT ? event_texts[kind] : "unknown";
}

typedef struct rule {
    const char *prefix; /* a whole SQLSTATE, or its class */
    dbi_reaction reaction;
} rule;

/* The first that fits decides: single codes stand before their class. */
static const rule rules[] = {
    {DBI_SQLSTATE_ADVANCED, DBI_REACTION_LEDGER},
    {DBI_SQLSTATE_CHANGED, DBI_REACTION_SCHEMA},
    {DBI_SQLSTATE_TARGET, DBI_REACTION_HOLD},
    {"22P03", DBI_REACTION_HOLD},      /* invalid binary representation: our encoding */
    {"22P04", DBI_REACTION_HOLD},      /* bad COPY file format: our framing */
    {"57014", DBI_REACTION_HALVE},     /* query cancelled, by statement_timeout */
    {"53200", DBI_REACTION_HALVE},     /* out of memory */
    {"53300", DBI_REACTION_RECONNECT}, /* too many connections */
    {"08", DBI_REACTION_RECONNECT},
    {"57", DBI_REACTION_RECONNECT}, /* the server stops, starts, crashed */
    {"25", DBI_REACTION_RECONNECT}, /* 25006: read-only, so a standby */
    {"40", DBI_REACTION_RETRY},     /* serialization failure, deadlock */
    {"53", DBI_REACTION_RETRY},     /* 53100: disk full */
    {"55", DBI_REACTION_RETRY},     /* 55P03: lock not available */
    {"58", DBI_REACTION_RETRY},     /* the server's operating system */
    {"XX", DBI_REACTION_RETRY},     /* internal error */
    {"21", DBI_REACTION_ROW},
    {"22", DBI_REACTION_ROW},
    {"23", DBI_REACTION_ROW},
    {"27", DBI_REACTION_ROW}, /* these three: a trigger's doing */
    {"44", DBI_REACTION_ROW},
    {"P0", DBI_REACTION_ROW},
    {"54", DBI_REACTION_ROW}, /* a program limit: a value too large for an index */
};

/* The standard leaves classes that begin with 5 to 9 or I to Z to others. Those of PostgreSQL stand in the table. */
static bool is_users_own(const char *sqlstate) {
    char c = sqlstate[0];

    return (c >= '5' && c <= '9') || (c >= 'I' && c <= 'Z');
}

dbi_reaction dbi_reaction_of(const char *sqlstate) {
    if (sqlstate == NULL || sqlstate[0] == '\0')
        return DBI_REACTION_RECONNECT;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (strncmp(sqlstate, rules[i].prefix, strlen(rules[i].prefix)) == 0)
            return rules[i].reaction;
    return is_users_own(sqlstate) ? DBI_REACTION_ROW : DBI_REACTION_HOLD; /* of a trigger's making */
}
