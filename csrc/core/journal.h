/* journal.h - events on disk: appended at memcpy cost, kept through kill -9 and power loss, read by the shippers.
 *
 * What is where. All numbers are little-endian; directories are 0700, files 0600.
 *
 *     <directory>/                   one journal: the events of one target database, of any number of processes
 *         slot-0000/ slot-0001/ ...  owned by one process at a time: flock on <slot>/lock. Reused, lowest free first
 *             lock                   one line for people, of the owner or the last one: "pid <pid> on <host> since
 *                                    <microseconds> us after 1970"
 *             <chain>.<number>.seg   a segment: <chain> is 32 lower-case hexadecimal digits, <number> 16 of them
 *             <chain>.<number>.tmp   a segment being made or moved; removed when the slot is opened
 *         dead/                      dead letters (shipper.h)
 *         quarantine/                what could not be read, each with a <its name>.txt that says why, where from:
 *             <chain>.<number>.seg         a whole file; another of that name: .2, .3 ... behind it
 *             <chain>.<number>.seg.<offset>.part   bytes of one, from that offset (decimal) on
 *         schemas/                   the columns of tables, for streams that are opened while the server is away
 *
 * A chain is one lane of one stream in one slot: a random id, segments numbered from 1 on, records with sequences from
 * 1 on. Its newest segment is never deleted while it may be gone on with, so that a process that uses the slot again
 * goes on with the chain and its sequence: in a new segment, for nothing is ever appended to a file of another process.
 *
 * Segment: header, name, meta, records. Created whole by fallocate (a full disk is met there, not as SIGBUS), never
 * truncated, mapped shared for appending, read by pread. The size of the file is a multiple of 4096.
 *
 *     at  size  field
 *      0    8   magic "DBINTJRN"
 *      8    4   format version, 1
 *     12    4   offset of the first record, a multiple of 4096
 *     16   16   chain id
 *     32    8   number of the segment in its chain, from 1 on
 *     40    8   size of the file
 *     48   16   boot id of the machine (/proc/sys/kernel/random/boot_id as 16 bytes; zero = not known)
 *     64    8   salt: random
 *     72    8   made at, microseconds since 1970
 *     80    4   length of the meta
 *     84    4   lane
 *     88    1   durability: 1 process, 2 interval, 3 sync (memory has no files)
 *     89    3   zero
 *     92    4   CRC32C of bytes 0..91, then 384..511 (the name), then the meta
 *     96   32   zero
 *    128    8   first*: sequence of the first record; 0 = not in use yet (a spare, made ahead of time)
 *    136    8   base*: records up to this sequence are not the chain's (see Meeting the ledger); 0 = all are
 *    144    8   unmet*: the first sequence appended since the chain was opened and before the ledger was met; 0 = met
 *    152    8   missing from*, and
 *    160    8   missing to*: sequences known to be missing, given up by drop_oldest or counted as damaged; 0 = none
 *                 (two holes become one that spans what lies between: a range says nothing of what is there)
 *    168    4   state: 0 = open; "SEAL" = a successor is in use; anything else ("END!" is written) = the chain is ended
 *    172    4   CRC32C of salt, target; valid when target is not zero
 *    176   16   target: identity of the server's database (dbint.server); zero = not yet known
 *    192    8   published: offset of the end of the last whole record. Stored with release order, after the record
 *    200    8   synced: offset up to which an fsync is known to have succeeded. Neither is believed where it lies
 *                 outside of the offset of the first record to the size of the file (as of 40, also where the file has
 *                 been cut since), or is no multiple of 8: then `synced` counts in place of `published`, and in
 *                 place of `synced` the offset of the first record
 *    208    8   landed*: the last sequence that was seen to land (a hint: the ledger decides)
 *    216    8   last: sequence of the record that ends at `published`, stored after it; 0 = none yet. Believed where
 *                 `published` is, the boot id is the present one, and so many records have room between `first` and it
 *    224    8   landed at*: when records were last seen to commit, seconds since 1970; 0 = not known
 *    232   24   zero
 *    256  128   16 counters*, cumulative for the chain (dbi_chain_counter, in this order)
 *    384  128   name of the stream, UTF-8, padded with zeros, the last byte zero
 *    512    -   meta: what the stream says of itself; opaque here
 *
 *    * a checked number, so that one store of 8 bytes changes it and a flipped bit shows: the number in the lower 48
 *      bits; above them the lower 16 bits of CRC32C of (salt, the field's offset as 8 bytes, the number as 8 bytes).
 *      All zero = 0. One that does not fit counts as 0.
 *
 * Base, unmet, missing, state, target, landed, landed at and counters are the chain's: they are carried on from segment
 * to segment, and those of the newest segment in use count.
 *
 * Record, aligned to 8 bytes:
 *
 *      0    4   length of the body
 *      4    4   CRC32C of the body, bytes 0..3, bytes 8..15, salt and sequence (8 bytes each), in this order
 *      8    4   lower half of the sequence
 *     12    2   kind: 1 = row (a tuple of COPY BINARY), 2 = Kafka message, 0 = void: damage that has been set aside
 *     14    2   zero
 *     16    -   body, zero-padded to the next multiple of 8
 *
 * A void stands for its own sequence, and with a body of 8 bytes or more for all through the sequence in those 8 bytes.
 * Its CRC covers no more of the body than these 8 bytes; what comes after them is what was there. A record is whole
 * when it lies in the file, padding included, its lower half is that of the sequence expected there, bytes 14 and 15
 * are zero, the kind is known and the CRC fits.
 *
 * Kafka message (kind 2), the body:
 *
 *      0    1   version of this layout, 1
 *      1    1   flags: 1 = there is a key, 2 = there is a value; without, Kafka's null
 *      2    2   length of the topic, 1 at least
 *      4    4   partition; -1 = the partitioner chooses
 *      8    8   timestamp, milliseconds since 1970: the sender's, or when the message was taken
 *     16   16   event id, a UUID, sent as text in the header "dbint.id"; zero = the message brought that header itself
 *     32    4   length of the key, 0 where there is none
 *     36    4   length of the value, the same
 *     40    4   number of headers
 *     44    4   zero
 *     48    -   topic, key, value, then the headers: length of the name (4 bytes), length of the value (4 bytes;
 *               2^32 - 1 = null), name, value; nothing behind them
 *
 * A chain of such messages has no meta. Its target is the MD5 of the cluster's id, and its counters `landed` and `dead`
 * are of messages that the brokers have confirmed or refused. No ledger is met: what lies after `landed` is sent again.
 *
 * How replay decides. The segments of a chain are taken in the order of their numbers.
 *  - A file whose name says segment, and that is no regular file (a link, a pipe), or whose magic is unknown, header
 *    CRC wrong or name another than its header says: to quarantine, whole. So is one whose `first` is 0 and that has
 *    bytes other than zero where its first record would be (or `published` beyond it). With none it is a spare, and
 *    removed.
 *  - A newer format version (and the CRC does not say that it is a damaged 1): everything is left alone, the slot is
 *    not used, a warning says so.
 *  - Records are read from the first on until one is not whole. Where `first` of the successor (number + 1) is known,
 *    that says what the last sequence must be. Else the first one that is not whole is the end.
 *  - Trusted are the records below `published` where the boot id is this machine's present one (the page cache is as
 *    the process left it), else those below `synced`. A record below it that is not whole is damage: when the next one,
 *    by length, is whole, only this one is set aside, else all the rest. Above it (power loss) the rest is set aside
 *    without looking further: a torn tail. Bytes behind the end that the present boot never published were never
 *    acknowledged, and are left alone.
 *  - How many records such a rest stands for is said by the successor, else by `last`, else by the lengths and
 *    sequences that can still be read in it: one at least. So also where a file was cut and no bytes are left.
 *  - A gap between the sequences of two segments, or in front of the first, is a deleted segment: counted as damaged,
 *    but for what `missing` covers.
 *  - Setting aside: the bytes are copied to quarantine, a void takes their place (where they are too few for one,
 *    `missing` says it), and the counter `damaged` is raised by those of them that were not seen to land.
 *  - A chain is ended, and new records go to a new chain, when sequences behind its end may be in the ledger already:
 *    its newest segment is of another boot, or lost its tail (set aside, or the file is shorter than its header says),
 *    or is marked "SEAL" (its successor was deleted). What it holds is shipped.
 *
 * Meeting the ledger. A process that goes on with a chain appends before it has spoken to the server. When the ledger
 * then turns out to be ahead of everything that this history of the chain can have sent (`unmet` - 1), the volume is a
 * restored copy: the same sequences were used before, for other records. The records from `unmet` on, which are new,
 * get a new chain id: the segments are relabelled, `base` keeps the older ones out. A file gets its new name before its
 * new id and loses the old name after it: who is killed in between leaves two names, one of which fits the header.
 *
 * A ledger without the chain has forgotten it (collect_chains) where it collects what stood still until `landed at` and
 * later; else it has lost it, and all of it that is held is sent again. What was forgotten has landed for good: `base`
 * becomes `landed`, so that it is not sent again when a server loses the chain later.
 *
 * Another database. A chain is pinned to the first one that it meets (`target`). A process that goes on with it and
 * then meets another has begun after the change: what it appended gets a new chain id in the same way, and no target.
 * What was there before and has not landed keeps the old id and target, and is ended.
 */
