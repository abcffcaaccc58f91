/* dead.c - the file of dead letters: see dead.h */
#include "dead.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc.h"
#include "clock.h"
#include "dead_int.h"

#define WRITE_BYTES ((size_t)1 << 20) /* of lines are collected before they are written */
#define LOAD_BYTES ((size_t)1 << 16)
#define HEAD_BYTES 256u /* of a line: more than dbi__dead_read looks at */

/* A letter that is in the file, or will be, while its row has not landed. */
typedef struct unsettled {
    uint64_t sequence;
    bool put; /* for the shipment that is under way */
} unsettled;

struct dbi_dead {
    char *directory, *path;
    char chain[33];
    uint64_t first, last; /* of the shipment under way */
    dbi__text lines;      /* not yet written */
    int fd;               /* within a shipment that has letters; else -1 */
    bool torn;            /* the file may end within a line */
    unsettled *letters;   /* ascending */
    size_t letter_count, letter_capacity;
};

dbi_rc dbi_dead_new(dbi_dead **dead, const char *directory, const uint8_t chain[16], dbi_err *err) {
    dbi_dead *made = dbi_calloc(1, sizeof *made);
    size_t room = strlen(directory) + sizeof "/.jsonl" + 32;

    *dead = NULL;
    if (made == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "out of memory for dead letters");
    made->fd = -1;
    for (size_t i = 0; i < 16; i++)
        (void)snprintf(made->chain + 2 * i, 3, "%02x", chain[i]);
    made->directory = dbi_strdup(directory);
    made->path = dbi_malloc(room);
    if (made->directory == NULL || made->path == NULL) {
        dbi_dead_free(made);
        return dbi_err_set(err, DBI_ENOMEM, "out of memory for dead letters");
    }
    (void)snprintf(made->path, room, "%s/%s.jsonl", directory, made->chain);
    *dead = made;
    return DBI_OK;
}

static void file_close(dbi_dead *dead) {
    if (dead->fd >= 0)
        (void)close(dead->fd);
    dead->fd = -1;
}

void dbi_dead_free(dbi_dead *dead) {
    if (dead == NULL)
        return;
    file_close(dead);
    dbi__text_free(&dead->lines);
    dbi_free(dead->letters);
    dbi_free(dead->directory);
    dbi_free(dead->path);
    dbi_free(dead);
}

