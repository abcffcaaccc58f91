/* writer_int.h - what the writer's files share
 *
 * A writer is what its user holds: configuration and streams. Its engine is what belongs to one process: the journal,
 * the threads, the lock. A forked child finds an engine of another generation, leaves it alone for good, and makes one
 * of its own; so nothing has to be consistent at the moment of a fork but two pointers.
 *
 * Lock: engine.lock guards all that is not atomic and says so. Under it only leaves are taken: the journal's, the
 * shipper's and the mailbox's locks. It is not held while a server is waited for, nor a disk, but where a lane's chain
 * is opened or the engine is closed.
 */
#ifndef DBI_WRITER_INT_H
#define DBI_WRITER_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "fork_int.h"
#include "writer.h"

#define DBI__SHIPPERS_MAX 64

typedef struct dbi__engine dbi__engine;

/* An event or a flush that somebody waits for. */
typedef enum dbi__wish_state {
    DBI__WISH_WAITING, /* for room */
    DBI__WISH_TAKING,  /* the keeper is putting it into the journal */
    DBI__WISH_SYNCING  /* in the journal, not known to be on disk */
} dbi__wish_state;

typedef struct dbi__wish {
    dbi_receipt receipt;
    struct dbi__wish *next;
    dbi__wish_state state;
    int64_t deadline;
    dbi_chain *chain; /* SYNCING: where it is */
    uint64_t sequence;
    const dbi_schema *schema;
    size_t length;
    uint8_t tuple[];
} dbi__wish;

typedef struct dbi__wishes {
    dbi__wish *first, *last;
} dbi__wishes;

/* How far each chain is to have landed for a flush to be over. */
typedef struct dbi__goal {
    uint64_t duty;
    uint64_t upto;
} dbi__goal;

typedef struct dbi__flush {
    dbi_receipt receipt;
    struct dbi__flush *next;
    int64_t deadline;
    uint64_t parted; /* rows that another chain has now: one that is held */
    size_t count;
    dbi__goal goals[];
} dbi__flush;

/* What a stream is, or once was, encoded by. */
typedef struct dbi__schema_kept {
    struct dbi__schema_kept *next;
    dbi_schema *schema;
    uint8_t *meta;
    size_t meta_length;
} dbi__schema_kept;

typedef struct dbi__lane {
    _Atomic(dbi_chain *) chain;
    _Atomic(const dbi_schema *) schema; /* of the chain's newest segment */
    dbi__wishes syncing;
    dbi_chain *synced_chain; /* as far as the syncer came */
    uint64_t synced;
} dbi__lane;

struct dbi_stream {
    dbi_writer *writer;
    struct dbi_stream *next;
    dbi_stream_config config; /* its strings and schema are the stream's own */
    char name[DBI_STREAM_NAME_SIZE];
    char *lane_key;
    unsigned key_column;
    _Atomic(const dbi_schema *) schema; /* to encode by: one of these */
    dbi__schema_kept *schemas;          /* newest first */
    atomic_uint turn;            /* counts rows where lanes take turns */
    unsigned run;                /* so many rows in a row go to one lane */
    atomic_uint_fast64_t rejected;
    atomic_uint waiting_count;   /* events that wait for room; while there are any, others queue behind them */
    dbi__wishes waiting;
    int64_t sync_at;             /* INTERVAL: when the next fsync is due */
    dbi__lane lanes[];
};

/* What is known of the events of one name, chains that are gone included. */
typedef struct dbi__tally {
    struct dbi__tally *next;
    dbi_stream *stream; /* NULL = no stream of that name is open */
    dbi_stream_view gone; /* the sums of chains that are gone */
    uint64_t reactions[DBI_REACTION_COUNT]; /* of these */
    uint64_t recovered_shown; /* the most that the metrics have shown */
    char name[DBI_STREAM_NAME_SIZE];
} dbi__tally;

/* When rows were first seen: those up to `sequence`, and past the mark before, not later than `at`. Few marks are kept:
 * when they become too many, every other one goes, and from then on they lie further apart. */
