/* decode.c - _core.decode_changes(): what a capture would send for messages of pgoutput, without Kafka
 *
 * For looking at a slot's content (pg_logical_slot_peek_binary_changes) and for tests: the same decoder, relations and
 * envelopes as a capture's, one Python object per message.
 */
#include "binding.h"

#include "cdc/envelope.h"
#include "cdc/pgoutput.h"
#include "cdc/relation.h"

typedef struct decode_run {
    const dbi_state *state;
    PyObject *catalogue; /* borrowed; NULL = there is none */
    PyObject *messages;  /* a list */
    dbi_relations *relations;
    dbi_pgoutput *decoder;
    dbi_envelope *envelope;
    dbi_origin origin;
} decode_run;

static bool failed(const decode_run *decoding, dbi_rc rc, const dbi_err *err) {
    if (rc == DBI_OK)
        return false;
    if (rc == DBI_ENOMEM)
        (void)PyErr_NoMemory();
    else
        (void)dbi_raise(decoding->state, err);
    return true;
}

/* --- the catalogue's answer --- */

static bool answer_value(PGresult *answer, int row, int field, PyObject *value) {
    Py_ssize_t length;
    const char *text;

    if (value == Py_None) {
        if (PQsetvalue(answer, row, field, NULL, -1) == 0)
            return PyErr_NoMemory() != NULL;
        return true;
    }
    text = PyUnicode_AsUTF8AndSize(value, &length);
    if (text == NULL)
        return false;
    if (length > INT_MAX || PQsetvalue(answer, row, field, (char *)(uintptr_t)text, (int)length) == 0)
        return PyErr_NoMemory() != NULL;
    return true;
}

static bool answer_row(PGresult *answer, int row, PyObject *values) {
    PyObject *fields = PySequence_Fast(values, "catalogue: a row must be a sequence of str or None");
    bool filled = fields != NULL;
    static char name[] = "";

    if (fields == NULL)
        return false;
    if (row == 0) {
        PGresAttDesc attributes[64] = {{.name = name}};

        for (size_t i = 0; i < sizeof attributes / sizeof attributes[0]; i++)
            attributes[i].name = name;
        if (PySequence_Fast_GET_SIZE(fields) > 64 ||
            PQsetResultAttrs(answer, (int)PySequence_Fast_GET_SIZE(fields), attributes) == 0) {
            PyErr_SetString(PyExc_ValueError, "catalogue: a row has no more than 64 fields");
            filled = false;
        }
    }
    for (Py_ssize_t i = 0; filled && i < PySequence_Fast_GET_SIZE(fields) && i < PQnfields(answer); i++)
        filled = answer_value(answer, row, (int)i, PySequence_Fast_GET_ITEM(fields, i));
    Py_DECREF(fields);
    return filled;
}

/* Asks the caller's catalogue what the table looks like. */
static bool describe(decode_run *decoding, dbi_relation *relation) {
    char sql[DBI_RELATION_SQL_SIZE];
    PyObject *rows, *items = NULL;
    PGresult *answer = NULL;
    dbi_err err = {0};
    bool described = false;

    dbi_relation_question(relation, sql);
    rows = PyObject_CallFunction(decoding->catalogue, "s", sql);
    if (rows == NULL)
        return false;
    items = PySequence_Fast(rows, "catalogue: must return a sequence of rows");
    Py_DECREF(rows);
    if (items == NULL)
        return false;
    answer = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    if (answer == NULL) {
        (void)PyErr_NoMemory();
        goto done;
    }
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items); i++)
        if (!answer_row(answer, (int)i, PySequence_Fast_GET_ITEM(items, i)))
            goto done;
    described = PQntuples(answer) == 0 ||
                !failed(decoding, dbi_relations_describe(decoding->relations, relation, answer, &err), &err);
done:
    PQclear(answer);
    Py_DECREF(items);
    return described;
}

/* --- messages --- */

static PyObject *bytes_or_none(const void *bytes, size_t length) {
    return bytes != NULL ? PyBytes_FromStringAndSize(bytes, (Py_ssize_t)length) : Py_NewRef(Py_None);
}

