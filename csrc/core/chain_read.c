/* chain_read.c - reading a chain, for the one shipper that ships it (see journal.h)
 *
 * The reader looks up its segment under the chain's lock, pins it, and reads the file without any lock. Records are
 * handed out as they lie in the file, header and all: nothing is copied after pread.
 */
#include <errno.h>
#include <fcntl.h>

#include "alloc.h"
#include "fork_int.h"
#include "journal_int.h"

#define READ_SKIP (UINT64_C(1) << 18)  /* bytes at a time while looking for the first record wanted */
#define READ_PIECE (UINT64_C(1) << 18) /* bytes at a time otherwise: checked while they are in the cache */

/* The segment that is read, as it was when it was pinned. */
typedef struct read_source {
    uint64_t number, salt, limit, last, first, records_at;
    size_t meta_length;
    uint32_t incarnation;
    const uint8_t *memory; /* of a chain in memory */
    bool active;
} read_source;

static dbi_rc read_no_memory(dbi_err *err) {
    return dbi_err_set(err, DBI_ENOMEM, "no memory for reading the journal");
}

static bool records_reserve(dbi_records *records, uint64_t capacity) {
    uint8_t *grown;

    if (capacity <= records->capacity)
        return true;
    grown = dbi_realloc(records->bytes, capacity);
    if (grown == NULL)
        return false;
    records->bytes = grown;
    records->capacity = capacity;
    return true;
}

/* Reads up to `length` bytes at `offset`: how many there are. */
static size_t source_read(const dbi__reader *reader, const read_source *source, void *bytes, uint64_t offset,
                          size_t length) {
    if (source->memory == NULL)
        return dbi__pread(reader->fd, bytes, length, offset);
    memcpy(bytes, source->memory + offset, length);
    return length;
}

/* Opens the pinned segment, unless it is open. ENOENT: somebody deleted it. */
static dbi_rc reader_open(dbi_chain *chain, const read_source *source, const char *name, dbi_err *err) {
    dbi__reader *reader = &chain->reader;
    bool read = true;

    if (reader->number == source->number && reader->incarnation == source->incarnation)
        return DBI_OK;
    dbi__fd_close(&reader->fd);
    reader->number = 0;
    if (source->meta_length > reader->meta_capacity) {
        uint8_t *grown = dbi_realloc(reader->meta, source->meta_length);

        if (grown == NULL)
            return read_no_memory(err);
        reader->meta = grown;
        reader->meta_capacity = source->meta_length;
    }
    if (source->memory == NULL) {
        reader->fd = dbi__fd_open(chain->slot->directory, name, O_RDONLY, 0);
        if (reader->fd < 0 && errno == ENOENT && source->active) { /* deleted: what is open is still there */
            dbi__lock(&chain->lock);
            reader->fd = chain->active->header.number == source->number ? dbi__fd_dup(chain->active->fd) : -1;
            dbi__unlock(&chain->lock);
        }
        if (reader->fd < 0)
            return dbi__journal_sys(err, errno, "cannot open journal segment %s/%s/%s", chain->journal->path,
                                    chain->slot->name, name);
    }
    if (source->memory != NULL && source->meta_length > 0)
        memcpy(reader->meta, source->memory + DBI__SEGMENT_META, source->meta_length);
    else if (source->meta_length > 0)
        read = dbi__pread(reader->fd, reader->meta, source->meta_length, DBI__SEGMENT_META) == source->meta_length;
    if (!read) {
        dbi__fd_close(&reader->fd);
        return dbi_err_set(err, DBI_ESYS, "cannot read journal segment %s/%s/%s", chain->journal->path,
                           chain->slot->name, name);
    }
    reader->meta_length = source->meta_length;
    reader->number = source->number;
    reader->incarnation = source->incarnation;
    reader->offset = source->records_at;
    reader->sequence = source->first;
    return DBI_OK;
}

/* The segment that holds the first sequence from `from` on; segment_count when none does. chain.lock is held. */
static size_t chain_find(const dbi_chain *chain, uint64_t from, uint64_t last) {
    size_t low = 0, high = chain->segment_count;

    while (high > low && atomic_load_explicit(&chain->segments[high - 1]->first, memory_order_acquire) == 0)
        high--;
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (dbi__segment_last(chain->segments[middle], last) < from)
            low = middle + 1;
        else
            high = middle;
    }
    return low < chain->segment_count && atomic_load(&chain->segments[low]->first) != 0 ? low : chain->segment_count;
}

