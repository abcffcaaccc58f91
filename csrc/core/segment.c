/* segment.c - one segment of the journal: its bytes (journal.h has the format), its file and its mapping */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "alloc.h"
#include "crc32c.h"
#include "journal_int.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the journal's numbers are written as they lie in memory");
_Static_assert(sizeof(_Atomic uint64_t) == 8, "fields of a mapped header are stored atomically");

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* -- the operating system ------------------------------------------------------------------------------------------ */

static int os_allocate(int fd, off_t size) {
    return fallocate(fd, 0, 0, size);
}

static void *os_map(size_t size, int fd) {
    return mmap(NULL, size, PROT_READ | PROT_WRITE, fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, fd, 0);
}

static int os_populate(void *at, size_t size) {
    return madvise(at, size, MADV_POPULATE_WRITE);
}

static void os_boot(uint8_t boot[16]) {
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    char text[64] = "";
    unsigned digits = 0;

    memset(boot, 0, 16);
    if (fd < 0)
        return;
    if (read(fd, text, sizeof text - 1) > 0)
        for (const char *at = text; *at != '\0' && digits < 32; at++) {
            unsigned value;

            if (*at >= '0' && *at <= '9')
                value = (unsigned)(*at - '0');
            else if (*at >= 'a' && *at <= 'f')
                value = (unsigned)(*at - 'a') + 10;
            else
                continue;
            boot[digits / 2] = (uint8_t)((unsigned)boot[digits / 2] << 4 | value);
            digits++;
        }
    (void)close(fd);
    if (digits != 32)
        memset(boot, 0, 16);
}

dbi__journal_os dbi__journal_os_calls = {
    .sync = fdatasync,
    .allocate = os_allocate,
    .map = os_map,
    .populate = os_populate,
    .filesystem = fstatfs,
    .boot = os_boot,
};

size_t dbi__pread(int fd, void *bytes, size_t length, uint64_t offset) {
    size_t done = 0;

    while (done < length) {
        ssize_t got = pread(fd, (uint8_t *)bytes + done, length - done, (off_t)(offset + done));

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        done += (size_t)got;
    }
    return done;
}

bool dbi__pwrite(int fd, const void *bytes, size_t length, uint64_t offset) {
    size_t done = 0;

    while (done < length) {
        ssize_t put = pwrite(fd, (const uint8_t *)bytes + done, length - done, (off_t)(offset + done));

        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0) {
            if (put == 0)
                errno = EIO;
            return false;
        }
        done += (size_t)put;
    }
    return true;
}

/* -- header -------------------------------------------------------------------------------------------------------- */

static const uint8_t magic[8] = {'D', 'B', 'I', 'N', 'T', 'J', 'R', 'N'};
#define FORMAT_VERSION 1u

static uint16_t number_check(uint64_t salt, unsigned at, uint64_t number) {
    uint64_t words[3] = {salt, at, number};

    return (uint16_t)dbi_crc32c(0, words, sizeof words);
}

uint64_t dbi__number_pack(uint64_t salt, unsigned at, uint64_t number) {
    return number == 0 ? 0 : number | (uint64_t)number_check(salt, at, number) << 48;
}

uint64_t dbi__number_unpack(uint64_t salt, unsigned at, uint64_t packed) {
    uint64_t number = packed & DBI__SEQUENCE_MAX;

    return packed >> 48 == number_check(salt, at, number) ? number : 0;
}

uint32_t dbi__target_crc(uint64_t salt, const uint8_t target[16]) {
    return dbi_crc32c(dbi_crc32c(0, &salt, sizeof salt), target, 16);
}

uint32_t dbi__header_crc(const uint8_t *bytes, size_t meta_length) {
    uint32_t crc = dbi_crc32c(0, bytes, DBI__AT_CRC);

    crc = dbi_crc32c(crc, bytes + DBI__AT_NAME, DBI__SEGMENT_META - DBI__AT_NAME);
    return dbi_crc32c(crc, bytes + DBI__SEGMENT_META, meta_length);
}

