/* journal.c - the directory, its slots, and the keeper's round (see journal.h) */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "alloc.h"
#include "fork_int.h"
#include "journal_int.h"

#define JOURNAL_SLOTS_MAX 10000u

/* -- small things -------------------------------------------------------------------------------------------------- */

/* What is to be done about an error of the disk that means: no room. NULL = it is another one. */
static const char *room_advice(int sys) {
    switch (sys) {
    case ENOSPC:
        return "make room on its disk, or move the journal to a larger one (DBINT_JOURNAL_DIR)";
    case EDQUOT:
        return "raise the user's quota, or move the journal to another disk (DBINT_JOURNAL_DIR)";
    case EFBIG:
        return "raise the limit on the size of files (ulimit -f)";
    default:
        return NULL;
    }
}

dbi_rc dbi__journal_sys(dbi_err *err, int sys, const char *fmt, ...) {
    const char *advice = room_advice(sys);
    dbi_rc rc = advice != NULL ? DBI_EFULL : sys == ENOMEM ? DBI_ENOMEM : DBI_ESYS;
    char text[400] = "";
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, advice != NULL ? sizeof text - 120 : sizeof text, fmt, args);
    va_end(args);
    rc = dbi_err_sys(err, rc, sys, "%s%s%s%s", text, advice != NULL ? " (" : "", advice != NULL ? advice : "",
                     advice != NULL ? ")" : "");
    errno = sys;
    return rc;
}

#define PATH_SHOWN 120u /* bytes of a path: its end says more than its beginning */

dbi_rc dbi__journal_full(const dbi_journal *journal, uint64_t used, int sys, dbi_err *err) {
    size_t length = strlen(journal->path);
    const char *path = journal->path, *advice = room_advice(sys), *cut = "";
    unsigned long long most = journal->config.max_bytes;

    if (length > PATH_SHOWN) {
        cut = "...";
        path += length - PATH_SHOWN;
        while (((uint8_t)*path & 0xC0) == 0x80) /* no half of a character */
            path++;
    }
    if (advice == NULL)
        return dbi_err_set(err, DBI_EFULL,
                           "the journal %s%s holds %llu of at most %llu bytes: let the server take its events, raise "
                           "max_bytes (DBINT_JOURNAL_MAX_BYTES), or choose what gives way (when_full)",
                           cut, path, (unsigned long long)used, most);
    return dbi_err_sys(err, DBI_EFULL, sys,
                       "the journal %s%s holds %llu of at most %llu bytes and cannot grow: %s, or choose what gives "
                       "way (when_full)",
                       cut, path, (unsigned long long)used, most, advice);
}

dbi_rc dbi__random(void *bytes, size_t length, dbi_err *err) {
    ssize_t got;

    do
        got = getrandom(bytes, length, 0);
    while (got < 0 && errno == EINTR);
    if (got != (ssize_t)length)
        return dbi_err_sys(err, DBI_ESYS, errno, "no random numbers");
    return DBI_OK;
}

void dbi__journal_warn(dbi_journal *journal, const char *fmt, ...) {
    size_t used = strlen(journal->warning);
    va_list args;

    if (used > 0 && used + 2 < sizeof journal->warning) {
        memcpy(journal->warning + used, "; ", 3);
        used += 2;
    }
    va_start(args, fmt);
    (void)vsnprintf(journal->warning + used, sizeof journal->warning - used, fmt, args);
    va_end(args);
}

/* -- room under the cap -------------------------------------------------------------------------------------------- */

void dbi__journal_unreserve(dbi_journal *journal, uint64_t bytes) {
    atomic_fetch_sub(&journal->bytes, bytes);
}

bool dbi__journal_release_kept(dbi_journal *journal) {
    dbi_chain *oldest = NULL;
    int64_t since = INT64_MAX;
    size_t index = 0;

    dbi__lock(&journal->lock);
    for (size_t i = 0; i < journal->chain_count; i++) {
        dbi_chain *chain = journal->chains[i];
        int64_t landed;

        if (chain->slot != NULL && !chain->slot->own)
            continue;
        dbi__lock(&chain->lock);
        landed = dbi__chain_kept(chain, &index);
        dbi__unlock(&chain->lock);
        if (landed != 0 && landed < since) {
            since = landed;
            oldest = chain;
        }
    }
    if (oldest != NULL) {
        dbi__lock(&oldest->lock);
        if (dbi__chain_kept(oldest, &index) != 0)
            dbi__chain_remove(oldest, index);
        dbi__unlock(&oldest->lock);
    }
    dbi__unlock(&journal->lock);
    return oldest != NULL;
}