#ifndef DBI_JOURNAL_H
#define DBI_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "err.h"

typedef struct dbi_journal dbi_journal; /* one process's part in a directory */
typedef struct dbi_chain dbi_chain;

typedef struct dbi_journal_config {
    const char *directory;
    uint64_t max_bytes;   /* cap on the segments of this process's own slot, kept ones included; 1 GiB */
    uint64_t segment_min; /* 1 MiB: a chain's first segment; they double while a chain is busy; at least 16 KiB */
    uint64_t segment_max; /* 64 MiB; a record with its segment's header and meta must fit; at most 1 GiB */
    int64_t keep_ns;      /* landed segments are kept so long: 60 s */
    uint64_t keep_bytes;  /* and no more than this: 64 MiB; they are given up first when room is needed */
    dbi_clock clock;
    void (*rolled)(void *arg); /* a segment has been begun: it is time for dbi_journal_tend. Called by who appended to
                                  it first, who holds no lock of the journal. NULL = nobody is to be told */
    void *rolled_arg;
} dbi_journal_config;

void dbi_journal_defaults(dbi_journal_config *config);

/* Makes the directory, takes the lowest free slot and opens the chains that it finds there. No thread is started.
 * Damage never stops it. DBI_ESYS (read-only, no space, no permission), DBI_ECONFIG (a network file system, a directory
 * of somebody else, a bad range), DBI_ENOMEM: the message names the path and what to do. @thread any */