/* Pins the segment to read from and says what is to be read of it. *from: the first sequence wanted, moved over gaps.
 * DBI_ECORRUPT, once, for a gap. chain.lock is held. */
static dbi_rc chain_pin(dbi_chain *chain, uint64_t *from, read_source *source, bool *nothing, dbi_err *err) {
    uint64_t last, at, gap;
    const dbi__segment *active, *segment;
    size_t index;

    chain->reading = 0;
    dbi__spin_lock(chain);
    last = chain->next - 1;
    at = chain->at;
    active = chain->active;
    dbi__spin_unlock(chain);
    *nothing = true;
    if (chain->gone)
        return DBI_OK;
    for (;;) {
        if (*from > last || (index = chain_find(chain, *from, last)) == chain->segment_count)
            return DBI_OK;
        source->active = chain->segments[index] == active;
        segment = chain->segments[index];
        source->first = atomic_load_explicit(&segment->first, memory_order_acquire);
        if (source->first <= *from)
            break;
        gap = dbi__chain_unexplained(chain, *from, source->first - 1);
        if (gap > 0) {
            uint64_t to = source->first - 1, vanished = chain->vanished < gap ? chain->vanished : gap;

            chain->found += gap - vanished; /* what was missing from the beginning */
            chain->vanished -= vanished;
            dbi__chain_set_missing(chain, *from, to);
            dbi_chain_count(chain, DBI_CHAIN_DAMAGED, gap);
            return dbi_err_set(err, DBI_ECORRUPT,
                               "events %llu to %llu of \"%s\" are no longer in the journal %s: a segment was deleted "
                               "or could not be read (%llu events)",
                               (unsigned long long)*from, (unsigned long long)to, chain->name, chain->journal->path,
                               (unsigned long long)gap);
        }
        *from = source->first; /* and look again: this one may be empty */
    }
    *nothing = false;
    chain->reading = segment->header.number;
    source->number = segment->header.number;
    source->salt = segment->header.salt;
    source->last = dbi__segment_last(segment, last);
    source->limit = source->active ? at : segment->end;
    source->records_at = segment->header.records_at;
    source->meta_length = segment->header.meta_length;
    source->incarnation = segment->incarnation;
    source->memory = chain->slot == NULL ? segment->map : NULL;
    return DBI_OK;
}

/* What stands at the reader's place is not whole: it is set aside. Always an error. */
static dbi_rc chain_damaged(dbi_chain *chain, const read_source *source, dbi_records *records, dbi_err *err) {
    dbi__reader *reader = &chain->reader;
    uint64_t offset = reader->offset, sequence = reader->sequence, through = source->last, end = source->limit;
    dbi__segment *segment = NULL;
    dbi__found found = {0};
    char name[DBI__FILE_NAME];
    size_t got, length;
    bool trusted;

    dbi__lock(&chain->lock);
    for (size_t i = 0; i < chain->segment_count; i++)
        if (chain->segments[i]->header.number == source->number)
            segment = chain->segments[i];
    if (segment == NULL || segment->incarnation != source->incarnation) {
        dbi__unlock(&chain->lock);
        reader->number = 0;
        return dbi_err_set(err, DBI_ECORRUPT, "a journal segment was moved while it was read: read again");
    }
    trusted = segment->trusted == 0 || offset < segment->trusted;
    dbi__segment_name(chain->id, source->number, ".seg", name);
    /* Only this one, when the next one is where this one's length says. */
    got = source_read(reader, source, records->bytes, offset, (size_t)(end - offset < 16 ? end - offset : 16));
    if (got == DBI__RECORD_HEADER && trusted) {
        uint64_t after;

        (void)dbi__record_check(records->bytes, got, end - offset, source->salt, sequence, &found);
        after = offset + found.size;
        if (after < end && sequence < through) {
            dbi__record_kind kind = DBI__RECORD_SHORT;

            length = 16;
            while (kind == DBI__RECORD_SHORT && length <= end - after) {
                if (!records_reserve(records, length)) { /* that is no reason to set anything aside */
                    dbi__unlock(&chain->lock);
                    return read_no_memory(err);
                }
                got = source_read(reader, source, records->bytes, after, length);
                kind = dbi__record_check(records->bytes, got, end - after, source->salt, sequence + 1, &found);
                if (got < length)
                    break;
                length = found.size > length ? found.size : length + 1;
            }
            if (kind == DBI__RECORD_WHOLE) {
                through = sequence;
                end = after;
            }
        }
    }
    (void)dbi__chain_set_aside(chain, segment, offset, end, sequence, through,
                               trusted ? "records that had been written whole are damaged"
                                       : "the end was not on disk yet when the machine went down");
    dbi__unlock(&chain->lock);
    return dbi_err_set(err, DBI_ECORRUPT,
                       "%llu events of \"%s\" (from %llu on) are damaged in %s/%s/%s at offset %llu: set aside in its "
                       "quarantine",
                       (unsigned long long)(through - sequence + 1), chain->name, (unsigned long long)sequence,
                       chain->journal->path, chain->slot != NULL ? chain->slot->name : "memory", name,
                       (unsigned long long)offset);
}

