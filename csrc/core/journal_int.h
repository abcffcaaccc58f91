/* journal_int.h - what the files of the journal share: journal.c (directory, slots, the keeper's round), journal_fd.c
 * (descriptors over a fork), segment.c (one file), chain.c (appending), chain_load.c (opening what is there),
 * chain_read.c, chain_sync.c. The format is in journal.h.
 *
 * Locks of the journal, in the order in which they are taken: journal.opening, chain.syncing, chain.maker,
 * journal.lock, chain.lock (a second one under journal.lock only), chain.spin; the table of descriptors is a leaf.
 */
#ifndef DBI_JOURNAL_INT_H
#define DBI_JOURNAL_INT_H

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/types.h>

#include "bytes_int.h"
#include "journal.h"

struct statfs;

/* What the operating system does for the journal, so that tests can let it fail. */
typedef struct dbi__journal_os {
    int (*sync)(int fd);
    int (*allocate)(int fd, off_t size); /* as fallocate */
    void *(*map)(size_t size, int fd);   /* shared and writable, or anonymous for -1; MAP_FAILED and errno */
    int (*populate)(void *at, size_t size); /* makes pages present for writing, as madvise; also while they are used */
    int (*filesystem)(int fd, struct statfs *found);
    void (*boot)(uint8_t boot[16]);
} dbi__journal_os;

extern dbi__journal_os dbi__journal_os_calls;

/* --- descriptors: known, so that a forked child closes them all (flock is shared with it) --- */

/* As openat, with O_CLOEXEC and O_NOFOLLOW. -1 and errno. @locks descriptors */
int dbi__fd_open(int directory, const char *name, int flags, mode_t mode);
int dbi__fd_dup(int fd);
int dbi__fd_open_followed(const char *directory); /* a directory by its path, through symbolic links */
void dbi__fd_close(int *fd); /* -1 is allowed, and is what it leaves */

/* --- the format --- */

#define DBI__PAGE UINT64_C(4096)
#define DBI__SEGMENT_META 512u /* where the meta begins */
#define DBI__RECORD_HEADER 16u
#define DBI__RECORD_VOID 0u
#define DBI__COUNTERS 16u
#define DBI__SEQUENCE_MAX ((UINT64_C(1) << 48) - 1)

enum dbi__field {
    DBI__AT_ID = 16,
    DBI__AT_CRC = 92,
    DBI__AT_FIRST = 128,
    DBI__AT_BASE = 136,
    DBI__AT_UNMET = 144,
    DBI__AT_MISSING_FROM = 152,
    DBI__AT_MISSING_TO = 160,
    DBI__AT_STATE = 168,
    DBI__AT_TARGET_CRC = 172,
    DBI__AT_TARGET = 176,
    DBI__AT_PUBLISHED = 192,
    DBI__AT_SYNCED = 200,
    DBI__AT_LANDED = 208,
    DBI__AT_LAST = 216,
    DBI__AT_LANDED_AT = 224,
    DBI__AT_COUNTERS = 256,
    DBI__AT_NAME = 384,
};

#define DBI__STATE_SEALED UINT32_C(0x4C414553) /* "SEAL" */
#define DBI__STATE_ENDED UINT32_C(0x21444E45)  /* "END!" */

/* What is the chain's, carried on from segment to segment. */
typedef struct dbi__state {
    uint64_t base, unmet, missing_from, missing_to, landed;
    uint64_t landed_at; /* seconds since 1970 */
    uint8_t target[16];
    uint64_t counters[DBI__COUNTERS];
    uint32_t mark; /* 0, DBI__STATE_SEALED or DBI__STATE_ENDED */
} dbi__state;

/* The first 512 bytes of a file, the meta left out. */
typedef struct dbi__header {
    uint8_t id[16];
    uint64_t number, size, salt;
    uint8_t boot[16];
    int64_t made_us;
    uint32_t records_at, meta_length, lane;
    dbi_durability durability;
    char name[DBI_CHAIN_NAME_MAX + 1];
    uint64_t first, published, synced, last;
    dbi__state state;
} dbi__header;

