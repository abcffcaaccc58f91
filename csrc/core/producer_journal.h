/* producer_journal.h - the journal behind a producer: messages wait on disk while the brokers are away.
 *
 *     enqueue() -> lane (a chain of the journal) -> replay thread -> librdkafka -> brokers
 *                                                   <- delivery reports: the lane's prefix is released
 *
 * Every message goes this way, whether brokers are there or not: with a second, shorter way past the journal, order
 * would be lost at each change between the two. What that costs is one copy into the page cache and one out of it.
 *
 * What a record is: journal.h, kind 2. It holds all that Kafka is to get, the time of the message included, and an event
 * id (UUIDv7), which is sent in the header "dbint.id": two messages with one id are one message, delivered twice.
 *
 * When it goes: a lane's records are released by the longest prefix of delivered (or dead) ones, noted in the segment's
 * header as `landed`; whole segments below it are deleted. So a process that dies leaves what was delivered behind the
 * first undelivered message, and since the last note, to be sent again: at most one volley of a lane.
 *
 * Order per key: a key's messages are in one lane, handed over in the lane's order, by one thread, to an idempotent
 * client that never gives up (message.timeout.ms = 0), whose partitioner sends a key to one partition. Lane = murmur2 of
 * the key, sign bit off, modulo lanes: the arithmetic of Kafka's Java partitioner, so that where the client's partitioner
 * is murmur2_random and the number of partitions a multiple of the lanes, a partition without a leader holds up one lane
 * only. Without a key, the partition, if one was given, stands for it; else lanes take turns.
 *
 * Volleys. Left to itself, librdkafka goes on behind messages that a broker refuses, and later ones of the same key get
 * through before they are sent again. (Its enable.gapless.guarantee makes each refusal the end of the client, with all
 * its topics, and does not hold for a client's first requests to a partition: a broker that does not know the producer
 * accepts any sequence number.) So there must be nothing behind. A lane's messages go in volleys, the next one when all of
 * the last one has been reported on, and all that is on its way fits into one request: what a partition gets of it is
 * refused as a whole. librdkafka must not send the first part of a volley while the rest is being handed over: its linger
 * never ends, and only a flush, between two volleys, lets it send. The first message to a topic goes alone, for what waits
 * until the topic's partitions are known would be sent in parts. The next volley gathers meanwhile, so the more there is to
 * send, the larger are the requests. The price: a lane waits for its slowest partition, and has one request a round trip.
 *
 * Order over the death of a process: whoever opens a journal takes over, before its first message, all slots whose owner
 * is dead, and sends what it found before anything of its own. A process that is restarted so goes on in order, also
 * with another number of lanes, or after the machine was restarted. A live process that takes over a dead neighbour's
 * slot later sends its messages beside its own: they may come behind newer ones of the same key that other processes have
 * sent. Among processes there is no order, as there is none without a journal; the event ids tell what is older.
 *
 * What send()'s receipt means: delivered, with partition and offset, as without a journal; it may come as late as the
 * brokers do. That enqueue() or send() has returned means that the message is in the journal, and as durable as
 * `durability` says (send() does not wait for fsync, its receipt says more). A receipt that cannot come, because the
 * producer is closed, says that the message is in the journal still (dbi_ticket.journaled).
 *
 * What is refused. When a delivery report is an error, or the client had to be made anew, what is on its way is waited
 * for, and the lane is taken back to its first undelivered message: it and all that was handed over behind it are sent
 * again, in order. Messages share requests, and a request is refused as a whole: so they are sent again alone, one, then
 * two, four, ... at a time, and a message that is refused when it is alone is to blame itself. (A report that says
 * "delivered" without an offset is no answer of a broker, see report_error in producer.c: that message is sent again.)
 * Then it depends:
 *
 *     too large, invalid, no such topic or partition     dead letter: <journal>/dead/<chain>.jsonl (dead.h), on disk
 *                                                        before the message is released; counted as failed
 *     anything else (not authorised, ...)                held: the lane waits, and tries this one again after 1 to 30 s
 *     fatal to the client (sequence lost by a broker)    the client is made anew, and all lanes are taken back
 *
 * Other cluster: a chain is pinned to the cluster (by its id) that it met first, for a wrong bootstrap.servers must not
 * scatter messages. At another one, what this process has appended goes there as a chain of its own (dbi_chain_part),
 * and what was left by an earlier process is held. Nothing is handed to librdkafka before a broker has told the id.
 *
 * Full: the cap is on the own slot. A policy says what gives way: the caller waits, is refused, the new message or the
 * oldest ones are dropped and counted.
 *
 * Threads: the replay thread does all but appending, tending segments and fsync; a keeper does these two, and adopts.
 * They start when the client is opened, so in the process that works, and end with it.
 *
 * Fork: journal and client are the parent's; the child closes its copies of the descriptors, and every call answers
 * DBI_EFORK. A producer that was made before a fork and is first used after it has a slot of its own.
 *
 * Locks: `lock` guards all but the lanes' queues of receipts (lane.lock, taken under it, or around an append). It is not
 * held while a broker is waited for, nor while a segment is made.
 */
