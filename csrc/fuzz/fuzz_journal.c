/* fuzz_journal.c - bytes as a segment file: read, and never a record whose CRC is wrong
 *
 * The first byte chooses what is mended before the bytes are looked at, so that mutations get past the checksums: the
 * header's, the records', `first`. The next one says how the file is used: most inputs are parsed in memory,
 * some become the file of a slot that a journal opens, reads, appends to and opens again. Header and records follow.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc.h"
#include "crc32c.h"
#include "fuzz.h"
#include "journal_int.h"

enum { MEND_HEADER = 1, MEND_RECORDS = 2, MEND_FIRST = 4, MEND_BOOT = 8, KEEP_NAME = 16 };
enum { IMAGE = 8192, IN_FILES = 24 /* of 256 inputs that many, beside those of examples that go through files */ };

static uint8_t image[IMAGE];

/* The record's CRC by the text of journal.h, and not by the code under test. */
static uint32_t expected_crc(const uint8_t *record, size_t covered, uint64_t salt, uint64_t sequence) {
    uint32_t crc = dbi_crc32c_by_table(0, record + 16, covered);

    crc = dbi_crc32c_by_table(crc, record, 4);
    crc = dbi_crc32c_by_table(crc, record + 8, 8);
    crc = dbi_crc32c_by_table(crc, &salt, 8);
    return dbi_crc32c_by_table(crc, &sequence, 8);
}

static void mend_records(uint64_t sequence, size_t end) {
    uint64_t salt = dbi__get64le(image + 64);

    for (size_t at = 4096; at + 16 <= end && sequence <= DBI__SEQUENCE_MAX; sequence++) {
        uint64_t length = dbi__get32le(image + at), size = dbi__record_size(length);
        bool blank = image[at + 12] == 0 && image[at + 13] == 0;

        if (at + size > IMAGE)
            break;
        dbi__put32le(image + at + 8, (uint32_t)sequence);
        dbi__put32le(image + at + 4, expected_crc(image + at, blank && length > 8 ? 8 : length, salt, sequence));
        if (blank && length >= 8)
            sequence = dbi__get64le(image + at + 16);
        at += size;
    }
}

/* Makes the image: 512 bytes of header, 3.5 KiB of nothing, records. */
static void image_make(fuzz_input *input, uint8_t mend) {
    uint64_t first;
    size_t length;
    const uint8_t *bytes = fuzz_bytes(input, DBI__SEGMENT_META, &length);

    memset(image, 0, sizeof image);
    memcpy(image, bytes, length);
    bytes = fuzz_bytes(input, IMAGE - 4096, &length);
    memcpy(image + 4096, bytes, length);
    first = dbi__get64le(image + DBI__AT_FIRST) & DBI__SEQUENCE_MAX;
    if ((mend & MEND_BOOT) != 0)
        dbi__journal_os_calls.boot(image + 48);
    if ((mend & MEND_FIRST) != 0)
        dbi__put64le(image + DBI__AT_FIRST, dbi__number_pack(dbi__get64le(image + 64), DBI__AT_FIRST, first));
    if ((mend & MEND_RECORDS) != 0)
        mend_records(first, 4096 + length);
    if ((mend & MEND_HEADER) != 0 && dbi__header_meta(image) <= IMAGE - DBI__SEGMENT_META)
        dbi__put32le(image + DBI__AT_CRC, dbi__header_crc(image, dbi__header_meta(image)));
}

static void try_memory(void) {
    dbi__header header;
    uint64_t offset, sequence;
    dbi__found found;

    if (dbi__header_parse(image, sizeof image, &header, NULL) != DBI__HEADER_WHOLE)
        return;
    sequence = header.first;
    for (offset = header.records_at; offset < sizeof image; sequence = found.through + 1) {
        uint64_t left = sizeof image - offset, covered;

        if (dbi__record_check(image + offset, left, left, header.salt, sequence, &found) != DBI__RECORD_WHOLE)
            break;
        covered = found.kind == DBI__RECORD_VOID && found.length > 8 ? 8 : found.length;
        FUZZ_CHECK(found.size <= left && found.size >= DBI__RECORD_HEADER + found.length);
        FUZZ_CHECK(found.through >= sequence);
        FUZZ_CHECK(dbi__get32le(image + offset + 4) ==
                   expected_crc(image + offset, (size_t)covered, header.salt, sequence));
        offset += found.size;
    }
}

/* --- through files --- */

static char directory[64];

static void directory_remove(void) {
    char line[96];

    (void)snprintf(line, sizeof line, "rm -rf %s", directory);
    (void)!system(line);
}

static void directory_make(void) {
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    char path[96];

    (void)snprintf(directory, sizeof directory, "%s/dbint-fuzz-XXXXXX", base);
    FUZZ_CHECK(mkdtemp(directory) != NULL);
    (void)snprintf(path, sizeof path, "%s/slot-0000", directory);
    FUZZ_CHECK(mkdir(path, 0700) == 0);
    (void)atexit(directory_remove);
}

static void directory_empty(const char *name) {
    char path[512];
    DIR *listed;
    const struct dirent *entry;

    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    listed = opendir(path);
    if (listed == NULL)
        return;
    while ((entry = readdir(listed)) != NULL)
        (void)unlinkat(dirfd(listed), entry->d_name, 0);
    (void)closedir(listed);
}

