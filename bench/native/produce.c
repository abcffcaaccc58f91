/* produce.c - the floor that every producer is measured against: a plain loop over rd_kafka_produce.
 *
 *   produce BOOTSTRAP TOPIC MESSAGES WARMUP SIZE
 *
 * acks=all, idempotent, linger 5 ms, one delivery callback a message, poll at every 1024th message and whenever the
 * queue is full, as rdkafka.h advises ("poll at regular intervals"). The clock starts when WARMUP messages have been
 * delivered, and stops when the last of MESSAGES has. Prints the line that bench/measure.py describes.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define PAYLOADS 1024
#define FLUSH_MS 120000

static int64_t delivered, failed;

static void die(const char *what, const char *why)
{
    fprintf(stderr, "produce: %s: %s\n", what, why);
    exit(1);
}

static double wall_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* CPU time so far of librdkafka's own threads, known by the names that it gives them. */
static double librdkafka_seconds(void)
{
    char path[300], name[32];
    long long ns, total = 0;
    struct dirent *entry;
    DIR *tasks = opendir("/proc/self/task");
    if (!tasks)
        die("/proc/self/task", strerror(errno));
    while ((entry = readdir(tasks))) {
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "r");
        bool ours = file && fgets(name, sizeof name, file) && strncmp(name, "rdk:", 4) == 0;
        if (file)
            fclose(file);
        snprintf(path, sizeof path, "/proc/self/task/%s/schedstat", entry->d_name);
        file = ours ? fopen(path, "r") : NULL;
        if (ours && (!file || fscanf(file, "%lld", &ns) != 1))
            die(path, "not readable");
        if (file) {
            total += ns;
            fclose(file);
        }
    }
    closedir(tasks);
    return (double)total / 1e9;
}

/* VmHWM in bytes, or 0 where /proc does not say. */
static int64_t peak_rss(void)
{
    char line[256];
    long long kib = 0;
    FILE *status = fopen("/proc/self/status", "r");
    if (!status)
        return 0;
    while (fgets(line, sizeof line, status))
        if (sscanf(line, "VmHWM: %lld kB", &kib) == 1)
            break;
    fclose(status);
    return (int64_t)kib * 1024;
}

static void on_delivery(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque)
{
    (void)producer;
    (void)opaque;
    if (message->err)
        failed++;
    else
        delivered++;
}

static void send_all(rd_kafka_t *producer, rd_kafka_topic_t *topic, char *payloads, size_t size, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        char *payload = payloads + (size_t)(i % PAYLOADS) * size;
        while (rd_kafka_produce(topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, payload, size, NULL, 0, NULL)) {
            if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
                die("produce", rd_kafka_err2str(rd_kafka_last_error()));
            rd_kafka_poll(producer, 10);
        }
        if (i % 1024 == 0)
            rd_kafka_poll(producer, 0);
    }
    rd_kafka_resp_err_t err = rd_kafka_flush(producer, FLUSH_MS);
    if (err)
        die("flush", rd_kafka_err2str(err));
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: produce BOOTSTRAP TOPIC MESSAGES WARMUP SIZE\n");
        return 2;
    }
    int64_t messages = atoll(argv[3]), warmup = atoll(argv[4]);
    size_t size = (size_t)atoll(argv[5]);
    const char *settings[][2] = {{"bootstrap.servers", argv[1]},
                                 {"acks", "all"},
                                 {"enable.idempotence", "true"},
                                 {"linger.ms", "5"},
                                 {"queue.buffering.max.messages", "100000"}};
    char why[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], why, sizeof why))
            die("configuration", why);
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_t *producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!producer)
        die("configuration", why);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(producer, argv[2], NULL);
    if (!topic)
        die("topic", rd_kafka_err2str(rd_kafka_last_error()));
    char *payloads = malloc(PAYLOADS * size);
    if (!payloads)
        die("payloads", "out of memory");
    for (size_t i = 0; i < PAYLOADS * size; i++)
        payloads[i] = (char)('a' + (i / size + i * 7) % 26);

    send_all(producer, topic, payloads, size, warmup);
    if (delivered != warmup || failed)
        die("warm-up", "not every message was delivered");
    delivered = 0;

    double library = librdkafka_seconds(), cpu = cpu_seconds(), wall = wall_seconds();
    send_all(producer, topic, payloads, size, messages);
    wall = wall_seconds() - wall;
    cpu = cpu_seconds() - cpu;
    library = librdkafka_seconds() - library;
    if (delivered != messages || failed)
        die("run", "not every message was delivered");

    printf("{\"count\": %" PRId64 ", \"seconds\": %.9f, \"cpu_seconds\": %.9f, \"librdkafka_seconds\": %.9f"
           ", \"peak_rss\": %" PRId64 ", \"versions\": {\"librdkafka\": \"%s\"}}\n",
           messages, wall, cpu, library, peak_rss(), rd_kafka_version_str());
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(producer);
    free(payloads);
    return 0;
}