DBI_NODISCARD dbi_rc dbi_journal_open(dbi_journal **journal, const dbi_journal_config *config, dbi_err *err);

/* Gives the slots up; what has not landed stays for whoever takes them next. No other call may be under way, and none
 * comes after it on any of its chains. NULL is allowed. In a forked child it frees memory only. */
void dbi_journal_free(dbi_journal *journal);

/* X(NAME, text) */
#define DBI_DURABILITY_MAP(X)                                                                                          \
    X(MEMORY, "memory")     /* anonymous memory, no file: lost with the process */                                     \
    X(PROCESS, "process")   /* survives the death of the process */                                                    \
    X(INTERVAL, "interval") /* and, as of the last dbi_chain_sync, of the machine */                                   \
    X(SYNC, "sync")         /* the same to the journal: who appends waits for dbi_chain_sync */

typedef enum dbi_durability {
#define DBI_DURABILITY_ENUM(name, text) DBI_DURABILITY_##name,
    DBI_DURABILITY_MAP(DBI_DURABILITY_ENUM)
#undef DBI_DURABILITY_ENUM
        DBI_DURABILITY_COUNT
} dbi_durability;

const char *dbi_durability_text(dbi_durability durability);

#define DBI_CHAIN_NAME_MAX 127u
#define DBI_CHAIN_META_MAX (UINT32_C(1) << 20)