static bool header_add(PyObject *headers, const char *name, const void *bytes, size_t length) {
    PyObject *value;
    bool added;

    if (bytes == NULL)
        return true;
    value = PyBytes_FromStringAndSize(bytes, (Py_ssize_t)length);
    added = value != NULL && PyDict_SetItemString(headers, name, value) == 0;
    Py_XDECREF(value);
    return added;
}

static bool message_add(const decode_run *decoding, const dbi_relation *relation, const dbi_envelope_message *message) {
    PyObject *headers = PyDict_New(), *table, *item;
    bool added = false;

    if (headers == NULL)
        return false;
    if (!header_add(headers, DBI_ENVELOPE_HEADER_UNCHANGED, message->unchanged, message->unchanged_length) ||
        !header_add(headers, DBI_ENVELOPE_HEADER_NEWKEY, message->newkey, message->newkey_length) ||
        !header_add(headers, DBI_ENVELOPE_HEADER_OLDKEY, message->oldkey, message->oldkey_length))
        goto done;
    table = relation != NULL ? PyUnicode_FromFormat("%s.%s", relation->nspname, relation->relname)
                             : PyUnicode_FromString("");
    item = Py_BuildValue("(NNNO)", table, bytes_or_none(message->key, message->key_length),
                         bytes_or_none(message->value, message->value_length), headers);
    added = item != NULL && PyList_Append(decoding->messages, item) == 0;
    Py_XDECREF(item);
done:
    Py_DECREF(headers);
    return added;
}

static dbi_relation *relation_of(const decode_run *decoding, uint32_t oid) {
    dbi_relation *relation = dbi_relations_find(decoding->relations, oid);

    if (relation == NULL)
        (void)dbi_raise_as(decoding->state, DBI_ERROR_DATABASE,
                           "a change is of the table with OID %lu, which no message has announced", (unsigned long)oid);
    return relation;
}

static bool truncated(decode_run *decoding, const dbi_pgoutput_message *message) {
    for (unsigned i = 0; i < message->truncate.count; i++) {
        dbi_relation *relation = relation_of(decoding, message->truncate.relations[i]);
        dbi_envelope_message sent;
        dbi_err err = {0};

        if (relation == NULL ||
            failed(decoding, dbi_envelope_truncate(decoding->envelope, relation, &decoding->origin, &sent, &err),
                   &err) ||
            !message_add(decoding, relation, &sent))
            return false;
    }
    return true;
}

static bool changed(decode_run *decoding, const dbi_pgoutput_message *message) {
    dbi_relation *relation = relation_of(decoding, message->change.relation);
    dbi_envelope_message sent[DBI_ENVELOPE_MESSAGES_MAX];
    unsigned count = 0;
    dbi_err err = {0};

    if (relation == NULL || failed(decoding,
                                   dbi_envelope_change(decoding->envelope, relation, message->kind, &message->change,
                                                       &decoding->origin, sent, &count, &err),
                                   &err))
        return false;
    for (unsigned i = 0; i < count; i++)
        if (!message_add(decoding, relation, &sent[i]))
            return false;
    return true;
}

static bool decode(decode_run *decoding, const dbi_pgoutput_message *message) {
    dbi_relation *relation;
    dbi_envelope_message sent;
    dbi_err err = {0};

    switch (message->kind) {
    case DBI_PGOUTPUT_BEGIN:
        decoding->origin.hi = message->begin.final_lsn;
        decoding->origin.commit_us = message->begin.commit_us;
        decoding->origin.xid = message->xid;
        return true;
    case DBI_PGOUTPUT_COMMIT:
        decoding->origin.xid = 0; /* a message outside of a transaction may follow */
        return true;
    case DBI_PGOUTPUT_STREAM_START:
        (void)dbi_raise_as(decoding->state, DBI_ERROR_CONFIGURATION,
                           "decode_changes: the messages are those of a streamed transaction, which may be undone yet;"
                           " read the slot with proto_version 1");
        return false;
    case DBI_PGOUTPUT_RELATION:
        return !failed(decoding, dbi_relations_put(decoding->relations, &message->relation, &relation, &err), &err) &&
               (decoding->catalogue == NULL || describe(decoding, relation));
    case DBI_PGOUTPUT_INSERT:
    case DBI_PGOUTPUT_UPDATE:
    case DBI_PGOUTPUT_DELETE:
        return changed(decoding, message);
    case DBI_PGOUTPUT_TRUNCATE:
        return truncated(decoding, message);
    case DBI_PGOUTPUT_MESSAGE:
        return !failed(decoding,
                       dbi_envelope_logical(decoding->envelope, message->message.prefix, message->message.content,
                                            message->message.length, &decoding->origin, &sent, &err),
                       &err) &&
               message_add(decoding, NULL, &sent);
    default:
        return true;
    }
}