bool dbi__journal_reserve(dbi_journal *journal, uint64_t bytes) {
    for (;;) {
        uint64_t used = atomic_load(&journal->bytes);

        if (used <= journal->config.max_bytes && bytes <= journal->config.max_bytes - used) {
            if (atomic_compare_exchange_weak(&journal->bytes, &used, used + bytes))
                return true;
        } else if (!dbi__journal_release_kept(journal)) {
            return false;
        }
    }
}

/* -- quarantine ---------------------------------------------------------------------------------------------------- */

/* A directory of ours inside another; made when it is not there. -1 and errno; EPERM when it is not ours alone. */
static int directory_open(int parent, const char *name) {
    struct stat found;
    int fd;

    if (mkdirat(parent, name, 0700) != 0 && errno != EEXIST)
        return -1;
    fd = dbi__fd_open(parent, name, O_RDONLY | O_DIRECTORY, 0);
    if (fd >= 0 && (fstat(fd, &found) != 0 || found.st_uid != geteuid() || (found.st_mode & 022) != 0)) {
        dbi__fd_close(&fd);
        errno = EPERM;
    }
    return fd;
}

static bool quarantine_ready(dbi_journal *journal) {
    dbi__lock(&journal->quarantine_lock);
    if (journal->quarantine < 0)
        journal->quarantine = directory_open(journal->directory, "quarantine");
    dbi__unlock(&journal->quarantine_lock);
    return journal->quarantine >= 0;
}

static void quarantine_note(dbi_journal *journal, const dbi__slot *slot, const char *name, const char *stored,
                            uint64_t offset, const char *why) {
    char text[1024], path[DBI__FILE_NAME + 48];
    int fd, length;

    atomic_fetch_add(&journal->quarantined, 1);
    (void)snprintf(path, sizeof path, "%s.txt", stored);
    fd = dbi__fd_open(journal->quarantine, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0)
        return;
    length = snprintf(text, sizeof text,
                      "%s was set aside from %s/%s (offset %llu): %s.\n"
                      "`python -m dbint.journal dump` shows which events it still holds. It may be deleted.\n",
                      name, journal->path, slot->name, (unsigned long long)offset, why);
    if (length > 0)
        (void)dbi__pwrite(fd, text, (size_t)length < sizeof text ? (size_t)length : sizeof text - 1, 0);
    dbi__fd_close(&fd);
}