typedef struct dbi_chain_config {
    const char *name; /* of the stream, at most DBI_CHAIN_NAME_MAX bytes: with the lane it says which chain goes on */
    uint32_t lane;
    dbi_durability durability;
    const void *meta; /* at most DBI_CHAIN_META_MAX bytes; copied. Another one than before begins a new segment */
    size_t meta_length;
} dbi_chain_config;

/* Goes on with the slot's chain of that name and lane, or begins one; the same call again gives the same chain. Its
 * first segment is made ahead; where disk or cap is full, appending will say so. Valid until dbi_journal_free.
 * @thread any @locks maker, journal, chain */
DBI_NODISCARD dbi_rc dbi_journal_chain(dbi_journal *journal, const dbi_chain_config *config, dbi_chain **chain,
                                       dbi_err *err);

enum { DBI_RECORD_ROW = 1, DBI_RECORD_KAFKA = 2 };

/* Appends one record. On DBI_OK it survives the death of this process (not with MEMORY). No system call, no wait and no
 * allocation while a prepared segment is at hand (dbi_journal_tend); else it makes one, on this thread. DBI_EFULL: the
 * cap is reached, or the disk is full. DBI_ETOOBIG, DBI_ESYS, DBI_EFORK. @thread any @locks spin; without a prepared
 * segment maker, journal, chain */
DBI_NODISCARD dbi_rc dbi_chain_append(dbi_chain *chain, uint16_t kind, const void *body, size_t length,
                                      uint64_t *sequence, dbi_err *err);

/* Gives up the oldest whole segment that is neither written nor on its way to the server (read since the ledger was met
 * last, and not landed); *records = how many of its records had
 * not landed: they are counted as DROPPED_OLDEST. Kept segments are given up before. DBI_EFULL when there is none.
 * @thread any @locks chain */
DBI_NODISCARD dbi_rc dbi_chain_drop_oldest(dbi_chain *chain, uint64_t *records, dbi_err *err);

/* fsync of all that is published; *synced (may be NULL) = the last sequence that is now safe. Calls that come while one
 * is under way share the next. DBI_ESYS: the fsync failed; that file is not synced again, its content moves to a new
 * file, and the next call tells whether that went well (DBI_EFULL: no room). @thread any but the hot path
 * @locks sync, maker, chain */
DBI_NODISCARD dbi_rc dbi_chain_sync(dbi_chain *chain, uint64_t *synced, dbi_err *err);

/* Cumulative counts that live in the segment headers, so that a kill does not erase them: X(NAME, text). The order is
 * the format's. DROPPED_FULL is the only one of events that never got a sequence. */
#define DBI_CHAIN_COUNTER_MAP(X)                                                                                       \
    X(DROPPED_OLDEST, "dropped_oldest")                                                                                \
    X(DROPPED_FULL, "dropped_full")                                                                                    \
    X(DAMAGED, "damaged")                                                                                              \
    X(DEAD, "dead")                                                                                                    \
    X(LOST_BY_SERVER, "lost_by_server")                                                                                \
    X(AMBIGUOUS_RESOLVED, "ambiguous_commits_resolved")

typedef enum dbi_chain_counter {
#define DBI_CHAIN_COUNTER_ENUM(name, text) DBI_CHAIN_##name,
    DBI_CHAIN_COUNTER_MAP(DBI_CHAIN_COUNTER_ENUM)
#undef DBI_CHAIN_COUNTER_ENUM
        DBI_CHAIN_COUNTER_COUNT
} dbi_chain_counter;

