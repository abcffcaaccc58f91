/* admin.c - see admin.h */
#include "admin.h"

#include <string.h>
#include <time.h>

#include "alloc.h"
#include "clock.h"
#include "kafka_int.h"

struct dbi_admin {
    dbi_kafka kafka;
};

dbi_rc dbi_admin_new(dbi_admin **admin_out, const dbi_kafka_property *properties, size_t count, dbi_err *err) {
    static const dbi_kafka_property defaults[] = {{"allow.auto.create.topics", "false"}};
    dbi_admin *admin = dbi_calloc(1, sizeof *admin);
    dbi_rc rc;

    *admin_out = NULL;
    if (admin == NULL)
        return dbi_err_set(err, DBI_ENOMEM, "no memory for a Kafka admin client");
    rc = dbi__kafka_init(&admin->kafka, RD_KAFKA_PRODUCER, defaults, 1, properties, count, 0, err);
    if (rc != DBI_OK)
        dbi_admin_free(admin);
    else
        *admin_out = admin;
    return rc;
}

static void admin_end(dbi_admin *admin) {
    rd_kafka_queue_destroy(admin->kafka.events);
    rd_kafka_destroy(admin->kafka.rk);
    admin->kafka.rk = NULL;
}

void dbi_admin_free(dbi_admin *admin) {
    if (admin == NULL)
        return;
    if (admin->kafka.rk != NULL && !dbi_kafka_forked(&admin->kafka))
        admin_end(admin);
    dbi__kafka_reset(&admin->kafka);
    dbi_free(admin);
}

dbi_kafka *dbi_admin_kafka(dbi_admin *admin) {
    return &admin->kafka;
}

dbi_rc dbi_admin_close(dbi_admin *admin, dbi_err *err) {
    bool was_open;
    dbi_rc rc = dbi__kafka_begin_close(&admin->kafka, &was_open, err);

    if (rc == DBI_OK && was_open)
        admin_end(admin);
    return rc;
}

/* An error of the call itself; waiting for a broker, its reason is what the brokers said. */
static dbi_rc admin_fail(dbi_admin *admin, dbi_err *err, rd_kafka_resp_err_t code, const char *what) {
    dbi__kafka_serve(&admin->kafka);
    return dbi__kafka_fail(&admin->kafka, err, code, what);
}

/* Asks for metadata; brokers that refuse connections or credentials are not waited for until the deadline. */
static dbi_rc admin_metadata(dbi_admin *admin, bool all_topics, rd_kafka_topic_t *rkt, int64_t deadline,
                             const struct rd_kafka_metadata **metadata, const char *what, dbi_err *err) {
    dbi__slices slices = {
        .kafka = &admin->kafka, .deadline = deadline, .length = DBI__KAFKA_SLICE, .restarts = true};
    rd_kafka_resp_err_t code;
    dbi_rc rc = DBI_OK;

    do {
        code = rd_kafka_metadata(admin->kafka.rk, all_topics, rkt, metadata, dbi__slice_ms(&slices));
        dbi__kafka_serve(&admin->kafka);
    } while (!(dbi__kafka_refused(&admin->kafka) || dbi_kafka_last_error(&admin->kafka, NULL) == DBI_EUNREACHABLE) &&
             dbi__slice_again(&slices, code, &rc, err));
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        dbi__kafka_well(&admin->kafka);
    else if (rc == DBI_OK)
        rc = admin_fail(admin, err, code, what);
    return rc;
}

/* Finds a broker, so that a request is not left waiting for one: it could be carried out long after its caller was told
 * that there is none. */
static dbi_rc admin_reach(dbi_admin *admin, int64_t deadline, const char *what, dbi_err *err) {
    const struct rd_kafka_metadata *metadata = NULL;
    dbi_rc rc = admin_metadata(admin, false, NULL, deadline, &metadata, what, err);

    if (metadata != NULL)
        rd_kafka_metadata_destroy(metadata);
    return rc;
}

/* What the cluster answered about one topic. */
static dbi_rc admin_topic_result(const rd_kafka_topic_result_t *const *results, size_t count, const char *what,
                                 dbi_err *err) {
    rd_kafka_resp_err_t code;
    const char *text;
    dbi_rc rc;

    if (count != 1)
        return dbi_err_set(err, DBI_EKAFKA, "%s: the broker answered about %zu topics instead of one", what, count);
    code = rd_kafka_topic_result_error(results[0]);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return DBI_OK;
    text = rd_kafka_topic_result_error_string(results[0]);
    rc = dbi_err_set(err, dbi_kafka_rc(code), "%s \"%.200s\": %s", what, rd_kafka_topic_result_name(results[0]),
                     text != NULL ? text : rd_kafka_err2str(code));
    if (err != NULL)
        err->kafka = code;
    return rc;
}

/* Options of a request that ends at the deadline; *ms is also how long its answer is waited for. */
static rd_kafka_AdminOptions_t *admin_options(dbi_admin *admin, rd_kafka_admin_op_t op, int64_t deadline, int *ms) {
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(admin->kafka.rk, op);

    *ms = dbi__kafka_ms(deadline);
    if (*ms > 3600000) /* librdkafka's maximum */
        *ms = 3600000;
    if (*ms < 1)
        *ms = 1;
    (void)rd_kafka_AdminOptions_set_request_timeout(options, *ms, NULL, 0);
    (void)rd_kafka_AdminOptions_set_operation_timeout(options, *ms, NULL, 0);
    return options;
}

