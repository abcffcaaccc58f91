/* shipper.c - decides what is shipped when, and what is done about a failure: see shipper.h */
#include "shipper.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "alloc.h"
#include "shipment_int.h"
#include "stream.h"

#define BREAKER_LOOK (500 * DBI_NS_PER_MS) /* how often a breaker that is not closed is asked again */
#define END_SHIPMENTS_NS (5 * DBI_NS_PER_S) /* so long is waited for a backend to be gone */
#define CONFIRM_AGAIN_NS (5 * DBI_NS_PER_S)
#define CONFIRM_TRIES 3u
#define BATCH_MIN ((size_t)4096)
#define RUN_NS DBI_NS_PER_S /* with a backlog, a run goes on with the next shipment for so long */
#define RECENT_ROWS 1000u   /* bad_rows_share is judged over about so many */

struct dbi_shipper {
    dbi_shipper_config config; /* its strings are the shipper's own */
    char *dead_directory, *slot;
    char stream[DBI_STREAM_NAME_SIZE];
    dbi_histogram *durations;

    pthread_mutex_t lock; /* of what follows */
    dbi_ship_view view;
    int64_t due;
    bool kicked;

    /* The rest belongs to dbi_shipper_run. */
    uint8_t id[16];
    char id_text[DBI__UUID_TEXT_SIZE];
    dbi_dead *dead;
    uint8_t identity[16];
    bool met;             /* the ledger is known, and nothing is in doubt */
    bool unsettled;       /* a backend may still be busy with a shipment of this chain */
    uint64_t ledger_last; /* while met */
    uint64_t ledger_dead; /* as last known */
    dbi_records records, ahead; /* of the buffers lent for the run */
    uint8_t *meta;              /* that the schema was read from */
    size_t meta_length;
    dbi_schema *schema;
    dbi__plan plan; /* plan.schema NULL = to be made */
    dbi__shipment shipment;
    size_t limit;        /* of a shipment, in bytes */
    int64_t small_until; /* when the limit may grow again */
    uint32_t failures;   /* in a row */
    dbi_reaction last;   /* to the last of them */
    bool held;           /* until something lands, or there is nothing left */
    uint64_t recent, recent_bad;
    int64_t confirm_at; /* DBI_FOREVER = there is nothing to confirm */
    uint32_t confirm_tries;
};

/* --- making one --- */

void dbi_shipper_defaults(dbi_shipper_config *config) {
    *config = (dbi_shipper_config){
        .install = true,
        .batch_bytes = (size_t)4 << 20,
        .stall_timeout = 30 * DBI_NS_PER_S,
        .connect_timeout = 10 * DBI_NS_PER_S,
        .backoff_min = 100 * DBI_NS_PER_MS,
        .backoff_max = 30 * DBI_NS_PER_S,
        .hold_retry = 30 * DBI_NS_PER_S,
        .small_for = 60 * DBI_NS_PER_S,
        .confirm_after = 45 * DBI_NS_PER_S,
        .bad_rows_max = 100,
        .bad_rows_share = 0.5,
    };
}

static dbi_rc config_check(const dbi_shipper_config *config, dbi_err *err) {
    const struct {
        const char *name;
        int64_t value;
    } times[] = {{"stall_timeout", config->stall_timeout}, {"connect_timeout", config->connect_timeout},
                 {"backoff_min", config->backoff_min},     {"backoff_max", config->backoff_max},
                 {"hold_retry", config->hold_retry},       {"small_for", config->small_for},
                 {"confirm_after", config->confirm_after}};

    if (config->chain == NULL || config->pool == NULL || config->dead_directory == NULL)
        return dbi_err_set(err, DBI_ECONFIG, "a shipper needs a chain, a pool and a directory for dead letters");
    for (size_t i = 0; i < sizeof times / sizeof *times; i++)
        if (times[i].value < DBI_NS_PER_MS)
            return dbi_err_set(err, DBI_ECONFIG, "%s: 1 ms is the least", times[i].name);
    if (config->backoff_max < config->backoff_min)
        return dbi_err_set(err, DBI_ECONFIG, "backoff_max: less than backoff_min");
    if (config->batch_bytes < BATCH_MIN || config->batch_bytes > (size_t)1 << 30)
        return dbi_err_set(err, DBI_ECONFIG, "batch_bytes: %zu to 1 GiB", BATCH_MIN);
    if (config->bad_rows_max < 1 || config->bad_rows_max > 10000)
        return dbi_err_set(err, DBI_ECONFIG, "bad_rows_max: 1 to 10000");
    if (!(config->bad_rows_share > 0 && config->bad_rows_share <= 1))
        return dbi_err_set(err, DBI_ECONFIG, "bad_rows_share: above 0, to 1");
    return DBI_OK;
}

/* The chain's id, anew: dbi_chain_met may have given it another. */
static dbi_rc shipper_identify(dbi_shipper *shipper, dbi_err *err) {
    dbi_chain_view chain;
    dbi_dead *dead;
    dbi_rc rc;

    dbi_chain_view_get(shipper->config.chain, &chain);
    rc = dbi_dead_new(&dead, shipper->dead_directory, chain.id, err);
    if (rc != DBI_OK)
        return rc;
    dbi_dead_free(shipper->dead);
    shipper->dead = dead;
    memcpy(shipper->id, chain.id, sizeof shipper->id);
    dbi__uuid_text(chain.id, shipper->id_text);
    (void)snprintf(shipper->stream, sizeof shipper->stream, "%s", chain.name);
    return DBI_OK;
}