typedef struct dbi_chain_view {
    uint8_t id[16]; /* may change: dbi_chain_met */
    uint8_t target[16];
    const char *name;
    uint32_t lane;
    dbi_durability durability;
    uint64_t opened;        /* the last sequence when this process opened the chain: what is above was appended by it */
    uint64_t first, last;   /* sequences held, the kept ones included; first > last = none */
    uint64_t synced;        /* the last sequence known to survive a power loss */
    uint64_t landed;        /* as dbi_chain_landed said; before that, what the file says */
    int64_t landed_us;      /* wall time at which records were last seen to commit, in whole seconds; 0 = not known */
    uint64_t base;          /* what is up to here is not the chain's */
    uint64_t held;          /* records that have not landed: last - held - landed rows = dropped, damaged, dead, lost */
    uint64_t found;         /* records that had not landed when it was opened, damaged ones that were then found
                               included, as far as is known: what was set aside before turns up when it is read.
                               Without those that dbi_chain_part handed on */
    uint64_t parted;        /* how many these were */
    uint64_t counted[DBI_CHAIN_COUNTER_COUNT]; /* by this process, of these and of those appended by it */
    uint64_t bytes;         /* on disk, kept and spare segments included */
    uint32_t segments;
    int64_t oldest_wall_us; /* when the segment of the oldest record that has not landed was made; 0 = none */
    bool ended;             /* takes no more records */
    bool adopted;           /* from the slot of a dead process */
    bool gone;              /* ended or adopted, and drained: no longer among dbi_journal_chains; free what reads it */
} dbi_chain_view;

/* @thread any @locks chain */
void dbi_chain_view_get(dbi_chain *chain, dbi_chain_view *view);

/* The last sequence that was appended. One acquire load. @thread any @locks none */
uint64_t dbi_chain_last(const dbi_chain *chain);

/* --- reading, by one shipper at a time --- */

typedef struct dbi_records {
    uint8_t *bytes; /* the reader's buffer, reused; at most max_bytes or one record, whichever is more */
    size_t length, capacity;
    uint64_t first, last; /* sequences in it; first > last = none. Voids in between have no record */
    uint64_t count;       /* of records: what dbi_records_next will give in all */
    size_t at;            /* of dbi_records_next */
    uint64_t next;
    const void *meta; /* of the segment they come from: all are of one segment; valid until the next read */
    size_t meta_length;
    uint8_t id[16], target[16]; /* of the chain; target zero = not yet bound */
} dbi_records;

typedef struct dbi_record {
    uint64_t sequence;
    uint16_t kind;
    const uint8_t *body;
    size_t length;
} dbi_record;

/* Reads whole, checked records after sequence `after`, of one segment, up to max_bytes (at least one record). DBI_OK
 * with first > last: nothing there. `last` may be past the last record where voids follow: it is what the ledger is to
 * be advanced to, also with count 0. DBI_ECORRUPT, once, when damage was found, counted and set aside: read again.
 * A zeroed dbi_records is empty. @thread one at a time @locks chain, not while reading the file */
DBI_NODISCARD dbi_rc dbi_chain_read(dbi_chain *chain, uint64_t after, size_t max_bytes, dbi_records *records,
                                    dbi_err *err);
/* The next record, in order; false at the end. `records->at = 0, records->next = records->first` begins anew. */
bool dbi_records_next(dbi_records *records, dbi_record *record);
void dbi_records_free(dbi_records *records);

/* What the ledger says, to be told before the first shipment of this process, and whenever the ledger was read again.
 * *renewed = true: it is ahead of everything that this history of the chain can have sent, so the records that this
 * history added got a new chain id: the chain is to be registered anew, from ledger 0 on. An error leaves all as it
 * was. Below what has landed: see dbi_chain_rewind. @thread the reader's @locks maker, chain */
