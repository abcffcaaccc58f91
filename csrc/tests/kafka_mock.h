/* kafka_mock.h - librdkafka's mock cluster for the tests of producer, consumer and admin client
 *
 * It speaks the protocol over real sockets in this process, and makes errors to order. It does not deduplicate, fence
 * or hide aborted messages: that is tested with a real broker.
 */
#ifndef DBI_KAFKA_MOCK_H
#define DBI_KAFKA_MOCK_H

#include <arpa/inet.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "c11_threads.h"
#include "clock.h"
#include "kafka.h"
#include "test.h"

#define MOCK_PRODUCE 0 /* Kafka's API keys */
#define MOCK_INIT_PRODUCER_ID 22
#define MOCK_END_TXN 26
#define NOWHERE "127.0.0.1:1" /* refuses connections */

typedef struct mock {
    rd_kafka_t *owner;
    rd_kafka_mock_cluster_t *cluster;
    const char *bootstrap;
} mock;

static inline void mock_up(mock *cluster) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char text[200];

    CHECK_INT(rd_kafka_conf_set(conf, "log_level", "0", text, sizeof text), RD_KAFKA_CONF_OK);
    cluster->owner = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    CHECK(cluster->owner != NULL);
    cluster->cluster = rd_kafka_mock_cluster_new(cluster->owner, 1);
    CHECK(cluster->cluster != NULL);
    cluster->bootstrap = rd_kafka_mock_cluster_bootstraps(cluster->cluster);
    CHECK_INT(rd_kafka_mock_topic_create(cluster->cluster, "t", 2, 1), 0);
}

static inline void mock_down(mock *cluster) {
    if (cluster->cluster != NULL)
        rd_kafka_mock_cluster_destroy(cluster->cluster);
    if (cluster->owner != NULL)
        rd_kafka_destroy(cluster->owner);
}

/* A server that takes connections and never answers. */
typedef struct silent {
    int fd;
    char address[32];
} silent;

static inline void silent_up(silent *server) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;

    server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(bind(server->fd, (struct sockaddr *)&name, size), 0);
    CHECK_INT(listen(server->fd, 16), 0);
    CHECK_INT(getsockname(server->fd, (struct sockaddr *)&name, &size), 0);
    (void)snprintf(server->address, sizeof server->address, "127.0.0.1:%d", ntohs(name.sin_port));
}

/* What a client asks between two slices of a wait: goes on once, then interrupts. */
static atomic_int checks;

static inline dbi_rc check_twice(void) {
    return atomic_fetch_add(&checks, 1) % 2 == 0 ? DBI_OK : DBI_EINTR;
}

static inline int64_t after_ms(int64_t ms) {
    return dbi_clock_deadline(NULL, ms * DBI_NS_PER_MS);
}

static inline void sleep_ms(int64_t ms) {
    const struct timespec pause = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000 * DBI_NS_PER_MS)};
    (void)nanosleep(&pause, NULL);
}

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

#endif