dbi_rc dbi_shipper_new(dbi_shipper **out, const dbi_shipper_config *config, dbi_err *err) {
    dbi_shipper *shipper;
    dbi_rc rc = config_check(config, err);

    *out = NULL;
    if (rc != DBI_OK)
        return rc;
    shipper = dbi_calloc(1, sizeof *shipper);
    if (shipper == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "out of memory for a shipper");
    if (pthread_mutex_init(&shipper->lock, NULL) != 0) {
        dbi_free(shipper);
        return dbi_err_set(err, DBI_ENOMEM, "out of memory for a shipper's lock");
    }
    shipper->config = *config;
    shipper->config.dead_directory = shipper->dead_directory = dbi_strdup(config->dead_directory);
    shipper->config.slot = shipper->slot = dbi_strdup(config->slot != NULL ? config->slot : "");
    shipper->limit = shipper->view.batch_bytes = config->batch_bytes;
    shipper->unsettled = true; /* of an earlier process */
    shipper->confirm_at = DBI_FOREVER;
    shipper->view.since_us = dbi_clock_wall_us();
    if (shipper->dead_directory == NULL || shipper->slot == NULL) {
        rc = dbi_err_set(err, DBI_ENOMEM, "out of memory for a shipper");
        goto done;
    }
    shipper->ledger_dead = dbi_chain_counted(config->chain, DBI_CHAIN_DEAD);
    rc = dbi_histogram_new(&shipper->durations, err);
    if (rc == DBI_OK)
        rc = shipper_identify(shipper, err);

done:
    if (rc == DBI_OK)
        *out = shipper;
    else
        dbi_shipper_free(shipper);
    return rc;
}

static void plan_drop(dbi_shipper *shipper) {
    dbi__plan_free(&shipper->plan);
}

void dbi_shipper_free(dbi_shipper *shipper) {
    if (shipper == NULL)
        return;
    plan_drop(shipper);
    dbi__shipment_free(&shipper->shipment);
    dbi_schema_free(shipper->schema);
    dbi_free(shipper->meta);
    dbi_dead_free(shipper->dead);
    dbi_histogram_free(shipper->durations);
    dbi_free(shipper->dead_directory);
    dbi_free(shipper->slot);
    (void)pthread_mutex_destroy(&shipper->lock);
    dbi_free(shipper);
}

/* --- telling --- */

static void tell(const dbi_shipper *shipper, dbi_ship_event event) {
    if (shipper->config.on_event != NULL)
        shipper->config.on_event(shipper->config.on_event_arg, &event);
}

/* Adds to a counter of the view. @locks shipper */
static void count(dbi_shipper *shipper, uint64_t *counter, uint64_t n) {
    (void)pthread_mutex_lock(&shipper->lock);
    *counter += n;
    (void)pthread_mutex_unlock(&shipper->lock);
}

/* The one place where the state changes. @locks shipper held */
static void state_enter(dbi_shipper *shipper, dbi_ship_state state, const char *why) {
    dbi_ship_view *view = &shipper->view;

    if (view->state != state)
        view->since_us = dbi_clock_wall_us();
    view->state = state;
    (void)snprintf(view->why, sizeof view->why, "%s", why);
}

static int64_t now(const dbi_shipper *shipper) {
    return dbi_clock_now(&shipper->config.clock);
}

static int64_t after(const dbi_shipper *shipper, int64_t ns) {
    return dbi_clock_deadline(&shipper->config.clock, ns);
}

/* Of one question to the server. */
static int64_t soon(const dbi_shipper *shipper) {
    return dbi_clock_deadline(NULL, shipper->config.stall_timeout);
}

void dbi_shipper_view(dbi_shipper *shipper, dbi_ship_view *view) {
    (void)pthread_mutex_lock(&shipper->lock);
    *view = shipper->view;
    (void)pthread_mutex_unlock(&shipper->lock);
}

const dbi_histogram *dbi_shipper_durations(const dbi_shipper *shipper) {
    return shipper->durations;
}

void dbi_shipper_kick(dbi_shipper *shipper) {
    (void)pthread_mutex_lock(&shipper->lock);
    shipper->kicked = true;
    shipper->due = 0;
    (void)pthread_mutex_unlock(&shipper->lock);
}

int64_t dbi_shipper_due(dbi_shipper *shipper) {
    int64_t due;

    (void)pthread_mutex_lock(&shipper->lock);
    due = shipper->due;
    (void)pthread_mutex_unlock(&shipper->lock);
    return due;
}

/* --- the ledger --- */

/* Dead letters are counted in the journal as far as the ledger says that they are final: once, whatever is repeated. */
static void dead_count(dbi_shipper *shipper) {
    uint64_t counted = dbi_chain_counted(shipper->config.chain, DBI_CHAIN_DEAD);

    if (shipper->ledger_dead > counted)
        dbi_chain_count(shipper->config.chain, DBI_CHAIN_DEAD, shipper->ledger_dead - counted);
}

/* Which database is this, and do the events belong to it? A ledger is installed only where none can have been. *other:
 * they do not; the error says so. */