/* Brings the reader's place to the record that `from` is in. *bad: there is none that is whole. */
static dbi_rc reader_skip(dbi_chain *chain, const read_source *source, uint64_t from, dbi_records *records, bool *bad,
                          dbi_err *err) {
    dbi__reader *reader = &chain->reader;
    size_t at = 0, length = 0;
    uint64_t want = DBI__RECORD_HEADER;

    *bad = false;
    if (reader->sequence > from) {
        reader->offset = source->records_at;
        reader->sequence = source->first;
    }
    while (reader->sequence < from) {
        uint64_t left = source->limit - reader->offset;
        dbi__record_kind kind = DBI__RECORD_SHORT;
        dbi__found found = {0};

        if (length - at >= want || length - at >= left) {
            kind = dbi__record_check(records->bytes + at, length - at, left, source->salt, reader->sequence, &found);
            if (kind == DBI__RECORD_SHORT && (length - at >= left || found.size <= length - at))
                kind = DBI__RECORD_BAD;
        }
        if (kind == DBI__RECORD_BAD) {
            *bad = true;
            return DBI_OK;
        }
        if (kind == DBI__RECORD_WHOLE) {
            if (found.through >= from) { /* a void around `from`: it is read as a whole */
                return DBI_OK;
            }
            reader->offset += found.size;
            reader->sequence = found.through + 1;
            at = found.size < length - at ? at + found.size : length;
            want = DBI__RECORD_HEADER;
            continue;
        }
        want = found.size > want ? found.size : want;
        length = want > READ_SKIP ? want : READ_SKIP;
        length = length < left ? length : left;
        if (!records_reserve(records, length))
            return read_no_memory(err);
        {
            size_t got = source_read(reader, source, records->bytes, reader->offset, length);

            *bad = got < want && got < length;
            if (*bad)
                return DBI_OK;
            length = got;
        }
        at = 0;
    }
    return DBI_OK;
}

/* A void was met. One of which nobody knew stood for records that an earlier process counted as damaged. */
static void chain_meets_void(dbi_chain *chain, uint64_t number, uint64_t from, uint64_t to) {
    dbi__lock(&chain->lock);
    for (size_t i = 0; i < chain->segment_count; i++)
        if (chain->segments[i]->header.number == number) {
            uint64_t count = dbi__segment_void(chain->segments[i], from, to, dbi__chain_landed(chain));

            chain->found -= count < chain->found ? count : chain->found;
        }
    dbi__unlock(&chain->lock);
}