#define DBI__MARKS 32
typedef struct dbi__marks {
    struct {
        uint64_t sequence;
        int64_t at;
    } all[DBI__MARKS]; /* of rows that have not landed, oldest first */
    unsigned count;
    int64_t apart; /* new ones, at least */
} dbi__marks;

/* One chain and how it is to be shipped. */
typedef struct dbi__duty {
    struct dbi__duty *next;
    dbi__engine *engine;
    uint64_t number;
    dbi_chain *chain;
    dbi_shipper *shipper;
    dbi__tally *tally;
    uint64_t landed;    /* as of the last run */
    uint64_t parted;    /* the same */
    uint64_t asked;     /* to be shipped without delay up to here: a flush wants it */
    dbi__marks marks;   /* how old the rows are that have not landed */
    int64_t looked_at;  /* when a shipper looked for rows, and what the last one was then */
    uint64_t looked_last;
    int64_t look_at;    /* and when one is to look again */
    int64_t not_before; /* a run to which nothing came is not repeated at once */
    int64_t rest_until; /* a batch that is just whole waits so long after a shipment, and grows meanwhile */
    bool busy;          /* a thread ships it */
    bool ran;
    bool held_up;       /* the last run failed: the shipper says when to come again */
} dbi__duty;

typedef enum dbi__engine_state {
    DBI__ENGINE_IDLE,    /* no threads yet */
    DBI__ENGINE_RUNNING,
    DBI__ENGINE_SEALED,  /* takes no more events */
    DBI__ENGINE_CLOSED
} dbi__engine_state;

struct dbi__engine {
    atomic_int state;
    atomic_int users; /* calls in progress */
    uint64_t fork;    /* the generation it belongs to */
    dbi_writer *writer;
    dbi_journal *journal;
    dbi__engine *forebear; /* the parent process's, in a child; never touched */
    int cancel_fd;         /* readable = shipments are to end */
    char slot[128];        /* for people: the host and the slot */

    pthread_mutex_t lock;
    pthread_cond_t work; /* of the shippers; all with CLOCK_MONOTONIC */
    pthread_cond_t keep; /* of the keeper */
    pthread_cond_t sync; /* of the syncer */
    bool stop;
    bool watched;   /* a shipper waits with a timeout; the others wait for it to call */
    bool uncounted; /* a chain got no duty yet, for lack of memory */
    atomic_bool sealed_running; /* it had its threads when it was sealed */
    bool keeper_runs, syncer_runs;
    uint32_t shippers_run;
    pthread_t threads[DBI__SHIPPERS_MAX + 2];
    unsigned thread_count;
    dbi__duty *duties;
    uint64_t duty_number;
    uint64_t turn; /* the duty that was picked last */
    dbi__tally *tallies;
    dbi__flush *flushes;
    dbi_ship_buffers buffers[DBI__SHIPPERS_MAX]; /* for the next runs, while rows are known to wait */
    unsigned buffer_count;
    dbi_histogram *gone_durations; /* of shipments of chains that are gone */
};

struct dbi_writer {
    dbi_writer_config config; /* its strings are the writer's own */
    char *name, *directory, *dead_directory;
    _Atomic(dbi__engine *) engine;
    atomic_uint_fast64_t reviving; /* the generation whose engine is being made */
    _Atomic(dbi_stream *) streams; /* never removed while the writer lives */
    atomic_bool closed; /* sealed: takes no more events */
    atomic_bool ended;  /* somebody has begun the second half of closing */
    dbi_source source;
};

/* --- writer.c --- */

/* Slow path of enter: makes the engine of this process, starts its threads, or says why the call cannot be made. */
DBI_NODISCARD dbi_rc dbi__writer_enter_slow(dbi_writer *writer, dbi__engine **engine, dbi_err *err);

static inline void dbi__engine_leave(dbi__engine *engine) {
    atomic_fetch_sub_explicit(&engine->users, 1, memory_order_release);
}

/* It runs, and in this process. */
static inline bool dbi__engine_takes(const dbi__engine *engine) {
    return atomic_load_explicit(&engine->state, memory_order_seq_cst) == DBI__ENGINE_RUNNING &&
           engine->fork == dbi__fork_now();
}