/* Where the letter is, or would be. */
static size_t letter_place(const dbi_dead *dead, uint64_t sequence) {
    size_t low = 0, high = dead->letter_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (dead->letters[middle].sequence < sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool letter_is_at(const dbi_dead *dead, size_t place, uint64_t sequence) {
    return place < dead->letter_count && dead->letters[place].sequence == sequence;
}

/* Moves what begins at `from`, which makes room or takes letters away. */
static void letters_move(dbi_dead *dead, size_t to, size_t from) {
    memmove(dead->letters + to, dead->letters + from, (dead->letter_count - from) * sizeof *dead->letters);
    dead->letter_count = dead->letter_count - from + to;
}

static dbi_rc letter_add(dbi_dead *dead, uint64_t sequence, bool put, dbi_err *err) {
    size_t place = letter_place(dead, sequence);

    if (!letter_is_at(dead, place, sequence)) {
        if (dead->letter_count == dead->letter_capacity) {
            size_t capacity = dead->letter_capacity == 0 ? 16 : dead->letter_capacity * 2;
            unsettled *letters = dbi_realloc(dead->letters, capacity * sizeof *letters);

            if (letters == NULL)
                return dbi_err_set(err, DBI_ENOMEM, "out of memory for dead letters");
            dead->letters = letters;
            dead->letter_capacity = capacity;
        }
        letters_move(dead, place + 1, place);
    }
    dead->letters[place] = (unsettled){.sequence = sequence, .put = put};
    return DBI_OK;
}

static void letter_forget(dbi_dead *dead, uint64_t sequence) {
    size_t place = letter_place(dead, sequence);

    if (letter_is_at(dead, place, sequence))
        letters_move(dead, place, place + 1);
}

/* --- reading --- */

/* One line of the file, or its beginning: `whole` when it ended with a newline and a brace before that. */
static dbi_rc line_load(dbi_dead *dead, char *head, size_t length, char last, uint64_t landed, dbi_err *err) {
    uint64_t sequence;
    bool withdrawn;

    if (length == 0 || last != '}')
        return DBI_OK;
    head[length - 1] = last; /* of a line that is longer than its head */
    if (!dbi__dead_read(head, length, dead->chain, &sequence, &withdrawn) || sequence <= landed)
        return DBI_OK;
    if (!withdrawn)
        return letter_add(dead, sequence, false, err);
    letter_forget(dead, sequence);
    return DBI_OK;
}

dbi_rc dbi_dead_load(dbi_dead *dead, uint64_t landed, dbi_err *err) {
    char head[HEAD_BYTES], last = '\0', *chunk = NULL;
    size_t length = 0;
    ssize_t got;
    dbi_rc rc = DBI_OK;
    int fd;

    dead->letter_count = 0;
    fd = open(dead->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? DBI_OK : dbi_err_sys(err, DBI_ESYS, errno, "dead letters %s", dead->path);
    chunk = dbi_malloc(LOAD_BYTES);
    if (chunk == NULL) {
        rc = dbi_err_set(err, DBI_ENOMEM, "out of memory for dead letters");
        goto done;
    }
    while ((got = read(fd, chunk, LOAD_BYTES)) != 0) {
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            rc = dbi_err_sys(err, DBI_ESYS, errno, "reading dead letters %s", dead->path);
            goto done;
        }
        for (ssize_t i = 0; i < got; i++) {
            if (chunk[i] != '\n') {
                if (length < HEAD_BYTES)
                    head[length++] = chunk[i];
                last = chunk[i];
                continue;
            }
            rc = line_load(dead, head, length, last, landed, err);
            if (rc != DBI_OK)
                goto done;
            length = 0;
            last = '\0';
        }
    }

done:
    (void)close(fd);
    dbi_free(chunk);
    return rc;
}

/* --- writing --- */

/* A new name in a directory lasts when the directory has been written. */
static dbi_rc directory_sync(const char *path, dbi_err *err) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int failed;

    if (fd < 0)
        return dbi_err_sys(err, DBI_ESYS, errno, "dead letters in %s", path);
    failed = fsync(fd) != 0 ? errno : 0;
    (void)close(fd);
    if (failed != 0 && failed != EINVAL) /* a file system that needs no such thing */
        return dbi_err_sys(err, DBI_ESYS, failed, "dead letters in %s", path);
    return DBI_OK;
}

static dbi_rc file_open(dbi_dead *dead, dbi_err *err) {
    char last = '\n';
    off_t end;

    if (dead->fd >= 0)
        return DBI_OK;
    if (mkdir(dead->directory, 0700) != 0 && errno != EEXIST)
        return dbi_err_sys(err, DBI_ESYS, errno, "making directory %s for dead letters", dead->directory);
    dead->fd = open(dead->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (dead->fd < 0)
        return dbi_err_sys(err, DBI_ESYS, errno, "dead letters %s", dead->path);
    end = lseek(dead->fd, 0, SEEK_END);
    if (end < 0 || (end > 0 && pread(dead->fd, &last, 1, end - 1) != 1)) {
        file_close(dead);
        return dbi_err_sys(err, DBI_ESYS, errno, "dead letters %s", dead->path);
    }
    dead->torn = last != '\n';
    if (end == 0)
        return directory_sync(dead->directory, err);
    return DBI_OK;
}

static dbi_rc bytes_write(dbi_dead *dead, const char *bytes, size_t length, dbi_err *err) {
    while (length > 0) {
        ssize_t wrote = write(dead->fd, bytes, length);

        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0) /* the file ends within a line now; the next one to open it will see that */
            return dbi_err_sys(err, DBI_ESYS, wrote < 0 ? errno : ENOSPC, "writing dead letters %s", dead->path);
        bytes += wrote;
        length -= (size_t)wrote;
    }
    return DBI_OK;
}

/* After a failure the file is closed: what was written is not relied on, the next shipment writes its lines anew. */
static dbi_rc lines_write(dbi_dead *dead, dbi_err *err) {
    dbi_rc rc = DBI_OK;

    if (dead->lines.failed) {
        rc = dbi_err_set(err, DBI_ENOMEM, "out of memory for dead letters");
        goto done;
    }
    if (dead->lines.length == 0)
        return DBI_OK;
    rc = file_open(dead, err);
    if (rc == DBI_OK && dead->torn)
        rc = bytes_write(dead, "\n", 1, err);
    if (rc == DBI_OK)
        rc = bytes_write(dead, dead->lines.bytes, dead->lines.length, err);
    dead->torn = false;

done:
    if (dead->lines.capacity > 2 * WRITE_BYTES)
        dbi__text_free(&dead->lines);
    dbi__text_reset(&dead->lines);
    if (rc != DBI_OK)
        file_close(dead);
    return rc;
}

void dbi_dead_begin(dbi_dead *dead, uint64_t first, uint64_t last) {
    file_close(dead);
    dbi__text_reset(&dead->lines);
    dead->first = first;
    dead->last = last;
    for (size_t i = 0; i < dead->letter_count; i++)
        dead->letters[i].put = false;
}

dbi_rc dbi_dead_put(dbi_dead *dead, const dbi_dead_letter *letter, dbi_err *err) {
    dbi_rc rc = letter_add(dead, letter->sequence, true, err);

    if (rc != DBI_OK)
        return rc;
    dbi__dead_line(&dead->lines, dead->chain, letter->sequence, letter, dbi_clock_wall_us());
    return dead->lines.failed || dead->lines.length >= WRITE_BYTES ? lines_write(dead, err) : DBI_OK;
}

dbi_rc dbi_dead_sync(dbi_dead *dead, dbi_err *err) {
    dbi_rc rc;

    for (size_t i = 0; i < dead->letter_count; i++) {
        const unsettled *letter = &dead->letters[i];

        if (!letter->put && letter->sequence >= dead->first && letter->sequence <= dead->last)
            dbi__dead_line(&dead->lines, dead->chain, letter->sequence, NULL, dbi_clock_wall_us());
    }
    rc = lines_write(dead, err);
    if (rc == DBI_OK && dead->fd >= 0 && fsync(dead->fd) != 0)
        rc = dbi_err_sys(err, DBI_ESYS, errno, "fsync of dead letters %s", dead->path);
    file_close(dead);
    return rc;
}

void dbi_dead_landed(dbi_dead *dead, uint64_t last) {
    if (dead->letter_count > 0)
        letters_move(dead, 0, last < UINT64_MAX ? letter_place(dead, last + 1) : dead->letter_count);
}