static dbi_rc target_ask(dbi_shipper *shipper, dbi_conn *conn, bool *other, dbi_err *err) {
    static const uint8_t none[16] = {0};
    char mine[DBI__UUID_TEXT_SIZE], theirs[DBI__UUID_TEXT_SIZE];
    uint8_t identity[16];
    dbi_chain_view chain;
    dbi_rc rc;

    *other = false;
    dbi_chain_view_get(shipper->config.chain, &chain);
    if (memcmp(shipper->id, chain.id, sizeof chain.id) != 0) { /* it was parted */
        rc = shipper_identify(shipper, err);
        if (rc != DBI_OK)
            return rc;
    }
    rc = dbi_ledger_prepare(conn, shipper->config.install && memcmp(chain.target, none, sizeof none) == 0,
                            soon(shipper), identity, err);
    *other = rc == DBI_EHELD && strcmp(err->sqlstate, DBI_SQLSTATE_NO_LEDGER) == 0;
    if (rc != DBI_OK)
        return rc;
    rc = dbi_chain_bind(shipper->config.chain, identity, err);
    if (rc == DBI_EHELD) {
        *other = true;
        dbi__uuid_text(chain.target, mine);
        dbi__uuid_text(identity, theirs);
        return dbi_err_set(err, DBI_EHELD,
                           "these events belong to database %s (dbint.server), and the one at %s is %s. If they are to "
                           "go there, run: python -m dbint.journal retarget",
                           mine, dbi_conn_place(conn), theirs);
    }
    if (memcmp(shipper->identity, identity, sizeof identity) != 0)
        plan_drop(shipper); /* it names the identity */
    memcpy(shipper->identity, identity, sizeof identity);
    return rc;
}

/* The same; in another database than earlier processes wrote to, what this one wrote is its own. */
static dbi_rc target_check(dbi_shipper *shipper, dbi_conn *conn, dbi_err *err) {
    bool other, parted;
    dbi_chain_view before;
    dbi_err why;
    dbi_rc rc = target_ask(shipper, conn, &other, err);

    if (rc == DBI_OK || !other)
        return rc;
    dbi_chain_view_get(shipper->config.chain, &before);
    rc = dbi_chain_part(shipper->config.chain, &parted, &why);
    if (rc == DBI_OK && !parted)
        return err->rc;
    if (rc != DBI_OK) {
        *err = why;
        return rc;
    }
    tell(shipper, (dbi_ship_event){.kind = DBI_SHIP_EVENT_ENDED,
                                   .last = before.opened,
                                   .why = "the database is another one than before: what was written since goes there, "
                                          "under a new chain"});
    return target_ask(shipper, conn, &other, err);
}

/* Where a chain that the ledger does not have begins. It may be new; or it stood still for so long that collect_chains
 * has forgotten it, and the journal knows where it was; or the server has lost it, and with it all that had landed since
 * it was forgotten last. */
static void entry_begin(const dbi_shipper *shipper, const dbi_chain_view *chain, dbi_ledger_entry *entry) {
    bool forgotten = entry->collected_before_us != INT64_MIN && chain->landed_us < entry->collected_before_us;
    bool kept = forgotten || chain->landed == 0; /* nothing can be lost of a chain that begins */

    if (forgotten)
        dbi_chain_forgotten(shipper->config.chain);
    entry->last = kept ? chain->landed : 0;
    entry->dead = kept ? dbi_chain_counted(shipper->config.chain, DBI_CHAIN_DEAD) : 0;
}

/* The schema that the records were encoded by; kept while their segments say the same. */
static dbi_rc schema_read(dbi_shipper *shipper, dbi_err *err) {
    const dbi_records *records = &shipper->records;
    uint8_t *meta;

    if (shipper->schema != NULL && shipper->meta_length == records->meta_length &&
        memcmp(shipper->meta, records->meta, records->meta_length) == 0)
        return DBI_OK;
    plan_drop(shipper);
    dbi_schema_free(shipper->schema);
    shipper->schema = NULL;
    meta = dbi_realloc(shipper->meta, records->meta_length + 1); /* never of size 0 */
    if (meta == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "out of memory for a stream's schema");
    shipper->meta = meta;
    shipper->meta_length = records->meta_length;
    memcpy(meta, records->meta, records->meta_length);
    return dbi_stream_meta_unpack(meta, shipper->meta_length, NULL, &shipper->schema, err);
}

/* Tells the ledger of the chain. Which table it is for is for people to read; where the first record cannot be read
 * yet, shipping it will say why. */
static dbi_rc chain_register(dbi_shipper *shipper, dbi_conn *conn, const dbi_chain_view *chain,
                             const dbi_ledger_entry *start, dbi_err *err) {
    char relation[2 * DBI_NAME_SIZE + 2] = "";
    dbi_ledger_chain about = {
        .stream = shipper->stream, .relation = relation, .slot = shipper->slot, .lane = chain->lane};

    if (dbi_chain_read(shipper->config.chain, chain->landed, 1, &shipper->records, NULL) == DBI_OK &&
        shipper->records.count > 0 && schema_read(shipper, NULL) == DBI_OK)
        (void)snprintf(relation, sizeof relation, "%s.%s", shipper->schema->nspname, shipper->schema->relname);
    return dbi_ledger_register(conn, shipper->id, &about, start, soon(shipper), err);
}

/* How many records the journal now counts as landed that it did not before; below 0 after a rewind. Records that are
 * appended in between change both held and last. */
static int64_t landed_since(const dbi_shipper *shipper, const dbi_chain_view *before) {
    dbi_chain_view chain;

    dbi_chain_view_get(shipper->config.chain, &chain);
    return (int64_t)((before->held - before->last) - (chain.held - chain.last));
}

/* Counts what had landed unseen, dead ones among it. */
static void landed_count(dbi_shipper *shipper, const dbi_chain_view *before, const dbi_ledger_entry *entry) {
    uint64_t dead = entry->dead > shipper->ledger_dead ? entry->dead - shipper->ledger_dead : 0;
    int64_t landed = landed_since(shipper, before);

    count(shipper, &shipper->view.dead, dead);
    count(shipper, &shipper->view.rows, landed > (int64_t)dead ? (uint64_t)landed - dead : 0);
}

