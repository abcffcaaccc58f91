/* chain_load.c - the chains of a slot, as they are found on disk (journal.h says how replay decides)
 *
 * All headers are read before anything is changed, for a segment of a newer format means hands off. Of the records only
 * those are looked at that nothing else vouches for: in the newest segment of each chain, and in front of a gap. The
 * rest is checked when it is read.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc.h"
#include "journal_int.h"

#define LOAD_WINDOW (UINT64_C(1) << 20)

typedef struct load_file {
    char name[DBI__FILE_NAME];
    enum { FILE_SEGMENT, FILE_SPARE, FILE_BAD } kind;
    const char *why;
    dbi__segment *segment;
} load_file;

typedef struct load_list {
    load_file *files;
    size_t count, capacity;
} load_list;

static bool name_fits(const char *name, const char *ending) {
    for (unsigned i = 0; i < 49; i++) {
        bool digit = (name[i] >= '0' && name[i] <= '9') || (name[i] >= 'a' && name[i] <= 'f');

        if (i == 32 ? name[i] != '.' : !digit)
            return false;
    }
    return strcmp(name + 49, ending) == 0;
}

/* -- one file ------------------------------------------------------------------------------------------------------ */

/* A trustworthy offset among those of a header. */
static bool offset_fits(const dbi__segment *segment, uint64_t offset) {
    return offset >= segment->header.records_at && offset <= segment->header.size && offset % 8 == 0;
}

static void segment_judge(dbi_journal *journal, dbi__segment *segment, uint64_t file_size) {
    static const uint8_t unknown[16];
    const dbi__header *header = &segment->header;

    segment->same_boot = memcmp(header->boot, journal->boot, 16) == 0 && memcmp(header->boot, unknown, 16) != 0;
    segment->fd = -1;
    segment->listed = true;
    segment->end = (header->size < file_size ? header->size : file_size) & ~UINT64_C(7);
    segment->synced = offset_fits(segment, header->synced) ? header->synced : header->records_at;
    segment->trusted = segment->synced;
    if (segment->same_boot && offset_fits(segment, header->published))
        segment->trusted = header->published;
    atomic_init(&segment->first, header->first);
    atomic_init(&segment->last, header->first - 1);
}

static dbi_rc file_read(dbi_journal *journal, const dbi__slot *slot, load_file *file, dbi_err *err) {
    char expected[DBI__FILE_NAME];
    uint8_t *bytes = NULL, record[DBI__RECORD_HEADER] = {0};
    static const uint8_t zeros[DBI__RECORD_HEADER];
    dbi__header_kind kind;
    size_t length, meta;
    struct stat found;
    dbi_rc rc = DBI_OK;
    int fd = dbi__fd_open(slot->directory, file->name, O_RDONLY | O_NONBLOCK, 0);

    file->kind = FILE_BAD;
    file->why = "it is no regular file";
    if (fd < 0 && errno != ELOOP && errno != ENXIO) {
        rc = dbi__journal_sys(err, errno, "cannot open journal segment %s/%s/%s", journal->path, slot->name,
                              file->name);
        goto done;
    }
    if (fd < 0 || fstat(fd, &found) != 0 || !S_ISREG(found.st_mode))
        goto done;
    file->segment = dbi_calloc(1, sizeof *file->segment);
    bytes = dbi_malloc(DBI__SEGMENT_META);
    if (file->segment == NULL || bytes == NULL) {
        rc = dbi_err_set(err, DBI_ENOMEM, "no memory for the segments of the journal %s", journal->path);
        goto done;
    }
    length = dbi__pread(fd, bytes, DBI__SEGMENT_META, 0);
    meta = length == DBI__SEGMENT_META ? dbi__header_meta(bytes) : 0;
    if (meta > 0) {
        uint8_t *grown = dbi_realloc(bytes, DBI__SEGMENT_META + meta);

        if (grown == NULL) {
            rc = dbi_err_set(err, DBI_ENOMEM, "no memory for the segments of the journal %s", journal->path);
            goto done;
        }
        bytes = grown;
        length += dbi__pread(fd, bytes + length, meta, length);
    }
    kind = dbi__header_parse(bytes, length, &file->segment->header, &file->why);
    if (kind == DBI__HEADER_NEWER) {
        rc = dbi_err_set(err, DBI_EHELD,
                         "%s/%s/%s has a newer format than this version of dbint reads: the slot is left alone, its "
                         "events wait for a newer dbint",
                         journal->path, slot->name, file->name);
        goto done;
    }
    if (kind == DBI__HEADER_BAD)
        goto done;
    dbi__segment_name(file->segment->header.id, file->segment->header.number, ".seg", expected);
    if (strcmp(expected, file->name) != 0) {
        file->why = "its header belongs to another name";
        goto done;
    }
    segment_judge(journal, file->segment, (uint64_t)found.st_size);
    if (file->segment->header.first != 0) {
        file->kind = FILE_SEGMENT;
        goto done;
    }
    (void)dbi__pread(fd, record, sizeof record, file->segment->header.records_at);
    if (file->segment->header.published <= file->segment->header.records_at &&
        memcmp(record, zeros, sizeof zeros) == 0)
        file->kind = FILE_SPARE;
    else
        file->why = "its header says that it is not in use, and it holds records";
done:
    dbi_free(bytes);
    dbi__fd_close(&fd);
    return rc;
}