/* Where records begin behind a meta of that length. */
static uint32_t records_at(uint32_t meta_length) {
    return (uint32_t)((DBI__SEGMENT_META + meta_length + DBI__PAGE - 1) & ~(DBI__PAGE - 1));
}

static void state_format(const dbi__state *state, uint64_t salt, uint8_t *bytes) {
    dbi__put64le(bytes + DBI__AT_BASE, dbi__number_pack(salt, DBI__AT_BASE, state->base));
    dbi__put64le(bytes + DBI__AT_UNMET, dbi__number_pack(salt, DBI__AT_UNMET, state->unmet));
    dbi__put64le(bytes + DBI__AT_MISSING_FROM, dbi__number_pack(salt, DBI__AT_MISSING_FROM, state->missing_from));
    dbi__put64le(bytes + DBI__AT_MISSING_TO, dbi__number_pack(salt, DBI__AT_MISSING_TO, state->missing_to));
    dbi__put64le(bytes + DBI__AT_LANDED, dbi__number_pack(salt, DBI__AT_LANDED, state->landed));
    dbi__put64le(bytes + DBI__AT_LANDED_AT, dbi__number_pack(salt, DBI__AT_LANDED_AT, state->landed_at));
    dbi__put32le(bytes + DBI__AT_STATE, state->mark);
    dbi__put32le(bytes + DBI__AT_TARGET_CRC, dbi__target_crc(salt, state->target));
    memcpy(bytes + DBI__AT_TARGET, state->target, sizeof state->target);
    for (unsigned i = 0, at = DBI__AT_COUNTERS; i < DBI__COUNTERS; i++, at += 8)
        dbi__put64le(bytes + at, dbi__number_pack(salt, at, state->counters[i]));
}

static void state_parse(dbi__state *state, uint64_t salt, const uint8_t *bytes) {
    state->base = dbi__number_unpack(salt, DBI__AT_BASE, dbi__get64le(bytes + DBI__AT_BASE));
    state->unmet = dbi__number_unpack(salt, DBI__AT_UNMET, dbi__get64le(bytes + DBI__AT_UNMET));
    state->missing_from = dbi__number_unpack(salt, DBI__AT_MISSING_FROM, dbi__get64le(bytes + DBI__AT_MISSING_FROM));
    state->missing_to = dbi__number_unpack(salt, DBI__AT_MISSING_TO, dbi__get64le(bytes + DBI__AT_MISSING_TO));
    state->landed = dbi__number_unpack(salt, DBI__AT_LANDED, dbi__get64le(bytes + DBI__AT_LANDED));
    state->landed_at = dbi__number_unpack(salt, DBI__AT_LANDED_AT, dbi__get64le(bytes + DBI__AT_LANDED_AT));
    state->mark = dbi__get32le(bytes + DBI__AT_STATE);
    memcpy(state->target, bytes + DBI__AT_TARGET, sizeof state->target);
    if (dbi__get32le(bytes + DBI__AT_TARGET_CRC) != dbi__target_crc(salt, state->target))
        memset(state->target, 0, sizeof state->target);
    for (unsigned i = 0, at = DBI__AT_COUNTERS; i < DBI__COUNTERS; i++, at += 8)
        state->counters[i] = dbi__number_unpack(salt, at, dbi__get64le(bytes + at));
}