static void landed_unseen(dbi_shipper *shipper, const dbi_chain_view *before, const dbi_ledger_entry *entry) {
    dbi_chain_count(shipper->config.chain, DBI_CHAIN_AMBIGUOUS_RESOLVED, 1);
    dbi_chain_landed(shipper->config.chain, entry->last);
    landed_count(shipper, before, entry);
    (void)pthread_mutex_lock(&shipper->lock);
    shipper->view.ambiguous_resolved++;
    shipper->view.last_landed_us = dbi_clock_wall_us();
    (void)pthread_mutex_unlock(&shipper->lock);
    tell(shipper, (dbi_ship_event){.kind = DBI_SHIP_EVENT_RESOLVED, .first = before->landed + 1, .last = entry->last});
}

static uint64_t lesser(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* What the server has lost again waits once more, or is no longer held: in both cases it has not landed. */
static void rewound(dbi_shipper *shipper, const dbi_chain_view *before, const dbi_ledger_entry *entry) {
    dbi_ship_view *view = &shipper->view;
    uint64_t lost = 0, back, dead, rows;
    int64_t landed;

    dbi_chain_rewind(shipper->config.chain, entry->last, &lost);
    landed = landed_since(shipper, before);
    back = lost + (landed < 0 ? (uint64_t)-landed : 0);
    dead = shipper->ledger_dead > entry->dead ? shipper->ledger_dead - entry->dead : 0;
    (void)pthread_mutex_lock(&shipper->lock);
    dead = lesser(lesser(dead, view->dead), back);
    rows = lesser(view->rows, back - dead);
    view->dead -= dead;
    view->dead_rewound += dead;
    view->rows -= rows;
    view->rows_rewound += rows;
    view->reopened += back - dead - rows;
    view->lost_by_server += lost;
    view->rewinds++;
    (void)pthread_mutex_unlock(&shipper->lock);
    tell(shipper,
         (dbi_ship_event){.kind = DBI_SHIP_EVENT_REWOUND, .first = entry->last, .last = before->landed, .count = lost});
}

/* The journal is a restored copy: its ledger entry belongs to what was written after the copy was made. */
static dbi_rc begin_anew(dbi_shipper *shipper, dbi_conn *conn, const dbi_chain_view *before, dbi_ledger_entry *entry,
                         dbi_err *err) {
    dbi_chain_view chain;
    dbi_rc rc = shipper_identify(shipper, err);

    dbi_chain_view_get(shipper->config.chain, &chain);
    entry->last = chain.landed;
    entry->dead = shipper->ledger_dead;
    landed_count(shipper, before, entry);
    if (rc == DBI_OK)
        rc = chain_register(shipper, conn, &chain, entry, err);
    tell(shipper, (dbi_ship_event){.kind = DBI_SHIP_EVENT_ENDED,
                                   .last = before->opened,
                                   .why = "the ledger is ahead of the journal, which so is a restored copy: what was "
                                          "written since goes on under a new chain"});
    return rc;
}

/* Reads the ledger and brings the journal in line with it. */
static dbi_rc ledger_meet(dbi_shipper *shipper, dbi_conn *conn, int cancel_fd, dbi_err *err) {
    dbi_chain *chain = shipper->config.chain;
    dbi_ledger_entry entry;
    dbi_chain_view before;
    unsigned ended = 0, left = 0;
    bool renewed = false;
    dbi_rc rc = target_check(shipper, conn, err);

    if (rc != DBI_OK)
        return rc;
    if (shipper->unsettled) {
        rc = dbi_ledger_end_shipments(conn, shipper->id, cancel_fd, dbi_clock_deadline(NULL, END_SHIPMENTS_NS), &ended,
                                      &left, err);
        count(shipper, &shipper->view.backends_ended, ended);
        if (rc != DBI_OK)
            return rc;
    }
    rc = dbi_ledger_read(conn, shipper->id, soon(shipper), &entry, err);
    if (rc != DBI_OK)
        return rc;
    dbi_chain_view_get(chain, &before);
    if (!entry.found) {
        entry_begin(shipper, &before, &entry);
        rc = chain_register(shipper, conn, &before, &entry, err);
        if (rc != DBI_OK)
            return rc;
    }
    rc = dbi_chain_met(chain, entry.last, &renewed, err);
    if (rc == DBI_OK && renewed)
        rc = begin_anew(shipper, conn, &before, &entry, err);
    else if (rc == DBI_OK && entry.last > before.landed)
        landed_unseen(shipper, &before, &entry);
    else if (rc == DBI_OK && entry.last < before.landed)
        rewound(shipper, &before, &entry);
    if (rc != DBI_OK)
        return rc;
    shipper->ledger_last = entry.last;
    shipper->ledger_dead = entry.dead;
    dead_count(shipper);
    rc = dbi_dead_load(shipper->dead, entry.last, err);
    if (rc != DBI_OK)
        return rc;
    shipper->unsettled = false;
    shipper->met = true;
    (void)pthread_mutex_lock(&shipper->lock);
    shipper->view.landed = entry.last;
    (void)pthread_mutex_unlock(&shipper->lock);
    return DBI_OK;
}

/* --- one attempt --- */

/* The next records; damage that is met is set aside by the journal, and what follows it is read. */
static dbi_rc records_read(dbi_shipper *shipper, dbi_err *err) {
    dbi_rc rc;

    do
        rc = dbi_chain_read(shipper->config.chain, shipper->ledger_last, shipper->limit, &shipper->records, err);
    while (rc == DBI_ECORRUPT);
    return rc;
}

static bool has_records(const dbi_shipper *shipper) {
    return shipper->records.first <= shipper->records.last && shipper->records.last > shipper->ledger_last;
}

static dbi_rc plan_have(dbi_shipper *shipper, const dbi_schema *as_it_is, dbi_err *err) {
    if (as_it_is != NULL)
        plan_drop(shipper);
    if (shipper->plan.schema != NULL)
        return DBI_OK;
    return dbi__plan_make(&shipper->plan, shipper->schema, as_it_is, shipper->identity, err);
}

/* The table has changed: the plan is made for what it is now. Errors of the catalogue are reasons to hold. */
static dbi_rc plan_again(dbi_shipper *shipper, dbi_conn *conn, dbi_err *err) {
    const dbi_schema *schema = shipper->schema;
    const char **names = dbi_calloc(schema->column_count, sizeof *names);
    dbi_schema *as_it_is = NULL;
    dbi_rc rc;

    if (names == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "out of memory for the names of columns");
    for (unsigned i = 0; i < schema->column_count; i++)
        names[i] = schema->columns[i].name;
    rc = dbi_ledger_schema(conn, schema->nspname, schema->relname, names, schema->column_count, soon(shipper),
                           &as_it_is, err);
    if (rc == DBI_OK)
        rc = plan_have(shipper, as_it_is, err);
    if (rc == DBI_OK)
        tell(shipper, (dbi_ship_event){.kind = DBI_SHIP_EVENT_CHANGED, .schema = as_it_is});
    dbi_schema_free(as_it_is);
    dbi_free(names);
    return rc;
}

static bool is_server_error(dbi_rc rc, const dbi_conn *conn, const dbi_err *err, dbi_reaction reaction) {
    return rc == DBI_ESERVER && !dbi_conn_lost(conn) && dbi_reaction_of(err->sqlstate) == reaction;
}

/* While the server works on one full shipment, the next is read: it need not wait for the disk. What goes wrong here is
 * met again by whoever reads next. */
static void records_read_ahead(void *arg) {
    dbi_shipper *shipper = arg;
    const dbi_records *records = &shipper->records;

    if (records->length < shipper->limit / 2 ||
        dbi_chain_read(shipper->config.chain, records->last, shipper->limit, &shipper->ahead, NULL) != DBI_OK)
        shipper->ahead.count = 0;
}

/* True: the records that were read ahead are those to be shipped now. */
static bool records_shift(dbi_shipper *shipper) {
    dbi_records done = shipper->records;

    if (shipper->ahead.count == 0 || shipper->ahead.first > shipper->ahead.last)
        return false;
    shipper->records = shipper->ahead;
    shipper->ahead = done;
    shipper->ahead.count = 0;
    return true;
}

static dbi_rc records_ship(dbi_shipper *shipper, dbi_conn *conn, dbi_err *err) {
    dbi__shipment *shipment = &shipper->shipment;
    dbi_rc rc;

    shipment->conn = conn;
    shipment->plan = &shipper->plan;
    shipment->records = &shipper->records;
    shipment->chain = shipper->id_text;
    shipment->stream = shipper->stream;
    shipment->expected = shipper->ledger_last;
    shipment->stall_timeout = shipper->config.stall_timeout;
    shipment->bad_max = shipper->config.bad_rows_max;
    shipment->bad_share = shipper->config.bad_rows_share;
    shipment->seen = shipper->recent;
    shipment->seen_bad = shipper->recent_bad;
    shipment->dead = shipper->dead;
    shipment->meanwhile = records_read_ahead;
    shipment->meanwhile_arg = shipper;
    shipment->committing = shipment->committed = false;
    shipment->bad = shipment->copies = shipment->bytes = 0;
    rc = dbi__shipment_send(shipment, err);
    if (is_server_error(rc, conn, err, DBI_REACTION_SCHEMA)) {
        rc = plan_again(shipper, conn, err);
        if (rc == DBI_OK)
            rc = dbi__shipment_send(shipment, err);
    }
    count(shipper, &shipper->view.attempts, 1);
    if (is_server_error(rc, conn, err, DBI_REACTION_ROW) && shipper->records.count > 0) {
        count(shipper, &shipper->view.reactions[DBI_REACTION_ROW], 1);
        rc = dbi__shipment_bisect(shipment, err);
    }
    count(shipper, &shipper->view.copies, shipment->copies);
    return rc;
}

/* It committed. */
static void records_landed(dbi_shipper *shipper, int64_t began) {
    const dbi__shipment *shipment = &shipper->shipment;
    const dbi_records *records = &shipper->records;
    dbi_ship_view *view = &shipper->view;

    dbi_chain_landed(shipper->config.chain, records->last);
    dbi_dead_landed(shipper->dead, records->last);
    shipper->ledger_last = records->last;
    shipper->ledger_dead += shipment->bad;
    dead_count(shipper);
    shipper->recent += records->count;
    shipper->recent_bad += shipment->bad;
    if (shipper->recent >= RECENT_ROWS) { /* older ones count for less and less */
        shipper->recent /= 2;
        shipper->recent_bad /= 2;
    }
    shipper->confirm_at = after(shipper, shipper->config.confirm_after);
    shipper->confirm_tries = 0;
    dbi_histogram_record(shipper->durations, dbi_clock_now(NULL) - began);
    (void)pthread_mutex_lock(&shipper->lock);
    view->landed = records->last;
    view->last_landed_us = dbi_clock_wall_us();
    view->shipments++;
    view->casts += shipper->plan.cast && records->count > 0;
    view->rows += records->count - shipment->bad;
    view->bytes += shipment->bytes;
    view->dead += shipment->bad;
    (void)pthread_mutex_unlock(&shipper->lock);
    if (shipment->bad > 0)
        tell(shipper,
             (dbi_ship_event){
                 .kind = DBI_SHIP_EVENT_DEAD, .first = records->first, .last = records->last, .count = shipment->bad});
    tell(shipper, (dbi_ship_event){.kind = DBI_SHIP_EVENT_LANDED,
                                   .first = records->first,
                                   .last = records->last,
                                   .count = records->count - shipment->bad});
}

static void limit_set(dbi_shipper *shipper, size_t limit) {
    shipper->limit = limit;
    shipper->small_until = after(shipper, shipper->config.small_for);
    (void)pthread_mutex_lock(&shipper->lock);
    shipper->view.batch_bytes = limit;
    (void)pthread_mutex_unlock(&shipper->lock);
}

/* Halves what is sent at once. False: it is one row already. */
static bool limit_halve(dbi_shipper *shipper) {
    size_t sent = shipper->records.length < shipper->limit ? shipper->records.length : shipper->limit;

    if (shipper->records.count <= 1)
        return false;
    limit_set(shipper, sent / 2 > BATCH_MIN ? sent / 2 : BATCH_MIN);
    return true;
}

static void limit_grow(dbi_shipper *shipper) {
    size_t most = shipper->config.batch_bytes;

    if (shipper->limit < most && now(shipper) >= shipper->small_until)
        limit_set(shipper, shipper->limit > most / 2 ? most : shipper->limit * 2);
}

/* Everything that needs the connection. *sent: a shipment was under way when it failed. */
static dbi_rc attempt(dbi_shipper *shipper, dbi_conn *conn, int cancel_fd, bool *sent, dbi_err *err) {
    int64_t until = dbi_clock_deadline(NULL, RUN_NS), began;
    dbi_rc rc = DBI_OK;

    if (!shipper->met) {
        rc = ledger_meet(shipper, conn, cancel_fd, err);
        if (rc == DBI_OK)
            rc = records_read(shipper, err);
        if (rc != DBI_OK || !has_records(shipper))
            return rc;
    }
    do {
        if (shipper->records.count > 0)
            rc = schema_read(shipper, err);
        if (rc == DBI_OK && shipper->records.count > 0)
            rc = plan_have(shipper, NULL, err);
        if (rc != DBI_OK)
            return rc;
        *sent = true;
        began = dbi_clock_now(NULL);
        rc = records_ship(shipper, conn, err);
        if (rc != DBI_OK)
            return rc;
        *sent = false;
        records_landed(shipper, began);
        limit_grow(shipper);
    } while (dbi_clock_left(NULL, until) > 0 && !dbi_conn_lost(conn) && records_shift(shipper));
    return DBI_OK;
}

/* --- reactions --- */

static dbi_reaction reaction_to(dbi_rc rc, const dbi_err *err, bool lost) {
    dbi_reaction reaction;

    switch (rc) {
    case DBI_ESERVER:
    case DBI_EAUTH:
    case DBI_EUNREACHABLE:
        reaction = dbi_reaction_of(err->sqlstate);
        if (!lost && strcmp(err->sqlstate, "08P01") == 0)
            return DBI_REACTION_HOLD; /* a pooler that says so hangs up; the server means the bytes of a row */
        return lost && reaction != DBI_REACTION_HOLD ? DBI_REACTION_RECONNECT : reaction;
    case DBI_ETIMEOUT:
        return DBI_REACTION_RECONNECT;
    case DBI_EHELD:
    case DBI_EINVAL:
    case DBI_ECORRUPT:
    case DBI_ECONFIG:
        return DBI_REACTION_HOLD;
    default:
        return DBI_REACTION_RETRY; /* of this side: memory, disk */
    }
}

/* Only what the server or the way to it is to blame for counts against it. */
static dbi_outcome outcome_of(dbi_rc rc, const dbi_err *err, dbi_reaction reaction) {
    static const char *const server[] = {"53", "58", "XX"};

    if (rc == DBI_OK)
        return DBI_OUTCOME_SUCCEEDED;
    if (rc == DBI_EINTR)
        return DBI_OUTCOME_CANCELLED;
    switch (reaction) {
    case DBI_REACTION_RECONNECT:
    case DBI_REACTION_HALVE:
        return DBI_OUTCOME_FAILED;
    case DBI_REACTION_RETRY:
        for (size_t i = 0; i < sizeof server / sizeof *server; i++)
            if (strncmp(err->sqlstate, server[i], 2) == 0)
                return DBI_OUTCOME_FAILED;
        return DBI_OUTCOME_IGNORED;
    case DBI_REACTION_HOLD:
        return DBI_OUTCOME_IGNORED;
    default:
        return DBI_OUTCOME_SUCCEEDED;
    }
}

/* Full jitter: anything up to a limit that doubles with each failure. */
static int64_t backoff(const dbi_shipper *shipper) {
    int64_t limit = shipper->config.backoff_min;
    uint64_t random;

    for (uint32_t i = 1; i < shipper->failures && limit < shipper->config.backoff_max; i++)
        limit *= 2;
    if (limit > shipper->config.backoff_max)
        limit = shipper->config.backoff_max;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random)
        random = (uint64_t)dbi_clock_now(NULL);
    return (int64_t)(random % (uint64_t)limit);
}