static dbi_rc list_read(dbi_journal *journal, const dbi__slot *slot, load_list *list, dbi_err *err) {
    int fd = openat(slot->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;
    dbi_rc rc = DBI_OK;

    if (directory == NULL) {
        rc = dbi__journal_sys(err, errno, "cannot list %s/%s", journal->path, slot->name);
        if (fd >= 0)
            (void)close(fd);
        return rc;
    }
    while (rc == DBI_OK && (entry = readdir(directory)) != NULL) {
        load_file *file;

        if (!name_fits(entry->d_name, ".seg"))
            continue;
        if (list->count == list->capacity) {
            size_t capacity = list->capacity != 0 ? list->capacity * 2 : 16;
            load_file *grown = dbi_realloc(list->files, capacity * sizeof *grown);

            if (grown == NULL) {
                rc = dbi_err_set(err, DBI_ENOMEM, "no memory for the segments of the journal %s", journal->path);
                break;
            }
            list->files = grown;
            list->capacity = capacity;
        }
        file = &list->files[list->count++];
        memset(file, 0, sizeof *file);
        memcpy(file->name, entry->d_name, strlen(entry->d_name) + 1);
        rc = file_read(journal, slot, file, err);
    }
    (void)closedir(directory);
    return rc;
}

static void list_free(load_list *list) {
    for (size_t i = 0; i < list->count; i++)
        dbi__segment_free(list->files[i].segment, false);
    dbi_free(list->files);
}

/* What was left half-made. */
static void slot_sweep(const dbi__slot *slot) {
    int fd = openat(slot->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;

    if (directory == NULL) {
        if (fd >= 0)
            (void)close(fd);
        return;
    }
    while ((entry = readdir(directory)) != NULL)
        if (name_fits(entry->d_name, ".tmp"))
            (void)unlinkat(slot->directory, entry->d_name, 0);
    (void)closedir(directory);
}

/* -- records that nothing vouches for ------------------------------------------------------------------------------ */

typedef struct load_window {
    int fd;
    uint8_t *bytes;
    uint64_t at, length, capacity;
} load_window;

/* The record at `offset`, checked; LOAD_WINDOW bytes or one record are at hand at a time. */
static dbi_rc window_check(load_window *window, uint64_t offset, uint64_t limit, uint64_t salt, uint64_t sequence,
                           dbi__record_kind *kind, dbi__found *found, dbi_err *err) {
    uint64_t want = DBI__RECORD_HEADER;

    for (;;) {
        uint64_t available;

        if (offset < window->at || offset + want > window->at + window->length) {
            uint64_t length = want > LOAD_WINDOW ? want : LOAD_WINDOW;

            length = length < limit - offset ? length : limit - offset;
            if (length > window->capacity) {
                uint8_t *grown = dbi_realloc(window->bytes, length);

                if (grown == NULL)
                    return dbi_err_set(err, DBI_ENOMEM, "no memory for reading a journal segment");
                window->bytes = grown;
                window->capacity = length;
            }
            window->at = offset;
            window->length = dbi__pread(window->fd, window->bytes, length, offset);
        }
        available = window->at + window->length - offset;
        *kind = dbi__record_check(window->bytes + (offset - window->at), available, limit - offset, salt, sequence,
                                  found);
        if (*kind != DBI__RECORD_SHORT)
            return DBI_OK;
        if (found->size <= available || want == found->size) { /* the file, or the disk, does not give more */
            *kind = DBI__RECORD_BAD;
            return DBI_OK;
        }
        want = found->size;
    }
}

/* The sequence of the last record that was published, as the header says; 0 = it cannot tell. */
static uint64_t segment_told(const dbi__segment *segment) {
    const dbi__header *was = &segment->header;

    return segment->same_boot && offset_fits(segment, was->published) && was->last >= was->first &&
                   was->last - was->first < (was->published - was->records_at) / DBI__RECORD_HEADER
               ? was->last
               : 0;
}

/* How many records there seem to have been in [offset, limit): at least one. */
static uint64_t tail_count(load_window *window, uint64_t offset, uint64_t limit, uint64_t sequence) {
    uint64_t count = 0;
    uint8_t header[DBI__RECORD_HEADER];

    while (offset + DBI__RECORD_HEADER <= limit &&
           dbi__pread(window->fd, header, sizeof header, offset) == sizeof header &&
           dbi__get32le(header + 8) == (uint32_t)(sequence + count) &&
           dbi__get32le(header + 12) - 1 < DBI_RECORD_KAFKA) {
        offset += dbi__record_size(dbi__get32le(header));
        count++;
    }
    return count != 0 ? count : 1;
}

static bool tail_is_empty(load_window *window, uint64_t offset, uint64_t limit) {
    uint8_t bytes[4096];

    while (offset < limit) {
        size_t length = limit - offset < sizeof bytes ? (size_t)(limit - offset) : sizeof bytes;
        size_t got = dbi__pread(window->fd, bytes, length, offset);

        for (size_t i = 0; i < got; i++)
            if (bytes[i] != 0)
                return false;
        if (got < length)
            return true;
        offset += length;
    }
    return true;
}

/* Finds the end of the records of a segment whose highest possible sequence is `most`. What cannot be read there is set
 * aside, and *cut says so; single damaged records with whole ones behind them are left to the reader. */
static dbi_rc segment_scan(dbi_chain *chain, dbi__segment *segment, uint64_t most, bool *cut, dbi_err *err) {
    uint64_t offset = segment->header.records_at, limit = segment->end, salt = segment->header.salt;
    uint64_t sequence = segment->header.first, through, told = segment_told(segment);
    load_window window = {.fd = -1};
    dbi__record_kind kind = DBI__RECORD_WHOLE;
    char name[DBI__FILE_NAME];
    dbi__found found;
    dbi_rc rc = DBI_OK;
    bool whole;

    dbi__segment_name(chain->id, segment->header.number, ".seg", name);
    limit = limit > offset ? limit : offset; /* less is left of a file that was cut in its header */
    window.fd = dbi__fd_open(chain->slot->directory, name, O_RDONLY, 0);
    if (window.fd < 0) {
        rc = dbi__journal_sys(err, errno, "cannot open journal segment %s/%s/%s", chain->journal->path,
                              chain->slot->name, name);
        goto done;
    }
    while (offset + DBI__RECORD_HEADER <= limit && sequence <= most) {
        rc = window_check(&window, offset, limit, salt, sequence, &kind, &found, err);
        if (rc != DBI_OK)
            goto done;
        if (kind == DBI__RECORD_WHOLE && found.kind == DBI__RECORD_VOID)
            (void)dbi__segment_void(segment, sequence, found.through, 0);
        if (kind != DBI__RECORD_WHOLE) {
            uint64_t after = offset + found.size;

            if (offset >= segment->trusted || after + DBI__RECORD_HEADER > limit)
                break;
            rc = window_check(&window, after, limit, salt, sequence + 1, &kind, &found, err);
            if (rc != DBI_OK)
                goto done;
            if (kind != DBI__RECORD_WHOLE)
                break;
            offset = after;
            sequence++;
            continue; /* with this next one */
        }
        offset += found.size;
        sequence = found.through + 1;
    }
    whole = kind == DBI__RECORD_WHOLE; /* so there is room for no other, or there are to be no more */
    if (sequence > most || (whole && told < sequence) ||
        (offset >= segment->trusted && (whole || segment->same_boot || tail_is_empty(&window, offset, limit)))) {
        segment->end = offset;
        atomic_store(&segment->last, sequence - 1);
        goto done;
    }
    *cut = true;
    through = told >= sequence ? told : sequence + tail_count(&window, offset, limit, sequence) - 1;
    through = through < most ? through : most;
    if (dbi__chain_unexplained(chain, sequence, through) == 0) { /* found before, where there was no room for a void */
        segment->end = offset;
        atomic_store(&segment->last, sequence - 1);
        goto done;
    }
    atomic_store(&segment->last, through);
    if (!dbi__chain_set_aside(chain, segment, offset, limit, sequence, through,
                              offset < segment->trusted ? "records that had been written whole are damaged"
                                                        : "the end was not on disk yet when the machine went down"))
        segment->end = offset;
done:
    dbi_free(window.bytes);
    dbi__fd_close(&window.fd);
    return rc;
}

bool dbi__chain_set_aside(dbi_chain *chain, dbi__segment *segment, uint64_t offset, uint64_t end, uint64_t sequence,
                          uint64_t through, const char *why) {
    uint64_t size = end - offset;
    bool fits = size >= DBI__RECORD_HEADER + (through == sequence ? 0 : 8), written = false;
    char name[DBI__FILE_NAME];
    uint8_t bytes[24];
    int fd = -1;

    dbi__segment_name(chain->id, segment->header.number, ".seg", name);
    if (chain->slot != NULL) {
        fd = dbi__fd_open(chain->slot->directory, name, O_RDWR, 0);
        if (fd < 0 || (size > 0 && !dbi__quarantine_part(chain->journal, chain->slot, name, fd, offset, end, why)))
            segment->evidence = true;
    }
    if (fits) {
        size_t length = dbi__void_format(bytes, size, segment->header.salt, sequence, through);

        if (segment->map != NULL) {
            memcpy(segment->map + offset, bytes, length);
            written = true;
        } else {
            written = fd >= 0 && dbi__pwrite(fd, bytes, length, offset);
        }
    }
    if (!written) { /* then what is missing is noted in the chain, and the segment ends here */
        dbi__chain_set_missing(chain, sequence, through);
        if (atomic_load(&segment->last) != DBI__SEGMENT_OPEN)
            atomic_store(&segment->last, sequence - 1);
    }
    dbi_chain_count(chain, DBI_CHAIN_DAMAGED, dbi__segment_void(segment, sequence, through, dbi__chain_landed(chain)));
    dbi__fd_close(&fd);
    return written;
}

/* -- chains -------------------------------------------------------------------------------------------------------- */

static int file_compare(const void *left, const void *right) {
    return strcmp(((const load_file *)left)->name, ((const load_file *)right)->name); /* by chain, then by number */
}

dbi_rc dbi__chain_map_head(const dbi_chain *chain, const dbi__segment *segment, uint8_t **page, dbi_err *err) {
    char name[DBI__FILE_NAME];
    void *map = MAP_FAILED;
    int fd, sys;

    dbi__segment_name(chain->id, segment->header.number, ".seg", name);
    fd = dbi__fd_open(chain->slot->directory, name, O_RDWR, 0);
    if (fd >= 0)
        map = dbi__journal_os_calls.map(DBI__PAGE, fd);
    sys = errno;
    dbi__fd_close(&fd);
    if (map == MAP_FAILED)
        return dbi__journal_sys(err, sys, "cannot map journal segment %s/%s/%s", chain->journal->path,
                                chain->slot->name, name);
    (void)madvise(map, DBI__PAGE, MADV_DONTFORK);
    *page = map;
    return DBI_OK;
}

/* Maps the page that the chain's state is in, and takes the state from it. */
static dbi_rc chain_take_state(dbi_chain *chain, const dbi__segment *newest, dbi_err *err) {
    dbi_rc rc = dbi__chain_map_head(chain, newest, &chain->head_map, err);

    if (rc != DBI_OK)
        return rc;
    chain->head = chain->head_map;
    chain->head_salt = newest->header.salt;
    chain->state = newest->header.state;
    for (unsigned i = 0; i < DBI__COUNTERS; i++)
        atomic_init(&chain->counters[i], chain->state.counters[i]);
    return DBI_OK;
}

/* The chain of `count` files that are sorted by number and are of one id; takes their segments. */
static dbi_rc chain_load(dbi_journal *journal, dbi__slot *slot, load_file *files, size_t count, dbi_err *err) {
    dbi__segment *newest = files[count - 1].segment;
    uint64_t size = newest->header.size;
    dbi_chain *chain = NULL;
    bool cut = false;
    const char *why = NULL;
    uint64_t last;
    dbi_rc rc;

    rc = dbi__chain_new(&chain, journal, slot, newest->header.id, newest->header.name, newest->header.lane, err);
    if (rc != DBI_OK)
        return rc;
    chain->durability = newest->header.durability;
    chain->segments = dbi_calloc(count, sizeof *chain->segments);
    if (chain->segments == NULL) {
        rc = dbi_err_set(err, DBI_ENOMEM, "no memory for the list of journal segments");
        goto done;
    }
    chain->segment_capacity = count;
    rc = chain_take_state(chain, newest, err);
    if (rc != DBI_OK)
        goto done;
    for (unsigned i = 0; i < DBI__COUNTERS; i++)
        chain->before[i] = dbi_chain_counted(chain, (dbi_chain_counter)i);
    if (newest->end < size)
        why = "its newest segment is shorter than it was made";
    else if (chain->state.mark == DBI__STATE_SEALED)
        why = "a segment that followed is gone";
    else if (chain->state.mark != 0)
        why = "it was ended before";
    else if (!newest->same_boot)
        why = "the machine has been started anew since";
    for (size_t i = 0; i < count; i++) {
        dbi__segment *segment = files[i].segment, *next = i + 1 < count ? files[i + 1].segment : NULL;
        uint64_t most = next != NULL ? next->header.first - 1 : DBI__SEQUENCE_MAX;
        bool ignored = false;

        files[i].segment = NULL;
        chain->segments[chain->segment_count++] = segment;
        if (most < segment->header.first)
            continue; /* nothing in it */
        atomic_store(&segment->last, most);
        if (next != NULL && next->header.number == segment->header.number + 1)
            continue;
        rc = segment_scan(chain, segment, most, next == NULL ? &cut : &ignored, err);
        if (rc != DBI_OK)
            goto done;
    }
    last = atomic_load(&newest->last);
    chain->opened = last;
    chain->next = last + 1;
    atomic_store(&chain->last, last);
    chain->next_number = newest->header.number + 1;
    if (chain->state.landed > last)
        chain->state.landed = last;
    if (chain->state.unmet == 0 || chain->state.unmet > last)
        chain->state.unmet = last + 1;
    chain->found = dbi__chain_held(chain) + dbi_chain_counted(chain, DBI_CHAIN_DAMAGED) -
                   chain->before[DBI_CHAIN_DAMAGED];
    if (cut)
        why = "its end could not be read";
    if (why != NULL)
        dbi__chain_set_ended(chain);
    if (chain->state.mark == DBI__STATE_SEALED)
        dbi__journal_warn(journal, "of the events of \"%s\" in %s/%s the newest segments are gone, nobody knows how "
                                   "many events they held; new ones go to a new chain", chain->name, journal->path,
                          slot->name);
    rc = dbi__journal_add(journal, chain, err);
    if (rc == DBI_OK)
        chain = NULL;
done:
    dbi__chain_free(chain);
    return rc;
}

dbi_rc dbi__slot_load(dbi_journal *journal, dbi__slot *slot, dbi_err *err) {
    load_list list = {0};
    size_t kept = 0;
    dbi_rc rc = list_read(journal, slot, &list, err);

    if (rc != DBI_OK)
        goto done;
    slot_sweep(slot);
    for (size_t i = 0; i < list.count; i++) {
        load_file *file = &list.files[i];

        if (file->kind == FILE_SEGMENT) {
            list.files[kept] = *file;
            if (kept++ != i)
                file->segment = NULL;
            continue;
        }
        if (file->kind == FILE_SPARE)
            (void)unlinkat(slot->directory, file->name, 0);
        else
            (void)dbi__quarantine_file(journal, slot, file->name, file->why);
        dbi__segment_free(file->segment, false);
        file->segment = NULL;
    }
    list.count = kept;
    if (kept > 0)
        qsort(list.files, kept, sizeof *list.files, file_compare);
    for (size_t from = 0, to; from < kept; from = to) {
        for (to = from + 1; to < kept && memcmp(list.files[from].name, list.files[to].name, 32) == 0;)
            to++;
        rc = chain_load(journal, slot, list.files + from, to - from, err);
        if (rc != DBI_OK)
            goto done;
    }
done:
    list_free(&list);
    return rc;
}