DBI_NODISCARD dbi_rc dbi_chain_met(dbi_chain *chain, uint64_t ledger_last, bool *renewed, dbi_err *err);

/* Everything up to `upto` is committed in the server: its segments may go after keep_ns. @thread any @locks chain */
void dbi_chain_landed(dbi_chain *chain, uint64_t upto);

/* The ledger says less than was seen to land: back to `ledger_last`. *lost (may be NULL) = records that are no longer
 * held, counted as LOST_BY_SERVER. @thread the reader's @locks chain */
void dbi_chain_rewind(dbi_chain *chain, uint64_t ledger_last, uint64_t *lost);

/* The ledger has forgotten the chain, which goes on from where it was: what has landed is never sent again.
 * @thread the reader's @locks chain */
void dbi_chain_forgotten(dbi_chain *chain);

/* Pins the chain to a server's database. DBI_EHELD when it belongs to another. @thread any @locks chain */
DBI_NODISCARD dbi_rc dbi_chain_bind(dbi_chain *chain, const uint8_t target[16], dbi_err *err);

/* The database is another one than the chain is pinned to. Where this process has never met that one, what it appended
 * gets a new chain id, and is pinned to none; what was there before and has not landed stays, under the old id, as an
 * ended chain of its own among dbi_journal_chains. *parted = false: there is nothing to part, all of it belongs there.
 * An error leaves all as it was. @thread the reader's @locks syncing, maker, journal, chain */
DBI_NODISCARD dbi_rc dbi_chain_part(dbi_chain *chain, bool *parted, dbi_err *err);

const char *dbi_chain_counter_text(dbi_chain_counter counter);

/* @thread any @locks spin, for a few stores */
void dbi_chain_count(dbi_chain *chain, dbi_chain_counter counter, uint64_t n);
uint64_t dbi_chain_counted(const dbi_chain *chain, dbi_chain_counter counter);

/* --- the keeper's work --- */

/* One round: makes the next segment of busy chains, fetches the pages in front of what is written, retires landed
 * segments, gives back adopted slots that are drained. *changed (may be NULL) = dbi_journal_chains is another list than
 * before. Called by the writer's keeper thread, about every 50 ms. Descriptors and mappings stay bounded whatever the
 * backlog: the newest segment and the spare of a chain are mapped, and what is read is open. Does all it can and reports
 * the first error.
 * @thread one at a time @locks maker, journal, chain */
DBI_NODISCARD dbi_rc dbi_journal_tend(dbi_journal *journal, bool *changed, dbi_err *err);

/* Takes over one slot whose owner is dead and that holds records that have not landed: its chains are then among
 * dbi_journal_chains. DBI_OK with *found = false when there is none. @thread as tend */
DBI_NODISCARD dbi_rc dbi_journal_adopt(dbi_journal *journal, bool *found, dbi_err *err);

/* All chains, own and adopted, those of no open stream included: the writer makes a shipper for each. Returns how many
 * there are; writes up to `capacity`. A chain that leaves the list stays valid memory until dbi_journal_free, and has
 * nothing to read. @thread any @locks journal */
size_t dbi_journal_chains(dbi_journal *journal, dbi_chain **chains, size_t capacity);

typedef struct dbi_journal_view {
    const char *directory;
    uint32_t slot;
    uint32_t adopted; /* slots, at present */
    uint32_t chains;
    uint64_t bytes, max_bytes; /* of the own slot */
    uint64_t quarantined;      /* files and parts of files set aside by this process */
    char error[512];           /* what dbi_journal_tend found last; "" = all is well */
    char warning[512];         /* what is not well: tmpfs, overlay, a slot of a newer version; "" = nothing */
} dbi_journal_view;

/* @thread any @locks journal */
void dbi_journal_view_get(dbi_journal *journal, dbi_journal_view *view);

#endif