/* The shipment that was under way may have landed or not. */
static void doubt(dbi_shipper *shipper) {
    shipper->met = false;
    shipper->unsettled = true;
    count(shipper, &shipper->view.ambiguous, shipper->shipment.committing);
}

/* What is to be known anew before the next attempt, and how long until then: 0 = at once. */
static int64_t react(dbi_shipper *shipper, dbi_reaction reaction, const dbi_err *err) {
    bool first = shipper->failures++ == 0 || shipper->last != reaction; /* the second time, it did not help */

    shipper->last = reaction;
    switch (reaction) {
    case DBI_REACTION_LEDGER:
        shipper->met = false;
        return first ? 0 : backoff(shipper);
    case DBI_REACTION_SCHEMA: /* it changed again, right after it was looked at */
        plan_drop(shipper);
        return first ? 0 : backoff(shipper);
    case DBI_REACTION_HALVE:
        return limit_halve(shipper) ? 0 : backoff(shipper);
    case DBI_REACTION_HOLD:
        plan_drop(shipper); /* somebody may repair the table */
        if (strcmp(err->sqlstate, DBI_SQLSTATE_TARGET) != 0)
            return shipper->config.hold_retry;
        shipper->met = false; /* who it is instead is told by the ledger */
        return first ? 0 : shipper->config.hold_retry;
    default:
        return backoff(shipper);
    }
}

