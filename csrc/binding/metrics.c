/* metrics.c - metrics_snapshot(): the core's metrics as Python values. */
#include "metrics.h"

#include "binding.h"

const char dbi_metrics_snapshot_doc[] =
    "metrics_snapshot()\n--\n\n"
    "All metrics of the core at this moment: a list of (name, kind, labels, value).\n\n"
    "kind is 'counter' (value: an int), 'gauge' (a float) or 'histogram' (a dict of count, sum, max, p50, p95, p99 "
    "and\n"
    "buckets, a list of (upper bound, count) without the empty ones; times in seconds, the bounds at most 1/32 above\n"
    "what they hold).";

static PyObject *seconds(int64_t ns) {
    return PyFloat_FromDouble((double)ns / (double)DBI_NS_PER_S);
}

static PyObject *buckets_list(const dbi_histogram_view *view) {
    PyObject *list = PyList_New(0);

    for (unsigned i = 0; list != NULL && i < DBI_HISTOGRAM_BUCKETS; i++) {
        PyObject *pair;

        if (view->buckets[i] == 0)
            continue;
        pair = Py_BuildValue("(NK)", seconds(dbi_histogram_upper(i)), (unsigned long long)view->buckets[i]);
        if (pair == NULL || PyList_Append(list, pair) < 0)
            Py_CLEAR(list);
        Py_XDECREF(pair);
    }
    return list;
}

static PyObject *histogram_dict(const dbi_histogram_view *view) {
    return Py_BuildValue("{sK sN sN sN sN sN sN}", "count", (unsigned long long)view->count, "sum", seconds(view->sum),
                         "max", seconds(view->max), "p50", seconds(dbi_histogram_percentile(view, 50)), "p95",
                         seconds(dbi_histogram_percentile(view, 95)), "p99",
                         seconds(dbi_histogram_percentile(view, 99)), "buckets", buckets_list(view));
}

static PyObject *labels_dict(const dbi_metric *metric) {
    PyObject *dict = PyDict_New();

    for (unsigned i = 0; dict != NULL && i < metric->label_count; i++) {
        const char *text = metric->labels[i].value;
        PyObject *value = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");

        if (value == NULL || PyDict_SetItemString(dict, metric->labels[i].name, value) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(value);
    }
    return dict;
}

static PyObject *metric_tuple(const dbi_metric *metric) {
    switch (metric->kind) {
    case DBI_COUNTER:
        return Py_BuildValue("(ssNK)", metric->name, "counter", labels_dict(metric),
                             (unsigned long long)metric->counter);
    case DBI_GAUGE:
        return Py_BuildValue("(ssNd)", metric->name, "gauge", labels_dict(metric), metric->gauge);
    case DBI_HISTOGRAM:
        break;
    }
    return Py_BuildValue("(ssNN)", metric->name, "histogram", labels_dict(metric), histogram_dict(metric->histogram));
}

PyObject *dbi_metrics_snapshot(PyObject *module, PyObject *Py_UNUSED(ignored)) {
    dbi_snapshot snapshot;
    PyObject *list;
    dbi_err err;

    if (dbi_snapshot_take(&snapshot, &err) != DBI_OK)
        return dbi_raise(PyModule_GetState(module), &err);
    list = PyList_New((Py_ssize_t)snapshot.count);
    for (size_t i = 0; list != NULL && i < snapshot.count; i++) {
        PyObject *tuple = metric_tuple(&snapshot.metrics[i]);

        if (tuple == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, tuple);
    }
    dbi_snapshot_reset(&snapshot);
    return list;
}
