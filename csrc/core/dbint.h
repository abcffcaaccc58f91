/* dbint.h - the C core's public face: one header per noun, all of them here.
 *
 * The core is C11 over libpq and librdkafka. It knows nothing of Python, prints nothing, never exits, and takes all
 * its memory through alloc.h. ARCHITECTURE.md has the map, the threads and the order of locks.
 */
#ifndef DBINT_H
#define DBINT_H

#include "admin.h"
#include "alloc.h"
#include "breaker.h"
#include "clock.h"
#include "conn.h"
#include "consumer.h"
#include "dead.h"
#include "err.h"
#include "journal.h"
#include "kafka.h"
#include "ledger.h"
#include "mailbox.h"
#include "metrics.h"
#include "pool.h"
#include "producer.h"
#include "shipper.h"
#include "stream.h"
#include "version.h"
#include "writer.h"

#endif
