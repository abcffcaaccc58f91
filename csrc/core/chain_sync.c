/* chain_sync.c - fsync, and what is done when it fails
 *
 * After a failed fsync Linux may call the pages clean that never reached the disk: a second fsync of that file would
 * succeed and mean nothing. So the file is not synced again: its bytes, which the page cache still has, are written to
 * a new file, that one is synced, and takes the old one's name.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "alloc.h"
#include "fork_int.h"
#include "journal_int.h"

/* What is to be synced next: pinned by chain.syncing. */
typedef struct sync_step {
    dbi__segment *segment; /* NULL: all is synced */
    uint64_t offset, sequence;
    bool active, failed, listed;
    int fd;
    char name[DBI__FILE_NAME];
} sync_step;

static void sync_choose(dbi_chain *chain, sync_step *step) {
    memset(step, 0, sizeof *step);
    step->fd = -1;
    dbi__lock(&chain->lock);
    for (size_t i = 0; i < chain->segment_count; i++) {
        dbi__segment *segment = chain->segments[i];

        if (atomic_load_explicit(&segment->first, memory_order_acquire) == 0)
            break;
        dbi__spin_lock(chain);
        step->active = segment == chain->active;
        step->offset = step->active ? chain->at : segment->end;
        step->sequence = step->active ? chain->next - 1 : atomic_load(&segment->last);
        dbi__spin_unlock(chain);
        if (segment->landed_at == 0 && segment->synced < step->offset) {
            step->segment = segment;
            step->failed = segment->sync_failed;
            step->listed = segment->listed;
            dbi__segment_name(chain->id, segment->header.number, ".seg", step->name);
            step->fd = segment->fd;
            chain->syncing = segment->header.number;
            break;
        }
        if (step->sequence > chain->synced)
            chain->synced = step->sequence;
    }
    dbi__unlock(&chain->lock);
}

/* Syncs one file and, when it is new, its name. */
static dbi_rc sync_file(dbi_chain *chain, const sync_step *step, int fd, dbi_err *err) {
    if (dbi__journal_os_calls.sync(fd) != 0)
        return dbi_err_sys(err, DBI_ESYS, errno,
                           "cannot sync journal segment %s/%s/%s: its events move to a new file, and are not safe from "
                           "a power loss until that is synced",
                           chain->journal->path, chain->slot->name, step->name);
    if (!step->listed && fsync(chain->slot->directory) != 0)
        return dbi_err_sys(err, DBI_ESYS, errno, "cannot sync the directory %s/%s", chain->journal->path,
                           chain->slot->name);
    return DBI_OK;
}

/* Lets the next segment become the active one, so that nothing is appended to this one any more. */
static dbi_rc sync_seal(dbi_chain *chain, const dbi__segment *segment, dbi_err *err) {
    bool active;
    dbi_rc rc;

    dbi__lock(&chain->maker);
    dbi__spin_lock(chain);
    active = chain->active == segment;
    if (active)
        chain->room_end = chain->at;
    dbi__spin_unlock(chain);
    rc = active ? dbi__chain_make(chain, 8, true, err) : DBI_OK;
    dbi__spin_lock(chain);
    if (rc == DBI_OK && chain->active == segment)
        (void)dbi__chain_roll(chain, 8);
    dbi__spin_unlock(chain);
    dbi__unlock(&chain->maker);
    return rc;
}