typedef enum dbi__header_kind {
    DBI__HEADER_WHOLE,
    DBI__HEADER_BAD,
    DBI__HEADER_NEWER, /* a later format version */
} dbi__header_kind;

/* Reads a header, and the meta behind it, out of the first `length` bytes of a file; *why (may be NULL) says in words
 * what is wrong with a bad one. */
dbi__header_kind dbi__header_parse(const uint8_t *bytes, size_t length, dbi__header *header, const char **why);
/* The length of the meta that the header speaks of, 0 where that cannot be: how many bytes more to read for parsing. */
size_t dbi__header_meta(const uint8_t bytes[DBI__SEGMENT_META]);
void dbi__header_format(const dbi__header *header, const void *meta, uint8_t *bytes);

/* Of a header and its meta, as at DBI__AT_CRC. */
uint32_t dbi__header_crc(const uint8_t *bytes, size_t meta_length);
uint64_t dbi__number_pack(uint64_t salt, unsigned at, uint64_t number);
uint64_t dbi__number_unpack(uint64_t salt, unsigned at, uint64_t packed);
uint32_t dbi__target_crc(uint64_t salt, const uint8_t target[16]);

/* A field of a mapped header, changed by one store. */
static inline void dbi__store64(uint8_t *at, uint64_t value, memory_order order) {
    atomic_store_explicit((_Atomic uint64_t *)(void *)at, value, order);
}

/* Bytes that a record with a body of that length takes. */
static inline uint64_t dbi__record_size(uint64_t length) {
    return (DBI__RECORD_HEADER + length + 7) & ~UINT64_C(7);
}

typedef enum dbi__record_kind { DBI__RECORD_WHOLE, DBI__RECORD_BAD, DBI__RECORD_SHORT } dbi__record_kind;

typedef struct dbi__found {
    uint64_t size;    /* of the record in the file; also of one that is SHORT */
    uint64_t through; /* the last sequence that it stands for */
    uint16_t kind;
    uint32_t length;
} dbi__found;

/* Looks at the record at `bytes`, of which `available` are at hand and `limit` (>= available) are in the file. SHORT:
 * it may be whole, but more than `available` is needed: found->size of it, or of a void its first 24 bytes. */
dbi__record_kind dbi__record_check(const uint8_t *bytes, uint64_t available, uint64_t limit, uint64_t salt,
                                   uint64_t sequence, dbi__found *found);
/* Writes the header of a record whose body's CRC is known. */
void dbi__record_seal(uint8_t *bytes, uint32_t body_crc, uint32_t length, uint16_t kind, uint64_t salt,
                      uint64_t sequence);
/* A void of `size` bytes (a multiple of 8, at least 16) for the sequences up to `through`: writes its first
 * min(size, 24) bytes and returns how many that are. */
size_t dbi__void_format(uint8_t bytes[24], uint64_t size, uint64_t salt, uint64_t sequence, uint64_t through);

/* --- one segment --- */

typedef struct dbi__slot dbi__slot;

#define DBI__SEGMENT_OPEN UINT64_MAX

typedef struct dbi__range {
    uint64_t from, to;
} dbi__range;

