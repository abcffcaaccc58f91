/* admin.h - the few administrative calls that checks need: topics, and what the cluster consists of. */
#ifndef DBI_ADMIN_H
#define DBI_ADMIN_H

#include "kafka.h"

typedef struct dbi_admin dbi_admin;

/* Makes an admin client; checks every property, starts nothing. @thread any */
DBI_NODISCARD dbi_rc dbi_admin_new(dbi_admin **admin, const dbi_kafka_property *properties, size_t count,
                                   dbi_err *err);
void dbi_admin_free(dbi_admin *admin);
dbi_kafka *dbi_admin_kafka(dbi_admin *admin);

/* Creates a topic and waits until the cluster has it. partitions or replication -1 = the broker's default. `configs`
 * are topic properties ("retention.ms"). @thread any */
DBI_NODISCARD dbi_rc dbi_admin_create_topic(dbi_admin *admin, const char *topic, int partitions, int replication,
                                            const dbi_kafka_property *configs, size_t count, int64_t deadline,
                                            dbi_err *err);
DBI_NODISCARD dbi_rc dbi_admin_delete_topic(dbi_admin *admin, const char *topic, int64_t deadline, dbi_err *err);

/* The brokers, and of the topics all, the one named, or none; the caller's to destroy with rd_kafka_metadata_destroy; with
 * cluster_id (may be NULL), to be given to dbi_free, and the controller's broker id (-1 = unknown). @thread any */
DBI_NODISCARD dbi_rc dbi_admin_describe(dbi_admin *admin, bool all_topics, const char *topic, int64_t deadline,
                                        const struct rd_kafka_metadata **metadata, char **cluster_id,
                                        int32_t *controller, dbi_err *err);

DBI_NODISCARD dbi_rc dbi_admin_close(dbi_admin *admin, dbi_err *err);

#endif