/* Writes the segment's bytes to a new file that takes its name. The segment is sealed and pinned. */
static dbi_rc sync_move(dbi_chain *chain, sync_step *step, dbi_err *err) {
    static const size_t STEP = 1 << 16;
    dbi__segment *segment = step->segment;
    int from = -1, to = -1, directory = chain->slot->directory;
    char temporary[DBI__FILE_NAME];
    uint8_t *bytes = NULL;
    bool moved = false;
    dbi_rc rc = DBI_OK;

    memcpy(temporary, step->name, sizeof temporary);
    memcpy(temporary + 49, ".tmp", 5);
    bytes = dbi_malloc(STEP);
    if (bytes == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for moving a journal segment");
    (void)unlinkat(directory, temporary, 0);
    from = dbi__fd_open(directory, step->name, O_RDONLY, 0);
    if (from >= 0)
        to = dbi__fd_open(directory, temporary, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (to < 0)
        goto failed;
    for (uint64_t at = 0; at < segment->header.size;) {
        uint64_t left = segment->header.size - at;
        size_t got = dbi__pread(from, bytes, left < STEP ? (size_t)left : STEP, at);

        if (got == 0 || !dbi__pwrite(to, bytes, got, at))
            goto failed;
        at += got;
    }
    if (dbi__journal_os_calls.sync(to) != 0 || renameat(directory, temporary, directory, step->name) != 0)
        goto failed;
    moved = true;
    if (fsync(directory) != 0)
        goto failed;
    dbi__lock(&chain->maker); /* the keeper may be fetching its pages */
    dbi__lock(&chain->lock);
    dbi__segment_unmap(segment);
    dbi__fd_close(&segment->fd);
    segment->fd = to;
    to = -1;
    segment->incarnation++;
    segment->sync_failed = false;
    segment->listed = true;
    dbi__unlock(&chain->lock);
    dbi__unlock(&chain->maker);
    goto done;
failed:
    rc = dbi__journal_sys(err, errno, "cannot move the events of journal segment %s/%s/%s to a new file",
                          chain->journal->path, chain->slot->name, step->name);
    if (to >= 0 && !moved)
        (void)unlinkat(directory, temporary, 0);
done:
    dbi__fd_close(&from);
    dbi__fd_close(&to);
    dbi_free(bytes);
    return rc;
}

static void sync_done(dbi_chain *chain, const sync_step *step) {
    dbi__segment *segment = step->segment;

    dbi__lock(&chain->lock);
    segment->synced = step->offset;
    segment->listed = true;
    if (step->sequence > chain->synced)
        chain->synced = step->sequence;
    if (segment->map != NULL)
        dbi__store64(segment->map + DBI__AT_SYNCED, step->offset, memory_order_relaxed);
    else if (segment->fd >= 0)
        (void)dbi__pwrite(segment->fd, &step->offset, sizeof step->offset, DBI__AT_SYNCED); /* a hint */
    dbi__unlock(&chain->lock);
}

dbi_rc dbi_chain_sync(dbi_chain *chain, uint64_t *synced, dbi_err *err) {
    uint64_t wanted = dbi_chain_last(chain);
    dbi_rc rc = DBI_OK;
    sync_step step;

    if (chain->fork != dbi__fork_now())
        return dbi__chain_forked(err);
    dbi__lock(&chain->syncing_lock);
    dbi__lock(&chain->lock);
    if (chain->slot == NULL || chain->gone)
        chain->synced = wanted > chain->synced ? wanted : chain->synced; /* as safe as memory is */
    dbi__unlock(&chain->lock);
    while (rc == DBI_OK && chain->synced < wanted) {
        int opened = -1, fd;

        sync_choose(chain, &step);
        if (step.segment == NULL)
            break;
        fd = step.fd;
        if (fd < 0)
            fd = opened = dbi__fd_open(chain->slot->directory, step.name, O_RDWR, 0);
        if (fd < 0)
            rc = dbi__journal_sys(err, errno, "cannot open journal segment %s/%s/%s", chain->journal->path,
                                  chain->slot->name, step.name);
        else if (!step.failed)
            rc = sync_file(chain, &step, fd, err);
        dbi__fd_close(&opened);
        if (fd >= 0 && (step.failed || rc != DBI_OK)) {
            dbi_rc moved;

            step.segment->sync_failed = true;
            moved = sync_seal(chain, step.segment, rc == DBI_OK ? err : NULL);
            if (moved == DBI_OK)
                moved = sync_move(chain, &step, rc == DBI_OK ? err : NULL);
            if (moved == DBI_OK) {
                step.offset = step.segment->end;
                step.sequence = atomic_load(&step.segment->last);
                sync_done(chain, &step);
            }
            rc = rc == DBI_OK ? moved : rc;
        } else if (rc == DBI_OK) {
            sync_done(chain, &step);
        }
        dbi__lock(&chain->lock);
        chain->syncing = 0;
        dbi__unlock(&chain->lock);
    }
    if (synced != NULL)
        *synced = chain->synced;
    dbi__unlock(&chain->syncing_lock);
    return rc;
}