typedef struct dbi__segment {
    dbi__header header;      /* as made or found; first, published, synced and state are not kept up */
    _Atomic uint64_t first;  /* 0 = a spare */
    _Atomic uint64_t last;   /* DBI__SEGMENT_OPEN while it is appended to */
    uint64_t end;            /* where its records end; of a found one at most */
    uint64_t trusted;        /* of a found one: below it what is not whole is damage, above it a torn tail */
    uint64_t synced;         /* offset */
    dbi__range *voids;       /* sequences that are known to hold no record, by whoever they were set aside; disjoint */
    size_t void_count, void_capacity;
    int64_t landed_at;       /* monotonic; 0 = has not landed */
    uint8_t *map;            /* NULL when it is not mapped */
    int fd;                  /* -1 when it is not open */
    uint32_t incarnation;    /* counts the files that it was moved through */
    uint64_t fetched;        /* offset up to which its pages were asked for */
    bool same_boot;          /* of a found one: the page cache is as its process left it */
    bool listed;             /* its name in the directory has been synced */
    bool sync_failed;        /* an fsync of this file failed: never again */
    bool evidence;           /* could not be copied to quarantine: moves there when it is retired */
} dbi__segment;

#define DBI__FILE_NAME 64u /* 32 + 1 + 16 + 4 and the NUL fit */

void dbi__segment_name(const uint8_t id[16], uint64_t number, const char *ending, char name[DBI__FILE_NAME]);
/* Makes and maps one, in use by none: a file in `directory`, or anonymous memory for -1. */
dbi_rc dbi__segment_make(dbi__segment **segment, int directory, const dbi__header *header, const void *meta,
                         bool ahead, dbi_err *err);
/* Asks the kernel for its pages up to an offset, also while it is appended to; those before `at` need none. */
void dbi__segment_fetch(dbi__segment *segment, uint64_t at, uint64_t upto);
void dbi__segment_unmap(dbi__segment *segment);
/* Unmaps, closes and frees; the file stays. `forked`: memory only. */
void dbi__segment_free(dbi__segment *segment, bool forked);
/* The last sequence in it, where the chain's last is `last`. */
static inline uint64_t dbi__segment_last(const dbi__segment *segment, uint64_t last) {
    uint64_t own = atomic_load_explicit(&segment->last, memory_order_acquire);

    return own < last ? own : last;
}
/* Notes that these hold no record; how many of those after `landed` were not known of. Without memory they go on being
 * counted as records. */
uint64_t dbi__segment_void(dbi__segment *segment, uint64_t from, uint64_t to, uint64_t landed);
/* Its records after `landed`, where the chain's last is `last`. */
uint64_t dbi__segment_held(const dbi__segment *segment, uint64_t last, uint64_t landed);
/* Reads up to `length` bytes at `offset`, fewer at the end of the file; an error of the disk ends it, too. */
size_t dbi__pread(int fd, void *bytes, size_t length, uint64_t offset);
/* Writes all, or returns false with errno. */
bool dbi__pwrite(int fd, const void *bytes, size_t length, uint64_t offset);

/* --- chains and slots --- */

struct dbi__slot {
    uint32_t number;
    int directory, lock;
    bool own;
    char name[16];
};

/* Where the one reader of a chain stands. */
typedef struct dbi__reader {
    uint64_t number; /* of the segment; 0 = none */
    uint32_t incarnation;
    int fd;
    uint64_t offset, sequence; /* of the next record */
    uint8_t *meta;
    size_t meta_length, meta_capacity;
} dbi__reader;

struct dbi_chain {
    /* what an append touches: under spin */
    atomic_uint spin;
    uint8_t *map; /* of the active segment; NULL before the first append */
    uint64_t at, room_end;
    uint64_t next; /* sequence */
    uint64_t salt;
    uint64_t fork;
    _Atomic uint64_t last;

    /* under spin, too */
    dbi__segment *active, *spare; /* `spare` is the last of `segments` */
    uint8_t *head;                /* the mapped header that holds the state; NULL = none is in use yet */
    uint64_t head_salt;
    dbi__state state; /* its counters are in `counters` */
    _Atomic uint64_t counters[DBI__COUNTERS];