/* --- running --- */

/* Nothing is in the way any more. */
static void ready(dbi_shipper *shipper, const dbi_ship_next *next) {
    bool released = shipper->held;

    shipper->held = false;
    shipper->failures = 0;
    (void)pthread_mutex_lock(&shipper->lock);
    state_enter(shipper, DBI_SHIP_READY, "");
    shipper->due = next->at;
    (void)pthread_mutex_unlock(&shipper->lock);
    if (released)
        tell(shipper, (dbi_ship_event){.kind = DBI_SHIP_EVENT_RELEASED});
}

static void failed(dbi_shipper *shipper, dbi_reaction reaction, dbi_ship_next *next, const dbi_err *err) {
    dbi_ship_view *view = &shipper->view;
    int64_t wait = react(shipper, reaction, err);
    bool holds = reaction == DBI_REACTION_HOLD && wait > 0, told;

    next->at = wait > 0 ? after(shipper, wait) : 0;
    next->more = true;
    (void)pthread_mutex_lock(&shipper->lock);
    told = view->state == DBI_SHIP_HELD && strcmp(view->why, err->msg) == 0;
    if (holds || !shipper->held) /* while held, another trouble on the way does not change what is waited for */
        state_enter(shipper, holds ? DBI_SHIP_HELD : DBI_SHIP_BACKING_OFF, err->msg);
    view->last_error = *err;
    view->last_error_us = dbi_clock_wall_us();
    view->reactions[reaction]++;
    shipper->due = next->at;
    if (shipper->kicked)
        next->at = shipper->due = 0;
    (void)pthread_mutex_unlock(&shipper->lock);
    shipper->held = shipper->held || holds;
    if (!told)
        tell(shipper, (dbi_ship_event){.kind = holds ? DBI_SHIP_EVENT_HELD : DBI_SHIP_EVENT_FAILED,
                                       .first = shipper->ledger_last + 1,
                                       .why = err->msg});
}