/* One pair (LSN, message). */
static bool decode_pair(decode_run *decoding, PyObject *pair) {
    unsigned long long lsn;
    dbi_pgoutput_message message;
    dbi_err err = {0};
    Py_buffer bytes;
    bool decoded;

    if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2) {
        PyErr_SetString(PyExc_TypeError, "changes: must be pairs of an LSN (int) and a message (bytes)");
        return false;
    }
    lsn = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(pair, 0));
    if ((lsn == (unsigned long long)-1 && PyErr_Occurred() != NULL) ||
        PyObject_GetBuffer(PyTuple_GET_ITEM(pair, 1), &bytes, PyBUF_SIMPLE) < 0)
        return false;
    decoding->origin.lo = lsn;
    decoded =
        !failed(decoding, dbi_pgoutput_read(decoding->decoder, bytes.buf, (size_t)bytes.len, &message, &err), &err) &&
        decode(decoding, &message);
    PyBuffer_Release(&bytes);
    return decoded;
}

const char dbi_decode_changes_doc[] =
    "decode_changes(changes, *, name, database, version, catalogue=None, captured_us=0)\n--\n\n"
    "The messages that a capture sends for messages of pgoutput (protocol 1).\n\n"
    "changes: pairs (LSN as int, message as bytes), as pg_logical_slot_peek_binary_changes gives them to a session "
    "with\n"
    "capture_settings(). catalogue(sql) answers the question to the catalogue with rows of str or None; without it "
    "the\n"
    "replica identity stands for the key. Returns tuples (\"schema.table\", key, value, headers).";

PyObject *dbi_decode_changes(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"changes", "name", "database", "version", "catalogue", "captured_us", NULL};
    dbi_envelope_options options = {0};
    PyObject *changes, *catalogue = Py_None, *iterator = NULL, *pair;
    decode_run decoding = {.state = PyModule_GetState(module)};
    long long captured_us = 0;
    dbi_err err = {0};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$sssOL:decode_changes", names, &changes, &options.name,
                                     &options.database, &options.version, &catalogue, &captured_us))
        return NULL;
    decoding.catalogue = catalogue != Py_None ? catalogue : NULL;
    decoding.origin.captured_us = captured_us;
    decoding.messages = PyList_New(0);
    iterator = PyObject_GetIter(changes);
    if (decoding.messages == NULL || iterator == NULL ||
        failed(&decoding, dbi_relations_new(&decoding.relations, &err), &err) ||
        failed(&decoding, dbi_pgoutput_new(&decoding.decoder, &err), &err) ||
        failed(&decoding, dbi_envelope_new(&decoding.envelope, &options, &err), &err))
        goto done;
    while ((pair = PyIter_Next(iterator)) != NULL) {
        bool decoded = decode_pair(&decoding, pair);

        Py_DECREF(pair);
        if (!decoded)
            break;
    }
done:
    if (PyErr_Occurred() != NULL)
        Py_CLEAR(decoding.messages);
    Py_XDECREF(iterator);
    dbi_envelope_free(decoding.envelope);
    dbi_pgoutput_free(decoding.decoder);
    dbi_relations_free(decoding.relations);
    return decoding.messages;
}

const char dbi_capture_settings_doc[] = "capture_settings()\n--\n\n"
                                        "The SQL that makes a session write values as decode_changes() reads them.";

PyObject *dbi_capture_settings(PyObject *module, PyObject *ignored) {
    (void)module;
    (void)ignored;
    return PyUnicode_FromString(DBI_RELATION_SETTINGS);
}