void dbi__header_format(const dbi__header *header, const void *meta, uint8_t *bytes) {
    memset(bytes, 0, DBI__SEGMENT_META);
    memcpy(bytes, magic, sizeof magic);
    dbi__put32le(bytes + 8, FORMAT_VERSION);
    dbi__put32le(bytes + 12, header->records_at);
    memcpy(bytes + DBI__AT_ID, header->id, sizeof header->id);
    dbi__put64le(bytes + 32, header->number);
    dbi__put64le(bytes + 40, header->size);
    memcpy(bytes + 48, header->boot, sizeof header->boot);
    dbi__put64le(bytes + 64, header->salt);
    dbi__put64le(bytes + 72, (uint64_t)header->made_us);
    dbi__put32le(bytes + 80, header->meta_length);
    dbi__put32le(bytes + 84, header->lane);
    bytes[88] = (uint8_t)header->durability;
    memcpy(bytes + DBI__AT_NAME, header->name, sizeof header->name);
    if (header->meta_length > 0)
        memcpy(bytes + DBI__SEGMENT_META, meta, header->meta_length);
    dbi__put32le(bytes + DBI__AT_CRC, dbi__header_crc(bytes, header->meta_length));
    dbi__put64le(bytes + DBI__AT_FIRST, dbi__number_pack(header->salt, DBI__AT_FIRST, header->first));
    dbi__put64le(bytes + DBI__AT_PUBLISHED, header->published);
    dbi__put64le(bytes + DBI__AT_SYNCED, header->synced);
    dbi__put64le(bytes + DBI__AT_LAST, header->last);
    state_format(&header->state, header->salt, bytes);
}

size_t dbi__header_meta(const uint8_t bytes[DBI__SEGMENT_META]) {
    uint32_t length = dbi__get32le(bytes + 80);

    return length <= DBI_CHAIN_META_MAX ? length : 0;
}

/* What the CRC vouches for may still not make sense together, when it was written so. */
static const char *header_sense(const dbi__header *header) {
    if (header->records_at != records_at(header->meta_length))
        return "its records begin in the wrong place";
    if (header->size % DBI__PAGE != 0 || header->size < header->records_at || header->size > (UINT64_C(1) << 32))
        return "its size cannot be";
    if (header->number == 0)
        return "its number is 0";
    if (header->durability <= DBI_DURABILITY_MEMORY || header->durability >= DBI_DURABILITY_COUNT)
        return "its durability is unknown";
    if (header->name[0] == '\0' || header->name[DBI_CHAIN_NAME_MAX] != '\0')
        return "its stream has no name";
    return NULL;
}

dbi__header_kind dbi__header_parse(const uint8_t *bytes, size_t length, dbi__header *header, const char **why) {
    const char *ignored;
    uint32_t version;
    bool fits;

    why = why != NULL ? why : &ignored;
    if (length < DBI__SEGMENT_META) {
        *why = "it is shorter than a header";
        return DBI__HEADER_BAD;
    }
    if (memcmp(bytes, magic, sizeof magic) != 0) {
        *why = "it does not begin as a segment does";
        return DBI__HEADER_BAD;
    }
    version = dbi__get32le(bytes + 8);
    header->meta_length = dbi__get32le(bytes + 80);
    fits = header->meta_length <= DBI_CHAIN_META_MAX && length >= DBI__SEGMENT_META + header->meta_length;
    if (version != FORMAT_VERSION) { /* a newer one, unless everything says that it was a 1 */
        uint8_t one[DBI__AT_CRC];
        uint32_t crc;

        *why = "its format version is damaged";
        if (!fits)
            return version > FORMAT_VERSION ? DBI__HEADER_NEWER : DBI__HEADER_BAD;
        memcpy(one, bytes, sizeof one);
        dbi__put32le(one + 8, FORMAT_VERSION);
        crc = dbi_crc32c(0, one, sizeof one);
        crc = dbi_crc32c(crc, bytes + DBI__AT_NAME, DBI__SEGMENT_META - DBI__AT_NAME);
        crc = dbi_crc32c(crc, bytes + DBI__SEGMENT_META, header->meta_length);
        return version > FORMAT_VERSION && crc != dbi__get32le(bytes + DBI__AT_CRC) ? DBI__HEADER_NEWER : DBI__HEADER_BAD;
    }
    if (!fits || dbi__header_crc(bytes, header->meta_length) != dbi__get32le(bytes + DBI__AT_CRC)) {
        *why = "its header does not fit its checksum";
        return DBI__HEADER_BAD;
    }
    header->records_at = dbi__get32le(bytes + 12);
    memcpy(header->id, bytes + DBI__AT_ID, sizeof header->id);
    header->number = dbi__get64le(bytes + 32);
    header->size = dbi__get64le(bytes + 40);
    memcpy(header->boot, bytes + 48, sizeof header->boot);
    header->salt = dbi__get64le(bytes + 64);
    header->made_us = (int64_t)dbi__get64le(bytes + 72);
    header->lane = dbi__get32le(bytes + 84);
    header->durability = (dbi_durability)bytes[88];
    memcpy(header->name, bytes + DBI__AT_NAME, sizeof header->name);
    header->first = dbi__number_unpack(header->salt, DBI__AT_FIRST, dbi__get64le(bytes + DBI__AT_FIRST));
    header->published = dbi__get64le(bytes + DBI__AT_PUBLISHED);
    header->synced = dbi__get64le(bytes + DBI__AT_SYNCED);
    header->last = dbi__get64le(bytes + DBI__AT_LAST);
    state_parse(&header->state, header->salt, bytes);
    *why = header_sense(header);
    return *why == NULL ? DBI__HEADER_WHOLE : DBI__HEADER_BAD;
}