bool dbi__quarantine_file(dbi_journal *journal, const dbi__slot *slot, const char *name, const char *why) {
    char stored[DBI__FILE_NAME + 32];

    if (!quarantine_ready(journal))
        return false;
    (void)snprintf(stored, sizeof stored, "%s", name);
    for (unsigned copy = 2; copy < 1000 && faccessat(journal->quarantine, stored, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
         copy++)
        (void)snprintf(stored, sizeof stored, "%s.%u", name, copy);
    if (renameat(slot->directory, name, journal->quarantine, stored) != 0)
        return false;
    quarantine_note(journal, slot, name, stored, 0, why);
    return true;
}

bool dbi__quarantine_part(dbi_journal *journal, const dbi__slot *slot, const char *name, int fd, uint64_t offset,
                          uint64_t end, const char *why) {
    char stored[DBI__FILE_NAME + 32];
    uint8_t bytes[16384];
    bool copied = true;
    int to;

    if (!quarantine_ready(journal))
        return false;
    (void)snprintf(stored, sizeof stored, "%s.%llu.part", name, (unsigned long long)offset);
    to = dbi__fd_open(journal->quarantine, stored, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (to < 0)
        return false;
    for (uint64_t at = offset; at < end && copied;) {
        size_t got = dbi__pread(fd, bytes, end - at < sizeof bytes ? (size_t)(end - at) : sizeof bytes, at);

        if (got == 0)
            break;
        copied = dbi__pwrite(to, bytes, got, at - offset);
        at += got;
    }
    dbi__fd_close(&to);
    if (copied)
        quarantine_note(journal, slot, name, stored, offset, why);
    else
        (void)unlinkat(journal->quarantine, stored, 0);
    return copied;
}

/* -- slots --------------------------------------------------------------------------------------------------------- */

static void slot_free(dbi__slot *slot, bool forked) {
    if (slot == NULL)
        return;
    if (!forked) {
        dbi__fd_close(&slot->lock); /* last: the flock goes with it */
        dbi__fd_close(&slot->directory);
    }
    dbi_free(slot);
}

/* For people who look into the directory. */
static void slot_sign(const dbi__slot *slot) {
    char host[65] = "", text[160];
    int length;

    if (gethostname(host, sizeof host - 1) != 0)
        host[0] = '\0';
    length = snprintf(text, sizeof text, "pid %ld on %s since %lld us after 1970\n", (long)getpid(), host,
                      (long long)dbi_clock_wall_us());
    if (ftruncate(slot->lock, 0) == 0 && length > 0)
        (void)dbi__pwrite(slot->lock, text, (size_t)length, 0);
}

/* Opens and locks a slot. DBI_OK with *taken NULL: it is somebody else's, or (with `make` false) not there. */
static dbi_rc slot_take(dbi_journal *journal, uint32_t number, bool make, dbi__slot **taken, dbi_err *err) {
    dbi__slot *slot = dbi_calloc(1, sizeof *slot);
    dbi_rc rc = DBI_OK;

    *taken = NULL;
    if (slot == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a slot of the journal %s", journal->path);
    slot->number = number;
    slot->directory = slot->lock = -1;
    (void)snprintf(slot->name, sizeof slot->name, "slot-%04u", number);
    if (make)
        slot->directory = directory_open(journal->directory, slot->name);
    else
        slot->directory = dbi__fd_open(journal->directory, slot->name, O_RDONLY | O_DIRECTORY, 0);
    if (slot->directory < 0 && !make)
        goto done;
    if (slot->directory >= 0)
        slot->lock = dbi__fd_open(slot->directory, "lock", O_RDWR | O_CREAT, 0600);
    if (slot->lock < 0) {
        const char *rule = ": it must be a directory that is yours alone (mode 0700)";

        rc = dbi__journal_sys(err, errno, "cannot use %s/%s%s", journal->path, slot->name,
                              room_advice(errno) == NULL ? rule : "");
        goto done;
    }
    if (flock(slot->lock, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            rc = dbi__journal_sys(err, errno, "cannot lock %s/%s", journal->path, slot->name);
        goto done;
    }
    *taken = slot;
    slot = NULL;
done:
    slot_free(slot, false);
    return rc;
}

/* Frees the chains of a slot that is not to be used. journal.lock is held, or nobody else is there yet. */
static void slot_forget(dbi_journal *journal, const dbi__slot *slot) {
    size_t kept = 0;

    for (size_t i = 0; i < journal->chain_count; i++) {
        if (journal->chains[i]->slot == slot)
            dbi__chain_free(journal->chains[i]);
        else
            journal->chains[kept++] = journal->chains[i];
    }
    journal->chain_count = kept;
}

static dbi_rc journal_take_slot(dbi_journal *journal, dbi_err *err) {
    for (uint32_t number = 0; number < JOURNAL_SLOTS_MAX; number++) {
        dbi__slot *slot;
        dbi_err why;
        dbi_rc rc = slot_take(journal, number, true, &slot, err);

        if (rc != DBI_OK)
            return rc;
        if (slot == NULL)
            continue;
        slot->own = true;
        rc = dbi__slot_load(journal, slot, &why);
        if (rc == DBI_OK) {
            slot_sign(slot);
            journal->own = slot;
            return DBI_OK;
        }
        slot_forget(journal, slot);
        slot_free(slot, false);
        if (rc != DBI_EHELD) {
            if (err != NULL)
                *err = why;
            return rc;
        }
        dbi__journal_warn(journal, "%s", why.msg);
    }
    return dbi_err_set(err, DBI_EFULL, "all %u slots of the journal %s are in use", JOURNAL_SLOTS_MAX, journal->path);
}

/* -- opening and closing ------------------------------------------------------------------------------------------- */

void dbi_journal_defaults(dbi_journal_config *config) {
    *config = (dbi_journal_config){.max_bytes = UINT64_C(1) << 30,
                                   .segment_min = UINT64_C(1) << 20,
                                   .segment_max = UINT64_C(64) << 20,
                                   .keep_ns = 60 * DBI_NS_PER_S,
                                   .keep_bytes = UINT64_C(64) << 20};
}

static dbi_rc config_check(dbi_journal_config *config, dbi_err *err) {
    if (config->directory == NULL || config->directory[0] == '\0')
        return dbi_err_set(err, DBI_ECONFIG, "the journal needs a directory");
    if (config->segment_min < 16384 || config->segment_min > config->segment_max ||
        config->segment_max > UINT64_C(1) << 30)
        return dbi_err_set(err, DBI_ECONFIG,
                           "segment_min and segment_max must be 16 KiB to 1 GiB, and the first not above the second");
    config->segment_min = (config->segment_min + DBI__PAGE - 1) & ~(DBI__PAGE - 1);
    config->segment_max = config->segment_max & ~(DBI__PAGE - 1);
    if (config->segment_max < config->segment_min)
        config->segment_max = config->segment_min;
    if (config->max_bytes < 4 * config->segment_min)
        return dbi_err_set(err, DBI_ECONFIG, "max_bytes must be at least four times segment_min (%llu)",
                           (unsigned long long)config->segment_min);
    if (config->keep_ns < 0)
        return dbi_err_set(err, DBI_ECONFIG, "keep_ns must not be negative");
    return DBI_OK;
}

/* X(magic, name, what about it): REFUSED where a mapped file may not be what the disk has, or where a lock may be
 * nobody's; WARNED where an event does not outlive what people think it does, or where a write can meet a full disk. */
#define FILESYSTEM_MAP(X)                                                                                              \
    X(0x01021994, "tmpfs", WARNED, "is in memory: events do not survive a restart of the machine")                     \
    X(0x858458F6, "ramfs", WARNED, "is in memory: events do not survive a restart of the machine")                     \
    X(0x794C7630, "overlay", WARNED, "is a container's own layer: events do not survive the container")                \
    X(0x9123683E, "btrfs", WARNED, "writes copies: a full disk can end the process (SIGBUS)")                          \
    X(0x2FC12FC1, "zfs", WARNED, "writes copies: a full disk can end the process (SIGBUS)")                            \
    X(0x00006969, "nfs", REFUSED, "")                                                                                  \
    X(0x0000517B, "smb", REFUSED, "")                                                                                  \
    X(0xFF534D42, "cifs", REFUSED, "")                                                                                 \
    X(0xFE534D42, "smb2", REFUSED, "")                                                                                 \
    X(0x65735546, "fuse", REFUSED, "")                                                                                 \
    X(0x01021997, "9p", REFUSED, "")                                                                                   \
    X(0x00C36400, "ceph", REFUSED, "")                                                                                 \
    X(0x5346414F, "afs", REFUSED, "")                                                                                  \
    X(0x73757245, "coda", REFUSED, "")                                                                                 \
    X(0x0BD00BD0, "lustre", REFUSED, "")                                                                               \
    X(0x47504653, "gpfs", REFUSED, "")                                                                                 \
    X(0x7461636F, "ocfs2", REFUSED, "")                                                                                \
    X(0x01161970, "gfs2", REFUSED, "")

static dbi_rc journal_check_filesystem(dbi_journal *journal, dbi_err *err) {
    enum { WARNED, REFUSED };
    static const struct {
        uint32_t magic;
        const char *name;
        int what;
        const char *why;
    } known[] = {
#define FILESYSTEM_ROW(magic, name, what, why) {magic, name, what, why},
        FILESYSTEM_MAP(FILESYSTEM_ROW)
#undef FILESYSTEM_ROW
    };
    struct statfs found;

    if (dbi__journal_os_calls.filesystem(journal->directory, &found) != 0)
        return dbi__journal_sys(err, errno, "cannot look at the file system of %s", journal->path);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if ((uint32_t)found.f_type != known[i].magic)
            continue;
        if (known[i].what == REFUSED)
            return dbi_err_set(err, DBI_ECONFIG,
                               "the journal directory %s is on a network file system (%s), where events could be lost: "
                               "put it on a local disk",
                               journal->path, known[i].name);
        dbi__journal_warn(journal, "the file system of %s (%s) %s", journal->path, known[i].name, known[i].why);
    }
    return DBI_OK;
}

/* Makes the directory and those above it. */
static dbi_rc journal_make_directory(const dbi_journal *journal, dbi_err *err) {
    char *path = dbi_strdup(journal->path);
    dbi_rc rc = DBI_OK;

    if (path == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a path");
    for (char *at = path + 1;; at++) {
        char here = *at;

        if (here != '/' && here != '\0')
            continue;
        *at = '\0';
        if (mkdir(path, 0700) != 0) {
            int sys = errno; /* EEXIST, or for a directory that is there already EROFS, EACCES … */

            if (access(path, F_OK) != 0) {
                rc = dbi__journal_sys(err, sys, "cannot make the journal directory %s (at %s)", journal->path, path);
                break;
            }
        }
        *at = here;
        if (here == '\0')
            break;
    }
    dbi_free(path);
    return rc;
}

static dbi_rc journal_open_directory(dbi_journal *journal, dbi_err *err) {
    struct stat found;
    dbi_rc rc = journal_make_directory(journal, err);

    if (rc != DBI_OK)
        return rc;
    journal->directory = dbi__fd_open_followed(journal->path);
    if (journal->directory < 0 || fstat(journal->directory, &found) != 0)
        return dbi__journal_sys(err, errno, "cannot open the journal directory %s", journal->path);
    if (found.st_uid != geteuid())
        return dbi_err_set(err, DBI_ECONFIG,
                           "the journal directory %s belongs to user %lu, and this process runs as user %lu: give each "
                           "user a directory of its own",
                           journal->path, (unsigned long)found.st_uid, (unsigned long)geteuid());
    if ((found.st_mode & 022) != 0)
        return dbi_err_set(err, DBI_ECONFIG,
                           "the journal directory %s can be written by others (mode %04o): chmod go-w it",
                           journal->path, (unsigned)found.st_mode & 07777);
    return journal_check_filesystem(journal, err);
}

dbi_rc dbi_journal_open(dbi_journal **opened, const dbi_journal_config *config, dbi_err *err) {
    dbi_journal *journal = dbi_calloc(1, sizeof *journal);
    dbi_rc rc;

    *opened = NULL;
    if (journal == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a journal");
    dbi__fork_watch();
    journal->fork = dbi__fork_now();
    journal->config = *config;
    journal->directory = journal->quarantine = -1;
    (void)pthread_mutex_init(&journal->opening, NULL);
    (void)pthread_mutex_init(&journal->lock, NULL);
    (void)pthread_mutex_init(&journal->quarantine_lock, NULL);
    rc = config_check(&journal->config, err);
    if (rc != DBI_OK)
        goto done;
    journal->path = dbi_strdup(config->directory);
    journal->config.directory = journal->path;
    if (journal->path == NULL) {
        rc = dbi_err_set(err, DBI_ENOMEM, "no memory for a journal");
        goto done;
    }
    dbi__journal_os_calls.boot(journal->boot);
    rc = journal_open_directory(journal, err);
    if (rc == DBI_OK)
        rc = journal_take_slot(journal, err);
    if (rc != DBI_OK)
        goto done;
    *opened = journal;
    journal = NULL;
done:
    dbi_journal_free(journal);
    return rc;
}

void dbi_journal_free(dbi_journal *journal) {
    bool forked;

    if (journal == NULL)
        return;
    forked = journal->fork != dbi__fork_now();
    for (size_t i = 0; i < journal->chain_count; i++)
        dbi__chain_free(journal->chains[i]);
    dbi_free(journal->chains);
    for (size_t i = 0; i < journal->adopted_count; i++)
        slot_free(journal->adopted[i], forked);
    dbi_free(journal->adopted);
    for (size_t i = 0; i < journal->done_count; i++)
        slot_free(journal->done[i], forked);
    dbi_free(journal->done);
    dbi_free(journal->probed);
    slot_free(journal->own, forked);
    if (!forked) {
        dbi__fd_close(&journal->quarantine);
        dbi__fd_close(&journal->directory);
    }
    dbi_free(journal->path);
    (void)pthread_mutex_destroy(&journal->opening);
    (void)pthread_mutex_destroy(&journal->lock);
    (void)pthread_mutex_destroy(&journal->quarantine_lock);
    dbi_free(journal);
}

/* -- chains -------------------------------------------------------------------------------------------------------- */

dbi_rc dbi__journal_add(dbi_journal *journal, dbi_chain *chain, dbi_err *err) {
    if (journal->chain_count == journal->chain_capacity) {
        size_t capacity = journal->chain_capacity != 0 ? journal->chain_capacity * 2 : 8;
        dbi_chain **grown = dbi_realloc(journal->chains, capacity * sizeof *grown);

        if (grown == NULL)
            return dbi_err_set(err, DBI_ENOMEM, "no memory for the list of chains");
        journal->chains = grown;
        journal->chain_capacity = capacity;
    }
    journal->chains[journal->chain_count++] = chain;
    if (chain->slot != NULL && chain->slot->own)
        for (size_t i = 0; i < chain->segment_count; i++)
            atomic_fetch_add(&journal->bytes, chain->segments[i]->header.size);
    return DBI_OK;
}

/* The chain of this process that takes the stream's records. journal.lock is held. */
static dbi_chain *journal_find(const dbi_journal *journal, const dbi_chain_config *config) {
    bool memory = config->durability == DBI_DURABILITY_MEMORY;

    for (size_t i = journal->chain_count; i-- > 0;) {
        dbi_chain *chain = journal->chains[i];

        if (!chain->ended && !chain->gone && (chain->slot == NULL) == memory && (memory || chain->slot->own) &&
            chain->lane == config->lane && strcmp(chain->name, config->name) == 0)
            return chain;
    }
    return NULL;
}

dbi_rc dbi_journal_chain(dbi_journal *journal, const dbi_chain_config *config, dbi_chain **chain, dbi_err *err) {
    size_t length = config->name != NULL ? strnlen(config->name, DBI_CHAIN_NAME_MAX + 1) : 0;
    dbi_chain *found = NULL;
    uint8_t id[16];
    dbi_rc rc = DBI_OK;

    *chain = NULL;
    if (journal->fork != dbi__fork_now())
        return dbi__chain_forked(err);
    if (length == 0 || length > DBI_CHAIN_NAME_MAX)
        return dbi_err_set(err, DBI_EINVAL, "the name of a stream must have 1 to %u bytes", DBI_CHAIN_NAME_MAX);
    if (config->meta_length > DBI_CHAIN_META_MAX)
        return dbi_err_set(err, DBI_ETOOBIG, "stream \"%s\": %zu bytes of meta are more than %u", config->name,
                           config->meta_length, (unsigned)DBI_CHAIN_META_MAX);
    if ((unsigned)config->durability >= DBI_DURABILITY_COUNT)
        return dbi_err_set(err, DBI_EINVAL, "%d is no durability", (int)config->durability);
    dbi__lock(&journal->opening);
    dbi__lock(&journal->lock);
    found = journal_find(journal, config);
    dbi__unlock(&journal->lock);
    if (found == NULL) {
        dbi__slot *slot = config->durability == DBI_DURABILITY_MEMORY ? NULL : journal->own;

        rc = dbi__random(id, sizeof id, err);
        if (rc == DBI_OK)
            rc = dbi__chain_new(&found, journal, slot, id, config->name, config->lane, err);
        if (rc != DBI_OK)
            goto done;
        dbi__lock(&journal->lock);
        rc = dbi__journal_add(journal, found, err);
        dbi__unlock(&journal->lock);
        if (rc != DBI_OK) {
            dbi__chain_free(found);
            goto done;
        }
    }
    dbi__lock(&found->maker);
    rc = dbi__chain_configure(found, config, err);
    dbi__unlock(&found->maker);
    if (rc == DBI_OK)
        *chain = found;
done:
    dbi__unlock(&journal->opening);
    return rc;
}

size_t dbi_journal_chains(dbi_journal *journal, dbi_chain **chains, size_t capacity) {
    size_t count = 0;

    if (journal->fork != dbi__fork_now())
        return 0;
    dbi__lock(&journal->lock);
    for (size_t i = 0; i < journal->chain_count; i++) {
        if (journal->chains[i]->gone)
            continue;
        if (count < capacity)
            chains[count] = journal->chains[i];
        count++;
    }
    dbi__unlock(&journal->lock);
    return count;
}

/* -- the keeper's round -------------------------------------------------------------------------------------------- */

/* Whether an ended chain has landed, by the ledger's word, and been kept long enough: nothing is left of it but its
 * newest segment. */
static bool chain_is_over(const dbi_chain *chain, int64_t now) {
    const dbi__segment *left = chain->segment_count > 0 ? chain->segments[0] : NULL;

    return !chain->reader_busy && chain->segment_count <= 1 &&
           (left == NULL || (left->landed_at != 0 && now - left->landed_at >= chain->journal->config.keep_ns));
}

/* Whether an adopted chain may be given back: nothing is left to ship, and nothing is kept for the ledger to lose. */
static bool chain_is_idle(const dbi_chain *chain, int64_t now) {
    uint64_t last = dbi_chain_last(chain), landed = chain->state.landed;

    landed = landed > chain->met ? landed : chain->met;
    landed = landed > chain->state.base ? landed : chain->state.base;
    if (chain->reader_busy || last > landed)
        return false;
    for (size_t i = 0; i < chain->segment_count; i++)
        if (chain->segments[i]->landed_at != 0 &&
            now - chain->segments[i]->landed_at < chain->journal->config.keep_ns)
            return false;
    return true;
}

/* The last segment of an ended chain goes; its counts pass to the chain that came after it. What counted something and
 * has no successor stays on disk. journal.lock and chain.lock are held. */
static void chain_finish(dbi_journal *journal, dbi_chain *chain) {
    const dbi_chain_config like = {.name = chain->name, .lane = chain->lane, .durability = DBI_DURABILITY_PROCESS};
    dbi_chain *successor = chain->slot->own ? journal_find(journal, &like) : NULL;
    bool counted = false;

    for (unsigned i = 0; i < DBI_CHAIN_COUNTER_COUNT; i++) {
        uint64_t count = dbi_chain_counted(chain, (dbi_chain_counter)i);

        counted = counted || count != 0;
        if (successor != NULL && count != 0) {
            dbi__lock(&successor->lock);
            successor->before[i] += count; /* who counted it has told of it */
            dbi_chain_count(successor, (dbi_chain_counter)i, count);
            dbi__unlock(&successor->lock);
        }
    }
    if (chain->segment_count > 0 && (successor != NULL || !counted))
        dbi__chain_remove(chain, 0);
    chain->gone = true;
    dbi__chain_let_go(chain);
}

/* Ended chains of the own slot that are over leave. */
static bool journal_finish_ended(dbi_journal *journal, int64_t now) {
    bool changed = false;

    dbi__lock(&journal->lock);
    for (size_t i = 0; i < journal->chain_count; i++) {
        dbi_chain *chain = journal->chains[i];

        if (!chain->ended || chain->gone || !chain->slot->own)
            continue;
        dbi__lock(&chain->lock);
        if (chain_is_over(chain, now)) {
            chain_finish(journal, chain);
            changed = true;
        }
        dbi__unlock(&chain->lock);
    }
    dbi__unlock(&journal->lock);
    return changed;
}

/* Gives back the adopted slots that are drained. Their chains stay as memory, for a shipper may still hold them. */
static bool journal_give_back(dbi_journal *journal, int64_t now) {
    bool changed = false;

    dbi__lock(&journal->lock);
    for (size_t s = 0; s < journal->adopted_count; s++) {
        dbi__slot *slot = journal->adopted[s];
        bool over = true;

        for (size_t i = 0; i < journal->chain_count && over; i++) {
            dbi_chain *chain = journal->chains[i];

            if (chain->slot != slot)
                continue;
            dbi__lock(&chain->lock);
            over = chain_is_idle(chain, now);
            dbi__unlock(&chain->lock);
        }
        if (!over)
            continue;
        for (size_t i = 0; i < journal->chain_count; i++) {
            dbi_chain *chain = journal->chains[i];

            if (chain->slot != slot)
                continue;
            dbi__lock(&chain->lock);
            if (chain->ended && chain_is_over(chain, now)) {
                chain_finish(journal, chain);
            } else {
                chain->gone = true;
                dbi__chain_let_go(chain);
            }
            dbi__unlock(&chain->lock);
        }
        dbi__fd_close(&slot->lock);
        dbi__fd_close(&slot->directory);
        journal->adopted[s--] = journal->adopted[--journal->adopted_count];
        journal->done[journal->done_count++] = slot; /* room was made when it was adopted */
        changed = true;
    }
    dbi__unlock(&journal->lock);
    return changed;
}

static dbi_rc journal_round(dbi_journal *journal, bool *changed, dbi_err *err) {
    uint64_t kept = 0;
    struct stat found;
    bool other = false;
    dbi_rc rc = DBI_OK;
    int64_t now;

    for (size_t i = 0;; i++) {
        dbi_chain *chain = NULL;
        dbi_err why;
        dbi_rc one;

        dbi__lock(&journal->lock);
        if (i < journal->chain_count)
            chain = journal->chains[i];
        dbi__unlock(&journal->lock);
        if (chain == NULL)
            break;
        one = dbi__chain_tend(chain, &kept, &why);
        if (one != DBI_OK && rc == DBI_OK) {
            rc = one;
            *err = why;
        }
    }
    while (kept > journal->config.keep_bytes) {
        uint64_t before = atomic_load(&journal->bytes), after;

        if (!dbi__journal_release_kept(journal))
            break;
        after = atomic_load(&journal->bytes);
        kept -= before > after && before - after < kept ? before - after : kept;
    }
    now = dbi_clock_now(&journal->config.clock);
    other = journal_finish_ended(journal, now);
    other = journal_give_back(journal, now) || other;
    *changed = other;
    if (fstat(journal->own->directory, &found) == 0 && found.st_nlink == 0)
        return dbi_err_set(err, DBI_ESYS,
                           "the journal directory %s/%s was deleted under the process: what had not landed is lost but "
                           "for the newest events; restart the process",
                           journal->path, journal->own->name);
    return rc;
}

dbi_rc dbi_journal_tend(dbi_journal *journal, bool *changed, dbi_err *err) {
    bool ignored;
    dbi_err why;
    dbi_rc rc;

    if (changed == NULL)
        changed = &ignored;
    *changed = false;
    if (journal->fork != dbi__fork_now())
        return dbi__chain_forked(err);
    dbi_err_reset(&why);
    rc = journal_round(journal, changed, &why);
    dbi__lock(&journal->lock);
    (void)snprintf(journal->error, sizeof journal->error, "%s", rc != DBI_OK ? why.msg : "");
    dbi__unlock(&journal->lock);
    if (rc != DBI_OK && err != NULL)
        *err = why;
    return rc;
}

/* -- adoption ------------------------------------------------------------------------------------------------------ */

static bool slot_is_ours(const dbi_journal *journal, uint32_t number) {
    if (journal->own->number == number)
        return true;
    for (size_t i = 0; i < journal->adopted_count; i++)
        if (journal->adopted[i]->number == number)
            return true;
    return false;
}

/* Whether a chain of the slot holds records that were not seen to land, or damage that nobody has told of yet. */
static bool slot_holds(const dbi_journal *journal, const dbi__slot *slot) {
    for (size_t i = 0; i < journal->chain_count; i++) {
        const dbi_chain *chain = journal->chains[i];

        if (chain->slot == slot && (chain->found > 0 || (dbi_chain_last(chain) > chain->state.landed &&
                                                         dbi_chain_last(chain) > chain->state.base)))
            return true;
    }
    return false;
}

/* A number that changes when a process makes or removes a segment in the slot; 0 = there is no such slot. *fresh: it
 * changed so recently that the next change may show the same time. */
static uint64_t slot_stamp(const dbi_journal *journal, uint32_t number, bool *fresh) {
    struct stat found;
    char name[16];

    (void)snprintf(name, sizeof name, "slot-%04u", number);
    if (fstatat(journal->directory, name, &found, AT_SYMLINK_NOFOLLOW) != 0)
        return 0;
    *fresh = dbi_clock_wall_us() / 1000000 - found.st_mtim.tv_sec < 2;
    return ((uint64_t)found.st_mtim.tv_sec * DBI_NS_PER_S + (uint64_t)found.st_mtim.tv_nsec) ^
           (uint64_t)found.st_ino << 32 ^ 1;
}

/* Remembers that there was nothing to adopt in the slot as it is now: it is not looked into again until it changes. */
static void slot_probed(dbi_journal *journal, uint32_t number) {
    bool fresh = false;
    uint64_t stamp = slot_stamp(journal, number, &fresh);

    if (fresh)
        return;
    if (number >= journal->probed_count) {
        uint64_t *grown = dbi_realloc(journal->probed, (number + 1) * sizeof *grown);

        if (grown == NULL)
            return;
        memset(grown + journal->probed_count, 0, (number + 1 - journal->probed_count) * sizeof *grown);
        journal->probed = grown;
        journal->probed_count = number + 1;
    }
    journal->probed[number] = stamp;
}

static bool journal_room_for_slot(dbi_journal *journal) {
    size_t count = journal->adopted_count + journal->done_count;
    dbi__slot **grown;

    if (count < journal->adopted_capacity)
        return true;
    count = count * 2 + 4;
    grown = dbi_realloc(journal->adopted, count * sizeof *grown);
    if (grown == NULL)
        return false;
    journal->adopted = grown;
    grown = dbi_realloc(journal->done, count * sizeof *grown);
    if (grown == NULL)
        return false;
    journal->done = grown;
    journal->adopted_capacity = count;
    return true;
}

dbi_rc dbi_journal_adopt(dbi_journal *journal, bool *found, dbi_err *err) {
    dbi_rc rc = DBI_OK;

    *found = false;
    if (journal->fork != dbi__fork_now())
        return dbi__chain_forked(err);
    dbi__lock(&journal->lock);
    if (!journal_room_for_slot(journal)) {
        rc = dbi_err_set(err, DBI_ENOMEM, "no memory for adopting a slot of the journal");
        goto done;
    }
    for (uint32_t number = 0; number < JOURNAL_SLOTS_MAX && !*found && rc == DBI_OK; number++) {
        uint64_t stamp;
        dbi__slot *slot;
        dbi_err why;
        bool fresh;

        if (slot_is_ours(journal, number))
            continue;
        stamp = slot_stamp(journal, number, &fresh);
        if (stamp == 0)
            break; /* slots are made from the lowest on: there are no more */
        if (number < journal->probed_count && journal->probed[number] == stamp)
            continue;
        rc = slot_take(journal, number, false, &slot, err);
        if (slot == NULL)
            continue;
        rc = dbi__slot_load(journal, slot, &why);
        if (rc == DBI_OK && slot_holds(journal, slot)) {
            slot_sign(slot);
            journal->adopted[journal->adopted_count++] = slot;
            *found = true;
            break;
        }
        slot_forget(journal, slot);
        if (rc == DBI_EHELD)
            rc = DBI_OK; /* a newer format: somebody else's */
        if (rc == DBI_OK)
            slot_probed(journal, number); /* under its lock */
        slot_free(slot, false);
        if (rc != DBI_OK && err != NULL)
            *err = why;
    }
done:
    dbi__unlock(&journal->lock);
    return rc;
}

void dbi_journal_view_get(dbi_journal *journal, dbi_journal_view *view) {
    memset(view, 0, sizeof *view);
    view->directory = journal->path;
    view->max_bytes = journal->config.max_bytes;
    if (journal->fork != dbi__fork_now())
        return;
    dbi__lock(&journal->lock);
    view->slot = journal->own->number;
    view->adopted = (uint32_t)journal->adopted_count;
    for (size_t i = 0; i < journal->chain_count; i++)
        view->chains += !journal->chains[i]->gone;
    view->bytes = atomic_load(&journal->bytes);
    view->quarantined = atomic_load(&journal->quarantined);
    memcpy(view->error, journal->error, sizeof view->error);
    memcpy(view->warning, journal->warning, sizeof view->warning);
    dbi__unlock(&journal->lock);
}