/* Not now: neither a failure nor the server's doing. */
static void put_off(dbi_shipper *shipper, int64_t at, dbi_ship_next *next, const dbi_err *err) {
    next->at = at;
    next->more = true;
    (void)pthread_mutex_lock(&shipper->lock);
    if (!shipper->held)
        state_enter(shipper, at > 0 ? DBI_SHIP_BACKING_OFF : DBI_SHIP_READY, at > 0 ? err->msg : "");
    shipper->due = shipper->kicked ? 0 : at;
    (void)pthread_mutex_unlock(&shipper->lock);
}

/* Looks whether what landed last is still there: a server that failed over may have lost what the journal keeps. */
static void confirm(dbi_shipper *shipper, int cancel_fd) {
    dbi_breaker *breaker = shipper->config.breaker;
    dbi_circuit circuit = breaker != NULL ? dbi_breaker_state(breaker) : DBI_CIRCUIT_CLOSED;
    dbi_conn *conn = NULL;
    dbi_err err;
    dbi_rc rc = DBI_EOPEN;

    if (circuit != DBI_CIRCUIT_OPEN && circuit != DBI_CIRCUIT_FORCED_OPEN)
        rc = dbi_pool_acquire(shipper->config.pool, &conn, dbi_clock_deadline(NULL, shipper->config.connect_timeout),
                              cancel_fd, &err);
    if (rc == DBI_OK)
        rc = ledger_meet(shipper, conn, cancel_fd, &err);
    dbi_pool_release(shipper->config.pool, conn, rc == DBI_OK ? DBI_CONN_KEEP : DBI_CONN_DISCARD, "it did not answer");
    shipper->confirm_at =
        rc == DBI_OK || ++shipper->confirm_tries >= CONFIRM_TRIES ? DBI_FOREVER : after(shipper, CONFIRM_AGAIN_NS);
}

/* Whether there may be anything to ship; what is read of it is in shipper->records. */
static dbi_rc look(dbi_shipper *shipper, int cancel_fd, bool *found, dbi_err *err) {
    dbi_chain_view chain;
    dbi_rc rc = DBI_OK;

    if (!shipper->met) {
        dbi_chain_view_get(shipper->config.chain, &chain);
        *found = chain.last > chain.landed;
        if (*found || shipper->confirm_at == DBI_FOREVER)
            return DBI_OK;
    } else {
        if (dbi_chain_last(shipper->config.chain) > shipper->ledger_last)
            rc = records_read(shipper, err);
        else
            shipper->records.first = shipper->records.last + 1;
        *found = has_records(shipper);
    }
    if (rc != DBI_OK || *found || now(shipper) < shipper->confirm_at)
        return rc;
    confirm(shipper, cancel_fd);
    if (shipper->met && dbi_chain_last(shipper->config.chain) > shipper->ledger_last)
        rc = records_read(shipper, err);
    *found = shipper->met && has_records(shipper);
    return rc;
}