/* -- record -------------------------------------------------------------------------------------------------------- */

/* After the body: length, the 8 bytes from the sequence on, salt and the whole sequence. They are put together in words,
 * for a processor takes long to read a word that was just written in two pieces. */
static uint32_t record_crc(const uint8_t *bytes, uint32_t body_crc, uint64_t salt, uint64_t sequence) {
    uint64_t middle = dbi__get64le(bytes + 8);
    uint8_t rest[28];

    dbi__put64le(rest, dbi__get32le(bytes) | middle << 32);
    dbi__put64le(rest + 8, middle >> 32 | salt << 32);
    dbi__put64le(rest + 16, salt >> 32 | sequence << 32);
    dbi__put32le(rest + 24, (uint32_t)(sequence >> 32));
    return dbi_crc32c(body_crc, rest, sizeof rest);
}

void dbi__record_seal(uint8_t *bytes, uint32_t body_crc, uint32_t length, uint16_t kind, uint64_t salt,
                      uint64_t sequence) {
    dbi__put32le(bytes, length);
    dbi__put64le(bytes + 8, (uint32_t)sequence | (uint64_t)kind << 32);
    dbi__put32le(bytes + 4, record_crc(bytes, body_crc, salt, sequence));
}

dbi__record_kind dbi__record_check(const uint8_t *bytes, uint64_t available, uint64_t limit, uint64_t salt,
                                   uint64_t sequence, dbi__found *found) {
    uint64_t covered;

    found->size = DBI__RECORD_HEADER;
    if (available < DBI__RECORD_HEADER)
        return limit < DBI__RECORD_HEADER ? DBI__RECORD_BAD : DBI__RECORD_SHORT;
    found->length = dbi__get32le(bytes);
    found->size = dbi__record_size(found->length);
    found->kind = (uint16_t)(bytes[12] | bytes[13] << 8);
    found->through = sequence;
    if (found->size > limit || dbi__get32le(bytes + 8) != (uint32_t)sequence || bytes[14] != 0 || bytes[15] != 0)
        return DBI__RECORD_BAD;
    if (found->kind != DBI__RECORD_VOID && found->kind != DBI_RECORD_ROW && found->kind != DBI_RECORD_KAFKA)
        return DBI__RECORD_BAD;
    covered = found->kind == DBI__RECORD_VOID && found->length > 8 ? 8 : found->length;
    if (available < DBI__RECORD_HEADER + covered) {
        if (found->kind == DBI__RECORD_VOID)
            found->size = DBI__RECORD_HEADER + covered;
        return DBI__RECORD_SHORT;
    }
    if (record_crc(bytes, dbi_crc32c(0, bytes + DBI__RECORD_HEADER, covered), salt, sequence) != dbi__get32le(bytes + 4))
        return DBI__RECORD_BAD;
    if (found->kind == DBI__RECORD_VOID && covered == 8) {
        found->through = dbi__get64le(bytes + DBI__RECORD_HEADER);
        if (found->through < sequence || found->through > DBI__SEQUENCE_MAX)
            return DBI__RECORD_BAD;
    }
    return DBI__RECORD_WHOLE;
}

