/* pool_type.h - the inside of Pool, for the types that use one */
#ifndef DBI_POOL_TYPE_H
#define DBI_POOL_TYPE_H

#include "binding.h"
#include "pool.h"

/* Whoever borrows `pool` keeps a reference to the object. */
typedef struct pool_object {
    PyObject_HEAD
    PyObject *weakrefs;
    dbi_state *state;
    dbi_pool *pool;
} pool_object;

#endif