/* Whether a run may do anything now. A kick is taken, whatever comes of it. */
static bool may_run(dbi_shipper *shipper, dbi_ship_next *next) {
    bool kicked, waits;

    (void)pthread_mutex_lock(&shipper->lock);
    kicked = shipper->kicked;
    shipper->kicked = false;
    waits = !kicked && now(shipper) < shipper->due &&
            (shipper->view.state == DBI_SHIP_HELD || shipper->view.state == DBI_SHIP_BACKING_OFF);
    *next = (dbi_ship_next){.at = shipper->due, .more = waits};
    (void)pthread_mutex_unlock(&shipper->lock);
    if (kicked) {
        shipper->failures = 0;
        shipper->recent = shipper->recent_bad = 0;
    }
    return !waits;
}

static dbi_rc permit_get(dbi_shipper *shipper, dbi_permit *permit, dbi_ship_next *next, dbi_err *err) {
    dbi_breaker *breaker = shipper->config.breaker;
    int64_t retry = 0;

    if (breaker == NULL || dbi_breaker_acquire(breaker, permit, &retry) == DBI_OK)
        return DBI_OK;
    (void)dbi_err_set(err, DBI_EOPEN, "the circuit breaker \"%s\" is open: the server has failed too often",
                      dbi_breaker_name(breaker));
    if (retry > BREAKER_LOOK)
        retry = BREAKER_LOOK; /* others may close it at any time; asking costs nothing */
    put_off(shipper, after(shipper, retry), next, err);
    return DBI_EOPEN;
}

/* What comes of a run that had a connection, or tried to get one. */
static dbi_rc conclude(dbi_shipper *shipper, dbi_rc rc, bool lost, bool sent, dbi_permit *permit, dbi_ship_next *next,
                       dbi_err *err) {
    dbi_reaction reaction = reaction_to(rc, err, lost);

    if (shipper->config.breaker != NULL)
        dbi_breaker_done(shipper->config.breaker, permit, outcome_of(rc, err, reaction));
    if (sent && (rc == DBI_EINTR || (rc != DBI_OK && reaction == DBI_REACTION_RECONNECT)))
        doubt(shipper);
    if (sent && rc == DBI_ETIMEOUT)
        (void)limit_halve(shipper); /* a server that is slow, and not stalled, would never come to an end of it */
    switch (rc) {
    case DBI_OK:
        next->more = dbi_chain_last(shipper->config.chain) > shipper->ledger_last;
        next->at = next->more ? 0 : shipper->confirm_at;
        ready(shipper, next);
        break;
    case DBI_EINTR:
        put_off(shipper, 0, next, err);
        break;
    case DBI_ECLOSED:
    case DBI_EFORK:
        put_off(shipper, DBI_FOREVER, next, err);
        break;
    default:
        failed(shipper, reaction, next, err);
    }
    return rc;
}

static dbi_rc run(dbi_shipper *shipper, int cancel_fd, dbi_ship_next *next, dbi_err *err) {
    dbi_permit permit = {0};
    dbi_conn *conn = NULL;
    bool found = false, sent = false, lost;
    dbi_rc rc;

    if (!may_run(shipper, next))
        return DBI_OK;
    rc = look(shipper, cancel_fd, &found, err);
    if (rc != DBI_OK) {
        failed(shipper, reaction_to(rc, err, false), next, err);
        return rc;
    }
    if (!found) {
        *next = (dbi_ship_next){.at = shipper->confirm_at};
        ready(shipper, next);
        return DBI_OK;
    }
    rc = permit_get(shipper, &permit, next, err);
    if (rc != DBI_OK)
        return rc;
    (void)pthread_mutex_lock(&shipper->lock);
    if (shipper->view.state != DBI_SHIP_HELD)
        state_enter(shipper, DBI_SHIP_SHIPPING, "");
    (void)pthread_mutex_unlock(&shipper->lock);
    rc = dbi_pool_acquire(shipper->config.pool, &conn, dbi_clock_deadline(NULL, shipper->config.connect_timeout),
                          cancel_fd, err);
    if (rc == DBI_OK)
        rc = attempt(shipper, conn, cancel_fd, &sent, err);
    lost = conn != NULL && dbi_conn_lost(conn);
    if (rc == DBI_OK || (rc != DBI_EINTR && reaction_to(rc, err, lost) != DBI_REACTION_RECONNECT))
        dbi_pool_release(shipper->config.pool, conn, DBI_CONN_KEEP, NULL);
    else
        dbi_pool_release(shipper->config.pool, conn, DBI_CONN_DISCARD, err->msg);
    return conclude(shipper, rc, lost, sent, &permit, next, err);
}

void dbi_ship_buffers_free(dbi_ship_buffers *buffers) {
    dbi_records_free(&buffers->records);
    dbi_records_free(&buffers->ahead);
}

/* The memory without what is in it. */
static dbi_records records_emptied(const dbi_records *records) {
    return (dbi_records){.bytes = records->bytes, .capacity = records->capacity};
}

dbi_rc dbi_shipper_run(dbi_shipper *shipper, dbi_ship_buffers *buffers, int cancel_fd, dbi_ship_next *next,
                       dbi_err *err) {
    dbi_ship_buffers own = {0};
    dbi_err local;
    dbi_rc rc;

    if (err == NULL)
        err = &local;
    if (buffers == NULL)
        buffers = &own;
    dbi_err_reset(err);
    shipper->records = records_emptied(&buffers->records);
    shipper->ahead = records_emptied(&buffers->ahead);
    rc = run(shipper, cancel_fd, next, err);
    buffers->records = records_emptied(&shipper->records);
    buffers->ahead = records_emptied(&shipper->ahead);
    shipper->records = shipper->ahead = (dbi_records){0};
    dbi_ship_buffers_free(&own);
    return rc;
}
