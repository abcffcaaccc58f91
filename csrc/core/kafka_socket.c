/* kafka_socket.c - librdkafka's sockets, known so that a forked child can let go of them
 *
 * A child inherits its parent's connections. It cannot end the clients they belong to (their threads are not there,
 * their locks may be held), but as long as it keeps the descriptors, a broker sees no end of a connection that the parent
 * has closed. So the child closes them, first thing. Nothing is sent by that: the connections stay the parent's.
 */
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "kafka_int.h"

/* One bit per descriptor; those from SOCKETS_MAX on are not followed. */
#define SOCKETS_MAX 65536
#define WORD_BITS 64

/* Held while a socket is made, closed or forked over: a child never sees one that is open and not noted. */
static pthread_mutex_t sockets_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t sockets[SOCKETS_MAX / WORD_BITS];

static void sockets_note(int fd, bool open) {
    uint64_t bit = UINT64_C(1) << fd % WORD_BITS;

    if (fd >= SOCKETS_MAX)
        return;
    if (open)
        sockets[fd / WORD_BITS] |= bit;
    else
        sockets[fd / WORD_BITS] &= ~bit;
}

/* On librdkafka's broker threads, as is the next one. */
static int socket_open(int domain, int type, int protocol, void *opaque) {
    int fd;

    (void)opaque;
    (void)pthread_mutex_lock(&sockets_lock);
    fd = socket(domain, type | SOCK_CLOEXEC, protocol);
    if (fd >= 0)
        sockets_note(fd, true);
    (void)pthread_mutex_unlock(&sockets_lock);
    return fd;
}

static int socket_close(int fd, void *opaque) {
    int status;

    (void)opaque;
    (void)pthread_mutex_lock(&sockets_lock);
    sockets_note(fd, false);
    status = close(fd);
    (void)pthread_mutex_unlock(&sockets_lock);
    return status;
}

/* glibc's getaddrinfo takes a lock that a fork does not reset (in __check_pf): a child that is forked while a thread
 * holds it waits for ever in its first look-up. So a fork waits until no look-up is under way, and none begins during
 * the fork. It waits no longer than this: a look-up that takes longer has left the lock, and waits for name servers. */
#define FORK_WAIT_NS DBI_NS_PER_S

static unsigned lookups; /* under way */
static pthread_cond_t lookups_over = PTHREAD_COND_INITIALIZER;

/* librdkafka asks for an answer to be freed by naming nothing. */
static int address_find(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found,
                        void *opaque) {
    int status;

    (void)opaque;
    if (node == NULL && service == NULL) {
        freeaddrinfo(*found);
        return 0;
    }
    (void)pthread_mutex_lock(&sockets_lock);
    lookups++;
    (void)pthread_mutex_unlock(&sockets_lock);
    status = getaddrinfo(node, service, hints, found);
    (void)pthread_mutex_lock(&sockets_lock);
    if (--lookups == 0)
        (void)pthread_cond_broadcast(&lookups_over);
    (void)pthread_mutex_unlock(&sockets_lock);
    return status;
}

void dbi__kafka_follow_sockets(rd_kafka_conf_t *conf) {
    rd_kafka_conf_set_resolve_cb(conf, address_find);
    rd_kafka_conf_set_socket_cb(conf, socket_open);
    rd_kafka_conf_set_closesocket_cb(conf, socket_close);
}

void dbi__kafka_before_fork(void) {
    struct timespec until = dbi_clock_timespec(dbi_clock_deadline(NULL, FORK_WAIT_NS));

    (void)pthread_mutex_lock(&sockets_lock);
    while (lookups > 0)
        if (pthread_cond_clockwait(&lookups_over, &sockets_lock, CLOCK_MONOTONIC, &until) != 0)
            break;
}

void dbi__kafka_after_fork_parent(void) {
    (void)pthread_mutex_unlock(&sockets_lock);
}

void dbi__kafka_after_fork_child(void) {
    for (int word = 0; word < SOCKETS_MAX / WORD_BITS; word++)
        for (; sockets[word] != 0; sockets[word] &= sockets[word] - 1)
            (void)close(word * WORD_BITS + __builtin_ctzll(sockets[word]));
    lookups = 0; /* their threads are the parent's */
    lookups_over = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    (void)pthread_mutex_unlock(&sockets_lock);
}