/* Fills the buffer from the reader's place on. *bad: the first record there is not whole. */
static dbi_rc reader_take(dbi_chain *chain, const read_source *source, size_t max_bytes, dbi_records *records,
                          bool *bad, dbi_err *err) {
    dbi__reader *reader = &chain->reader;
    uint64_t left = source->limit - reader->offset, want = max_bytes > 4096 ? max_bytes : 4096;
    uint64_t offset = reader->offset, sequence = reader->sequence;
    size_t at = 0, got = 0;
    bool ended = false; /* there is no more in the file than `got` */

    records->first = sequence;
    records->last = sequence - 1;
    for (;;) {
        dbi__record_kind kind = DBI__RECORD_BAD;
        dbi__found found = {0};

        want = want < left ? want : left;
        if (!records_reserve(records, want))
            return read_no_memory(err);
        while (sequence <= source->last) {
            kind = dbi__record_check(records->bytes + at, got - at, left - at, source->salt, sequence, &found);
            if (kind == DBI__RECORD_SHORT && got < want && !ended) {
                size_t piece = want - got < READ_PIECE ? want - got : READ_PIECE;
                size_t more = source_read(reader, source, records->bytes + got, offset + got, piece);

                got += more;
                ended = more < piece;
                continue;
            }
            if (kind != DBI__RECORD_WHOLE || (at > 0 && at + found.size > max_bytes))
                break;
            records->last = found.through;
            if (found.kind == DBI__RECORD_VOID) { /* it may be longer than the buffer */
                chain_meets_void(chain, source->number, sequence, found.through);
                sequence = found.through + 1;
                reader->offset += found.size;
                goto done;
            }
            sequence++;
            at += found.size;
            reader->offset += found.size;
            records->count++;
        }
        if (records->last >= records->first)
            break;
        if (kind == DBI__RECORD_SHORT && !ended && found.size > want && found.size <= left) {
            want = found.size; /* one record that is larger than max_bytes */
            continue;
        }
        *bad = true;
        break;
    }
done:
    records->length = at;
    reader->sequence = sequence;
    return DBI_OK;
}

dbi_rc dbi_chain_read(dbi_chain *chain, uint64_t after, size_t max_bytes, dbi_records *records, dbi_err *err) {
    char name[DBI__FILE_NAME];
    read_source source = {0};
    bool nothing, bad = false;
    uint64_t from;
    dbi_rc rc;

    records->length = records->at = 0;
    records->count = 0;
    records->first = records->next = after + 1;
    records->last = after;
    records->meta = NULL;
    records->meta_length = 0;
    if (chain->fork != dbi__fork_now())
        return dbi__chain_forked(err);
    for (;;) {
        dbi__lock(&chain->lock);
        from = (after > chain->state.base ? after : chain->state.base) + 1;
        memcpy(records->id, chain->id, sizeof records->id);
        memcpy(records->target, chain->state.target, sizeof records->target);
        rc = chain_pin(chain, &from, &source, &nothing, err);
        chain->reader_busy = rc == DBI_OK && !nothing;
        dbi__segment_name(chain->id, source.number, ".seg", name);
        dbi__unlock(&chain->lock);
        if (rc != DBI_OK || nothing)
            return rc;
        rc = reader_open(chain, &source, name, err);
        if (rc != DBI_ESYS || errno != ENOENT || source.active)
            break;
        dbi__lock(&chain->lock); /* somebody deleted it: the gap is found when we look again */
        for (size_t i = 0; i < chain->segment_count; i++)
            if (chain->segments[i]->header.number == source.number) {
                chain->vanished +=
                    dbi__segment_held(chain->segments[i], dbi_chain_last(chain), dbi__chain_landed(chain));
                dbi__chain_remove(chain, i);
                break;
            }
        dbi__unlock(&chain->lock);
    }
    if (rc != DBI_OK)
        goto done;
    rc = reader_skip(chain, &source, from, records, &bad, err);
    if (rc == DBI_OK && !bad)
        rc = reader_take(chain, &source, max_bytes, records, &bad, err);
    if (rc == DBI_OK && bad) {
        records->length = 0;
        rc = chain_damaged(chain, &source, records, err);
    }
    if (rc != DBI_OK) {
        chain->reader.number = 0;
        goto done;
    }
    records->next = records->first;
    records->meta = chain->reader.meta;
    records->meta_length = chain->reader.meta_length;
    if (records->last > atomic_load(&chain->handed))
        atomic_store(&chain->handed, records->last);
    if (records->last > atomic_load(&chain->in_flight))
        atomic_store(&chain->in_flight, records->last);
done:
    dbi__lock(&chain->lock);
    chain->reader_busy = false;
    dbi__unlock(&chain->lock);
    return rc;
}

bool dbi_records_next(dbi_records *records, dbi_record *record) {
    const uint8_t *bytes = records->bytes + records->at;

    if (records->at >= records->length)
        return false;
    record->sequence = records->next++;
    record->kind = (uint16_t)(bytes[12] | bytes[13] << 8);
    record->body = bytes + DBI__RECORD_HEADER;
    record->length = dbi__get32le(bytes);
    records->at += dbi__record_size(record->length);
    return true;
}

void dbi_records_free(dbi_records *records) {
    dbi_free(records->bytes);
    memset(records, 0, sizeof *records);
}