#ifndef DBI_PRODUCER_JOURNAL_H
#define DBI_PRODUCER_JOURNAL_H

#include "producer_int.h"

typedef struct dbi__producer_journal dbi__producer_journal;

/* DBI_ECONFIG for what cannot work. */
DBI_NODISCARD dbi_rc dbi__producer_journal_check(const dbi_producer_journal_config *config, dbi_err *err);

/* Opens journal and lanes, takes over what dead processes left, starts the threads. Called while the client is opened.
 * @thread one @locks kafka.opening held */
DBI_NODISCARD dbi_rc dbi__producer_journal_open(dbi__producer_journal **opened, dbi_producer *producer,
                                                const dbi_producer_journal_config *config, size_t message_max,
                                                dbi_err *err);

/* Writes the message into its lane; with a mailbox, its report comes there. Errors as of dbi_producer_enqueue; the
 * policy for a full journal is the producer's. @thread any @locks lane, and those of an append */
DBI_NODISCARD dbi_rc dbi__producer_journal_take(dbi__producer_journal *journal, dbi_topic *topic,
                                                const dbi_message *message, dbi_mailbox *mailbox, void *user,
                                                dbi_err *err);

/* @thread any @locks lock */
DBI_NODISCARD dbi_rc dbi__producer_journal_flush(dbi__producer_journal *journal, int64_t deadline, uint64_t *left,
                                                 dbi_err *err);
void dbi__producer_journal_counts(dbi__producer_journal *journal, dbi_producer_counts *counts);
void dbi__producer_journal_look(dbi__producer_journal *journal, dbi_producer_journal_view *view);

/* Ends the threads: no more is handed over. @thread one */
void dbi__producer_journal_stop(dbi__producer_journal *journal);

/* After the client's queues were purged and their reports have come: notes what was delivered, answers those who wait,
 * gives up the slot. Counters stay readable. @thread one, after stop */
void dbi__producer_journal_end(dbi__producer_journal *journal);

/* Memory; in a child of fork, nothing else. NULL is allowed. */
void dbi__producer_journal_free(dbi__producer_journal *journal);

/* --- what producer.c does for it --- */

/* Hands one message to librdkafka. On RD_KAFKA_RESP_ERR_NO_ERROR headers and ticket are librdkafka's, the ticket comes
 * to its mailbox. *rc is DBI_ECLOSED when the client is closed. @thread replay */
rd_kafka_resp_err_t dbi__producer_wire(dbi_producer *producer, dbi_topic *topic, const dbi_message *message,
                                       rd_kafka_headers_t *headers, dbi_ticket *ticket, dbi_rc *rc, dbi_err *err);

/* Ends the client, whose messages have all been reported on, and opens another one. @thread replay, with no lock held
 * @locks kafka.opening */
DBI_NODISCARD dbi_rc dbi__producer_renew(dbi_producer *producer, dbi_err *err);

/* Counts a message as dead by this code. */
void dbi__producer_count_dead(dbi_producer *producer, rd_kafka_resp_err_t code);

#endif