    /* under lock */
    pthread_mutex_t lock;
    dbi__segment **segments; /* by number */
    size_t segment_count, segment_capacity;
    uint64_t reading, syncing, tending; /* numbers of segments that must stay; 0 = none */
    bool reader_busy;
    uint64_t synced;           /* sequence */
    uint64_t found, parted;    /* as dbi_chain_view says */
    uint64_t vanished;         /* records of a file that somebody deleted, until the gap is counted */
    uint64_t before[DBI__COUNTERS]; /* what was counted when it was opened, or came from a chain that is over */
    bool ended, gone;
    bool bound; /* by this process */

    /* under maker */
    pthread_mutex_t maker;
    uint64_t next_number, size_next;
    int64_t made_at;
    void *meta;
    size_t meta_length;

    pthread_mutex_t syncing_lock;
    dbi__reader reader; /* the reader's alone */
    _Atomic uint64_t handed; /* the highest sequence that the reader was given */
    _Atomic uint64_t in_flight; /* the same since the ledger was met last */
    uint64_t met;            /* what the ledger may say at least; under lock */

    /* set once */
    dbi_journal *journal;
    dbi__slot *slot; /* NULL: in memory */
    uint8_t *head_map; /* of a chain that was found: the first page of its newest segment */
    uint8_t id[16];    /* under lock */
    char name[DBI_CHAIN_NAME_MAX + 1];
    uint32_t lane;
    dbi_durability durability; /* under maker */
    uint64_t opened;
};

struct dbi_journal {
    dbi_journal_config config;
    char *path;
    int directory, quarantine;
    uint8_t boot[16];
    uint64_t fork;
    pthread_mutex_t opening; /* who looks for a chain and begins it */
    pthread_mutex_t lock;    /* what follows */
    dbi_chain **chains;      /* those that are gone included */
    size_t chain_count, chain_capacity;
    dbi__slot *own;
    dbi__slot **adopted, **done; /* `done`: given back; chains that are gone still point there */
    size_t adopted_count, done_count, adopted_capacity;
    uint64_t *probed; /* by number of a slot: its stamp when there was nothing to adopt in it */
    size_t probed_count;
    pthread_mutex_t quarantine_lock;
    char warning[512], error[512];
    _Atomic uint64_t bytes, quarantined;
};

static inline void dbi__spin_lock(dbi_chain *chain);
static inline void dbi__spin_unlock(dbi_chain *chain) {
    atomic_store_explicit(&chain->spin, 0, memory_order_release);
}

/* Waits in a way that lets a preempted owner on. */
void dbi__spin_wait(dbi_chain *chain);

static inline void dbi__spin_lock(dbi_chain *chain) {
    if (__builtin_expect(atomic_exchange_explicit(&chain->spin, 1, memory_order_acquire) != 0, 0))
        dbi__spin_wait(chain);
}

static inline void dbi__lock(pthread_mutex_t *lock) {
    (void)pthread_mutex_lock(lock);
}

static inline void dbi__unlock(pthread_mutex_t *lock) {
    (void)pthread_mutex_unlock(lock);
}

/* chain.c */
dbi_rc dbi__chain_new(dbi_chain **chain, dbi_journal *journal, dbi__slot *slot, const uint8_t id[16], const char *name,
                      uint32_t lane, dbi_err *err);
void dbi__chain_free(dbi_chain *chain);
dbi_rc dbi__chain_forked(dbi_err *err);
/* Makes the spare, unless there is one that holds a record of `need` bytes, or (unless `ahead`) the active does.
 * @locks maker, journal, chain */
