/* outlet_type.h - _core.Outlet, for those that send through it */
#ifndef DBI_BINDING_OUTLET_H
#define DBI_BINDING_OUTLET_H

#include "binding.h"
#include "cdc/outlet.h"

typedef struct outlet_object {
    PyObject_HEAD
    dbi_state *state;
    dbi_outlet *outlet;
} outlet_object;

#endif