/* Waits for the one answer on the queue, and says what it was. */
static dbi_rc admin_answer(dbi_admin *admin, rd_kafka_queue_t *queue, int ms, const char *what, dbi_err *err) {
    /* The request has its own timeout: a little more here, so that its reason is seen. */
    dbi__slices slices = {.kafka = &admin->kafka,
                          .deadline = dbi_clock_deadline(NULL, (ms + 500) * DBI_NS_PER_MS),
                          .length = DBI__KAFKA_SLICE};
    const rd_kafka_topic_result_t **results = NULL;
    size_t count = 0;
    dbi_rc rc;
    rd_kafka_event_t *event = dbi__slice_poll(&slices, queue, &rc, err);

    if (rc != DBI_OK)
        return rc;
    if (event == NULL)
        return admin_fail(admin, err, RD_KAFKA_RESP_ERR__TIMED_OUT, what);
    if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        rc = admin_fail(admin, err, rd_kafka_event_error(event), what);
    } else {
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_CREATETOPICS_RESULT)
            results = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
        else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DELETETOPICS_RESULT)
            results = rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), &count);
        rc = admin_topic_result(results, count, what, err);
        dbi__kafka_well(&admin->kafka);
    }
    rd_kafka_event_destroy(event);
    return rc;
}

dbi_rc dbi_admin_create_topic(dbi_admin *admin, const char *topic, int partitions, int replication,
                              const dbi_kafka_property *configs, size_t count, int64_t deadline, dbi_err *err) {
    char text[256] = "";
    rd_kafka_NewTopic_t *wanted;
    rd_kafka_AdminOptions_t *options;
    rd_kafka_queue_t *queue;
    int ms;
    dbi_rc rc = dbi__kafka_enter(&admin->kafka, err);

    if (rc != DBI_OK)
        return rc;
    rc = admin_reach(admin, deadline, "creating topic", err);
    if (rc != DBI_OK)
        goto done;
    wanted = rd_kafka_NewTopic_new(topic, partitions, replication, text, sizeof text);
    if (wanted == NULL) {
        rc = dbi_err_set(err, DBI_EINVAL, "creating topic \"%.200s\": %s", topic, text);
        goto done;
    }
    for (size_t i = 0; i < count; i++)
        (void)rd_kafka_NewTopic_set_config(wanted, configs[i].name, configs[i].value);
    queue = rd_kafka_queue_new(admin->kafka.rk);
    options = admin_options(admin, RD_KAFKA_ADMIN_OP_CREATETOPICS, deadline, &ms);
    rd_kafka_CreateTopics(admin->kafka.rk, &wanted, 1, options, queue);
    rc = admin_answer(admin, queue, ms, "creating topic", err);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
    rd_kafka_NewTopic_destroy(wanted);
done:
    dbi__kafka_leave(&admin->kafka);
    return rc;
}

dbi_rc dbi_admin_delete_topic(dbi_admin *admin, const char *topic, int64_t deadline, dbi_err *err) {
    rd_kafka_DeleteTopic_t *unwanted;
    rd_kafka_AdminOptions_t *options;
    rd_kafka_queue_t *queue;
    int ms;
    dbi_rc rc = dbi__kafka_enter(&admin->kafka, err);

    if (rc != DBI_OK)
        return rc;
    rc = admin_reach(admin, deadline, "deleting topic", err);
    if (rc != DBI_OK)
        goto done;
    unwanted = rd_kafka_DeleteTopic_new(topic);
    queue = rd_kafka_queue_new(admin->kafka.rk);
    options = admin_options(admin, RD_KAFKA_ADMIN_OP_DELETETOPICS, deadline, &ms);
    rd_kafka_DeleteTopics(admin->kafka.rk, &unwanted, 1, options, queue);
    rc = admin_answer(admin, queue, ms, "deleting topic", err);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
    rd_kafka_DeleteTopic_destroy(unwanted);
done:
    dbi__kafka_leave(&admin->kafka);
    return rc;
}

dbi_rc dbi_admin_describe(dbi_admin *admin, bool all_topics, const char *topic, int64_t deadline,
                          const struct rd_kafka_metadata **metadata, char **cluster_id, int32_t *controller,
                          dbi_err *err) {
    rd_kafka_topic_t *rkt = NULL;
    char *id = NULL;
    dbi_rc rc = dbi__kafka_enter(&admin->kafka, err);

    *metadata = NULL;
    if (cluster_id != NULL)
        *cluster_id = NULL;
    if (rc != DBI_OK)
        return rc;
    if (topic != NULL && (rkt = rd_kafka_topic_new(admin->kafka.rk, topic, NULL)) == NULL) {
        rc = dbi_kafka_err(err, rd_kafka_last_error(), "topic \"%.200s\"", topic);
        goto done;
    }
    rc = admin_metadata(admin, all_topics, rkt, deadline, metadata, "asking the brokers for metadata", err);
    if (rc != DBI_OK)
        goto done;
    /* Both come with the metadata: no waiting. */
    if (controller != NULL)
        *controller = rd_kafka_controllerid(admin->kafka.rk, 0);
    if (cluster_id != NULL && (id = rd_kafka_clusterid(admin->kafka.rk, 0)) != NULL &&
        (*cluster_id = dbi_strdup(id)) == NULL)
        rc = dbi_err_set(err, DBI_ENOMEM, "no memory for the cluster's id");
done:
    if (rc != DBI_OK && *metadata != NULL) {
        rd_kafka_metadata_destroy(*metadata);
        *metadata = NULL;
    }
    if (id != NULL)
        rd_kafka_mem_free(admin->kafka.rk, id);
    if (rkt != NULL)
        rd_kafka_topic_destroy(rkt);
    dbi__kafka_leave(&admin->kafka);
    return rc;
}