/* Reads all; what is delivered must fit the CRC that lies in front of it. */
static void chain_check(dbi_chain *chain) {
    dbi_records records = {0};
    uint64_t after = 0;
    unsigned damages = 0;

    for (;;) {
        dbi_rc rc = dbi_chain_read(chain, after, 4096, &records, NULL);
        dbi_record record;

        if (rc == DBI_ECORRUPT) {
            FUZZ_CHECK(damages++ < 10000);
            continue;
        }
        FUZZ_CHECK(rc == DBI_OK);
        if (records.first > records.last)
            break;
        FUZZ_CHECK(records.last > after);
        while (dbi_records_next(&records, &record)) {
            const uint8_t *bytes = record.body - DBI__RECORD_HEADER;

            FUZZ_CHECK(record.sequence > after && record.sequence <= records.last);
            FUZZ_CHECK(dbi__get32le(bytes + 8) == (uint32_t)record.sequence);
            FUZZ_CHECK(dbi__get32le(bytes + 4) ==
                       expected_crc(bytes, record.length, dbi__get64le(image + 64), record.sequence));
        }
        after = records.last;
    }
    dbi_records_free(&records);
}

static void try_files(bool keep_name, size_t size) {
    static const uint8_t other[16] = {1};
    char name[DBI__FILE_NAME], path[192];
    dbi_journal_config config;

    if (directory[0] == '\0')
        directory_make();
    directory_empty("slot-0000");
    directory_empty("slot-0001");
    directory_empty("quarantine");
    dbi__segment_name(keep_name ? image + DBI__AT_ID : other, keep_name ? dbi__get64le(image + 32) : 1, ".seg", name);
    (void)snprintf(path, sizeof path, "%s/slot-0000/%s", directory, name);
    {
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        FUZZ_CHECK(fd >= 0 && dbi__pwrite(fd, image, size, 0));
        (void)close(fd);
    }
    dbi_journal_defaults(&config);
    config.directory = directory;
    config.segment_min = 16384;
    for (unsigned opened = 0; opened < 2; opened++) { /* what was found once is not found again */
        dbi_journal *journal;
        dbi_chain *chains[4];
        uint64_t damaged;
        bool renewed;
        size_t count;

        FUZZ_CHECK(dbi_journal_open(&journal, &config, NULL) == DBI_OK);
        count = dbi_journal_chains(journal, chains, 4);
        FUZZ_CHECK(count <= 1);
        for (size_t i = 0; i < count; i++) {
            damaged = dbi_chain_counted(chains[i], DBI_CHAIN_DAMAGED);
            chain_check(chains[i]);
            FUZZ_CHECK(opened == 0 || dbi_chain_counted(chains[i], DBI_CHAIN_DAMAGED) == damaged);
            FUZZ_CHECK(dbi_chain_met(chains[i], opened == 0 ? 0 : 5, &renewed, NULL) == DBI_OK);
        }
        FUZZ_CHECK(dbi_journal_tend(journal, NULL, NULL) == DBI_OK);
        dbi_journal_free(journal);
        if (count > 0 && opened == 0)
            continue;
        break;
    }
    FUZZ_CHECK(dbi_alloc_live() == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input input = {data, size};
    uint8_t mend = fuzz_byte(&input), use = fuzz_byte(&input);

    image_make(&input, mend);
    try_memory();
    if (use < IN_FILES)
        try_files((mend & KEEP_NAME) != 0, use % 4 != 0 ? IMAGE : (size_t)use * 256);
    return 0;
}

/* Three modes of mending; a segment with some records, one with a void; in memory, and a quarter of them in files. */
size_t dbi_fuzz_example(unsigned nth, uint8_t *out, size_t capacity) {
    dbi__header header = {.number = 1, .size = IMAGE, .salt = 4711, .records_at = 4096, .durability =
                          DBI_DURABILITY_PROCESS, .name = "s.t", .first = 3, .published = 4096 + 120, .synced = 4096};
    uint8_t *records = out + 2 + DBI__SEGMENT_META;
    size_t at = 0;

    if (nth >= 24 || capacity < 2048)
        return 0;
    memset(out, 0, 2048);
    out[0] = (uint8_t)(nth % 3 == 0 ? KEEP_NAME : nth % 3 == 1 ? 31 : 23);
    out[1] = nth < 6 ? 1 : 255;
    memset(header.id, 7, sizeof header.id);
    dbi__header_format(&header, NULL, out + 2);
    for (uint64_t sequence = 3; sequence < 6; sequence++) {
        uint32_t length = (uint32_t)(sequence * 5);

        memset(records + at + 16, 'r', length);
        if (nth % 6 >= 3 && sequence == 4)
            at += (size_t)dbi__void_format(records + at, 24, header.salt, 4, 4);
        else {
            dbi__record_seal(records + at, dbi_crc32c(0, records + at + 16, length), length, DBI_RECORD_ROW,
                             header.salt, sequence);
            at += (size_t)dbi__record_size(length);
        }
    }
    return 2 + DBI__SEGMENT_META + at + 64;
}