/* Registers a call in progress that takes events. On DBI_OK it must be followed by dbi__engine_leave. */
DBI_NODISCARD static inline dbi_rc dbi__writer_enter(dbi_writer *writer, dbi__engine **engine, dbi_err *err) {
    dbi__engine *found = atomic_load_explicit(&writer->engine, memory_order_acquire);

    *engine = found;
    atomic_fetch_add_explicit(&found->users, 1, memory_order_seq_cst);
    if (__builtin_expect(dbi__engine_takes(found), 1))
        return DBI_OK;
    dbi__engine_leave(found);
    return dbi__writer_enter_slow(writer, engine, err);
}

/* The engine of this process, with its lock taken; NULL in a child that has none yet. */
dbi__engine *dbi__engine_lock(dbi_writer *writer);

/* writer_metrics.c: the writer's dbi_collect_fn. */
dbi_rc dbi__writer_collect(void *writer, dbi_snapshot *snapshot);

/* --- engine.c: duties and threads --- */

/* Makes a duty for each chain that has none. @locks engine held */
DBI_NODISCARD dbi_rc dbi__engine_enumerate(dbi__engine *engine, dbi_err *err);

/* Starts the threads that do not run yet; may be called again after it failed. @locks engine held */
DBI_NODISCARD dbi_rc dbi__engine_start(dbi__engine *engine, dbi_err *err);

/* A stream asks for fsync. @locks engine held */
DBI_NODISCARD dbi_rc dbi__engine_start_syncer(dbi__engine *engine, dbi_err *err);

/* Ends the threads; shipments in progress are cut short. @locks none */
void dbi__engine_stop(dbi__engine *engine);

/* Frees what shipments were read into and is not in use. @locks engine held */
void dbi__engine_free_buffers(dbi__engine *engine);

/* Rows that have not landed of what the flush wants. @locks engine held */
uint64_t dbi__flush_left(const dbi__engine *engine, const dbi__flush *flush);

/* Answers the flushes that are over; with `all`, every one. @locks engine held */
void dbi__engine_flushed(dbi__engine *engine, bool all);

/* Frees a duty that is in no list any more; what it counted stays in its tally. @locks engine held */
void dbi__duty_retire(dbi__duty *duty);

/* Adds what a duty has counted so far; what a stream's all have. @locks engine held */
void dbi__duty_count(const dbi__duty *duty, dbi_stream_view *view);
void dbi__tally_view(const dbi__engine *engine, const dbi__tally *tally, dbi_stream_view *view);

/* --- stream.c --- */

DBI_NODISCARD dbi_rc dbi__stream_new(dbi_stream **stream, dbi_writer *writer, const dbi_stream_config *config,
                                     dbi_err *err);
void dbi__stream_free(dbi_stream *stream);

/* DBI_ECONFIG when the stream was opened with another configuration. @locks engine held */
DBI_NODISCARD dbi_rc dbi__stream_agrees(const dbi_stream *stream, const dbi_stream_config *config, dbi_err *err);

/* Opens the chains of its lanes in the engine's journal; nothing waits. @locks engine held, or nobody else knows it */
DBI_NODISCARD dbi_rc dbi__stream_open(dbi_stream *stream, dbi__engine *engine, dbi_err *err);

/* Events of it that wait: for room, or for fsync. @locks engine held */
uint64_t dbi__stream_waiting(const dbi_stream *stream);

/* The table is now like this: encode by it. @locks engine held */
DBI_NODISCARD dbi_rc dbi__stream_changed(dbi_stream *stream, const dbi_schema *schema, dbi_err *err);

/* Puts events that wait for room into the journal, as far as there is room, and gives up those whose time is over;
 * true when some go on waiting. @thread keeper, or the one that closes after it @locks engine held; let go of in between */
bool dbi__stream_take_waiting(dbi_stream *stream, dbi__engine *engine);

/* fsync of all lanes, and the answers to those who wait for it. @thread syncer, or the one that closes after it
 * @locks engine held; let go of in between */
void dbi__stream_sync(dbi_stream *stream, dbi__engine *engine);

void dbi__receipt_deliver(dbi_receipt *receipt);

#endif