dbi_rc dbi__chain_make(dbi_chain *chain, uint64_t need, bool ahead, dbi_err *err);
/* The spare becomes the active segment; false when there is none that holds `need` bytes. chain.spin is held. */
bool dbi__chain_roll(dbi_chain *chain, uint64_t need);
/* Goes on with other settings: from the next record on. @locks maker, chain */
dbi_rc dbi__chain_configure(dbi_chain *chain, const dbi_chain_config *config, dbi_err *err);
/* Frees what it has of segments and lets go of their files, which stay. chain.lock is held, or nobody is left. */
void dbi__chain_let_go(dbi_chain *chain);
/* Records in all its segments that have not landed. chain.lock is held. */
uint64_t dbi__chain_held(const dbi_chain *chain);
/* The last sequence that has landed, or is not the chain's. chain.lock is held. */
static inline uint64_t dbi__chain_landed(const dbi_chain *chain) {
    return chain->state.landed > chain->state.base ? chain->state.landed : chain->state.base;
}
/* The state, changed in memory and on disk. @locks spin */
void dbi__chain_set_met(dbi_chain *chain, uint64_t base);
void dbi__chain_set_ended(dbi_chain *chain); /* chain.lock is held */
void dbi__chain_set_landed(dbi_chain *chain, uint64_t landed);
void dbi__chain_set_missing(dbi_chain *chain, uint64_t from, uint64_t to);
/* How many of these sequences are not known to be missing. chain.lock is held. */
uint64_t dbi__chain_unexplained(dbi_chain *chain, uint64_t from, uint64_t to);
/* Takes the segment out of the list and gives it and its file up. chain.lock is held. */
void dbi__chain_remove(dbi_chain *chain, size_t index);
/* Of segments that have landed: the time at which the oldest one did, that neither is read nor is the newest; 0 = none.
 * chain.lock is held. */
int64_t dbi__chain_kept(const dbi_chain *chain, size_t *index);
/* One keeper's round; adds the bytes of kept segments to *kept. @locks maker, journal, chain */
dbi_rc dbi__chain_tend(dbi_chain *chain, uint64_t *kept, dbi_err *err);

/* chain_load.c: the chains of a slot, appended to journal.chains. DBI_EHELD: a newer format. journal.lock is held. */
dbi_rc dbi__slot_load(dbi_journal *journal, dbi__slot *slot, dbi_err *err);
/* Maps the page of the segment that the chain's state is in. */
dbi_rc dbi__chain_map_head(const dbi_chain *chain, const dbi__segment *segment, uint8_t **page, dbi_err *err);
/* Copies [offset, end) of the segment to quarantine, puts a void for the sequences up to `through` there, counts them.
 * False when the void could not be written: then the segment ends before it. chain.lock is held. */
bool dbi__chain_set_aside(dbi_chain *chain, dbi__segment *segment, uint64_t offset, uint64_t end, uint64_t sequence,
                          uint64_t through, const char *why);

/* journal.c */
dbi_rc dbi__journal_sys(dbi_err *err, int sys, const char *fmt, ...) DBI_PRINTF(3, 4);
/* There is no room: under the cap (sys 0), or as the disk says. Says where, how much there is, and what to do, in a
 * message that leaves room for more around it. */
dbi_rc dbi__journal_full(const dbi_journal *journal, uint64_t used, int sys, dbi_err *err);
/* Room under the cap, after giving up kept segments if it takes that. False = there is none. @locks journal, chain */
bool dbi__journal_reserve(dbi_journal *journal, uint64_t bytes);
void dbi__journal_unreserve(dbi_journal *journal, uint64_t bytes);
/* Gives up the segment that has been kept longest. False = there is none. @locks journal, chain */
bool dbi__journal_release_kept(dbi_journal *journal);
dbi_rc dbi__journal_add(dbi_journal *journal, dbi_chain *chain, dbi_err *err); /* journal.lock is held */
void dbi__journal_warn(dbi_journal *journal, const char *fmt, ...) DBI_PRINTF(2, 3);
dbi_rc dbi__random(void *bytes, size_t length, dbi_err *err);
/* Moves the file there, with a .txt beside it. False: it stayed where it is. */
bool dbi__quarantine_file(dbi_journal *journal, const dbi__slot *slot, const char *name, const char *why);
/* Copies bytes [offset, end) of fd there. */
bool dbi__quarantine_part(dbi_journal *journal, const dbi__slot *slot, const char *name, int fd, uint64_t offset,
                          uint64_t end, const char *why);

#endif