size_t dbi__void_format(uint8_t bytes[24], uint64_t size, uint64_t salt, uint64_t sequence, uint64_t through) {
    uint32_t length = (uint32_t)(size - DBI__RECORD_HEADER);
    uint32_t covered = length > 8 ? 8 : length;

    dbi__put64le(bytes + DBI__RECORD_HEADER, through);
    dbi__record_seal(bytes, dbi_crc32c(0, bytes + DBI__RECORD_HEADER, covered), length, DBI__RECORD_VOID, salt,
                     sequence);
    return DBI__RECORD_HEADER + covered;
}

/* -- file and mapping ---------------------------------------------------------------------------------------------- */

static int allocate_by_writing(int fd, off_t size) {
    static const uint8_t zeros[65536];

    for (off_t at = 0; at < size;) {
        size_t step = size - at < (off_t)sizeof zeros ? (size_t)(size - at) : sizeof zeros;

        if (!dbi__pwrite(fd, zeros, step, (uint64_t)at))
            return -1;
        at += (off_t)step;
    }
    return 0;
}

/* Where the file system cannot, all of the file is written: posix_fallocate of glibc would write one byte a block. */
static int segment_allocate(int fd, off_t size) {
    int rc;

    do
        rc = dbi__journal_os_calls.allocate(fd, size);
    while (rc != 0 && errno == EINTR);
    if (rc != 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
        return allocate_by_writing(fd, size);
    return rc;
}

void dbi__segment_name(const uint8_t id[16], uint64_t number, const char *ending, char name[DBI__FILE_NAME]) {
    static const char digits[] = "0123456789abcdef";

    for (unsigned i = 0; i < 16; i++) {
        name[2 * i] = digits[id[i] >> 4];
        name[2 * i + 1] = digits[id[i] & 15];
    }
    (void)snprintf(name + 32, DBI__FILE_NAME - 32, ".%016llx%s", (unsigned long long)number, ending);
}

/* For kernels before 5.14, which cannot be asked for pages that are in use: touches those of a new segment. Returns up
 * to where it has its pages. */
static uint64_t segment_touch(const dbi__segment *segment) {
    if (dbi__journal_os_calls.populate(segment->map, DBI__PAGE) == 0)
        return DBI__PAGE; /* then dbi__segment_fetch does it, and nobody waits for it */
    for (uint64_t at = 0; at < segment->header.size; at += DBI__PAGE) {
        volatile uint8_t *byte = segment->map + at;

        *byte = *byte;
    }
    return segment->header.size;
}

void dbi__segment_fetch(dbi__segment *segment, uint64_t at, uint64_t upto) {
    uint64_t from = at & ~(DBI__PAGE - 1);

    from = from > segment->fetched ? from : segment->fetched;
    upto = (upto + DBI__PAGE - 1) & ~(DBI__PAGE - 1);
    upto = upto < segment->header.size ? upto : segment->header.size;
    if (from < upto)
        (void)dbi__journal_os_calls.populate(segment->map + from, upto - from);
    segment->fetched = upto > segment->fetched ? upto : segment->fetched;
}

dbi_rc dbi__segment_make(dbi__segment **made, int directory, const dbi__header *header, const void *meta,
                         bool ahead, dbi_err *err) {
    char temporary[DBI__FILE_NAME], name[DBI__FILE_NAME];
    dbi__segment *segment = dbi_calloc(1, sizeof *segment);
    bool in_file = directory >= 0, unlinked = true;
    const char *what = "make";
    void *map;
    int sys;

    if (segment == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a journal segment");
    segment->fd = -1;
    segment->header = *header;
    segment->header.records_at = records_at(header->meta_length);
    segment->header.published = segment->header.synced = segment->header.records_at;
    segment->synced = segment->header.records_at;
    dbi__segment_name(header->id, header->number, ".tmp", temporary);
    dbi__segment_name(header->id, header->number, ".seg", name);
    if (in_file) {
        (void)unlinkat(directory, temporary, 0);
        segment->fd = dbi__fd_open(directory, temporary, O_RDWR | O_CREAT | O_EXCL, 0600);
        if (segment->fd < 0)
            goto failed;
        unlinked = false;
        what = "allocate";
        if (segment_allocate(segment->fd, (off_t)header->size) != 0)
            goto failed;
    }
    what = "map";
    map = dbi__journal_os_calls.map(header->size, segment->fd);
    if (map == MAP_FAILED)
        goto failed;
    segment->map = map;
    (void)madvise(map, header->size, MADV_DONTFORK);
    if (in_file && ahead)
        segment->fetched = segment_touch(segment);
    dbi__header_format(&segment->header, meta, segment->map);
    what = "name";
    if (in_file && renameat(directory, temporary, directory, name) != 0)
        goto failed;
    *made = segment;
    return DBI_OK;
failed:
    sys = errno;
    if (!unlinked)
        (void)unlinkat(directory, temporary, 0);
    dbi__segment_free(segment, false);
    return dbi__journal_sys(err, sys, "cannot %s journal segment %s of %llu bytes", what, name,
                            (unsigned long long)header->size);
}

void dbi__segment_unmap(dbi__segment *segment) {
    if (segment->map != NULL)
        (void)munmap(segment->map, segment->header.size);
    segment->map = NULL;
}

/* How many of these sequences come after `landed`. */
static uint64_t range_after(dbi__range range, uint64_t landed) {
    if (range.from > range.to || range.to <= landed)
        return 0;
    return range.to - (range.from > landed ? range.from - 1 : landed);
}

static dbi__range range_common(dbi__range a, dbi__range b) {
    return (dbi__range){a.from > b.from ? a.from : b.from, a.to < b.to ? a.to : b.to};
}

uint64_t dbi__segment_void(dbi__segment *segment, uint64_t from, uint64_t to, uint64_t landed) {
    const dbi__range whole = {from, to};
    uint64_t count = range_after(whole, landed);

    for (size_t i = 0; i < segment->void_count;) { /* known ones are this one, or lie in it */
        dbi__range common = range_common(whole, segment->voids[i]);

        count -= range_after(common, landed);
        if (common.from == from && common.to == to)
            return 0;
        if (common.from <= common.to)
            segment->voids[i] = segment->voids[--segment->void_count];
        else
            i++;
    }
    if (segment->void_count == segment->void_capacity) {
        size_t capacity = segment->void_capacity != 0 ? segment->void_capacity * 2 : 4;
        dbi__range *grown = dbi_realloc(segment->voids, capacity * sizeof *grown);

        if (grown == NULL)
            return count;
        segment->voids = grown;
        segment->void_capacity = capacity;
    }
    segment->voids[segment->void_count++] = whole;
    return count;
}

uint64_t dbi__segment_held(const dbi__segment *segment, uint64_t last, uint64_t landed) {
    const dbi__range whole = {atomic_load_explicit(&segment->first, memory_order_acquire),
                              dbi__segment_last(segment, last)};
    uint64_t held = whole.from != 0 ? range_after(whole, landed) : 0;

    for (size_t i = 0; i < segment->void_count && held > 0; i++)
        held -= range_after(range_common(whole, segment->voids[i]), landed);
    return held;
}

void dbi__segment_free(dbi__segment *segment, bool forked) {
    if (segment == NULL)
        return;
    if (!forked) {
        dbi__segment_unmap(segment);
        dbi__fd_close(&segment->fd);
    }
    dbi_free(segment->voids);
    dbi_free(segment);
}
