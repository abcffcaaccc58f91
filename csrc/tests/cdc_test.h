/* cdc_test.h - for the tests of changes: messages of pgoutput, and answers of the catalogue, put together by hand */
#ifndef DBI_CDC_TEST_H
#define DBI_CDC_TEST_H

#include "cdc/relation.h"
#include "test.h"

/* Bytes of a message, as the server puts them. */
typedef struct pg_wire {
    uint8_t bytes[4096];
    size_t length;
} pg_wire;

static inline void wire_byte(pg_wire *wire, uint8_t byte) {
    if (wire->length == sizeof wire->bytes)
        test_fail(__FILE__, __LINE__, "the message is too long for the test");
    wire->bytes[wire->length++] = byte;
}

static inline void wire_16(pg_wire *wire, uint16_t number) {
    wire_byte(wire, (uint8_t)(number >> 8));
    wire_byte(wire, (uint8_t)number);
}

static inline void wire_32(pg_wire *wire, uint32_t number) {
    wire_16(wire, (uint16_t)(number >> 16));
    wire_16(wire, (uint16_t)number);
}

static inline void wire_64(pg_wire *wire, uint64_t number) {
    wire_32(wire, (uint32_t)(number >> 32));
    wire_32(wire, (uint32_t)number);
}

static inline void wire_text(pg_wire *wire, const char *text) {
    for (; *text != '\0'; text++)
        wire_byte(wire, (uint8_t)*text);
}

static inline void wire_string(pg_wire *wire, const char *text) {
    wire_text(wire, text);
    wire_byte(wire, 0);
}

/* A value of a row; NULL is null, "\1" is unchanged. */
static inline void wire_cell(pg_wire *wire, const char *text) {
    if (text == NULL) {
        wire_byte(wire, 'n');
    } else if (strcmp(text, "\1") == 0) {
        wire_byte(wire, 'u');
    } else {
        wire_byte(wire, 't');
        wire_32(wire, (uint32_t)strlen(text));
        wire_text(wire, text);
    }
}

/* The fields of the catalogue's answer about a column, in their order; NULL only for the position in the key. */
typedef struct answer_column {
    const char *name, *type, *typmod, *generated, *in_identity, *key, *base, *base_typmod, *arrays, *typtype, *typname,
        *delimiter;
} answer_column;

static inline PGresult *answer_make(const char *oid, const char *nspname, const char *relname, const char *identity,
                                    const answer_column *columns, int count) {
    PGresult *answer = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    PGresAttDesc attributes[16] = {{0}};
    static char none[] = "";

    for (int i = 0; i < 16; i++)
        attributes[i].name = none;
    CHECK(answer != NULL && PQsetResultAttrs(answer, 16, attributes) != 0);
    for (int row = 0; row < count; row++) {
        const answer_column *column = &columns[row];
        const char *fields[16] = {oid,
                                  nspname,
                                  relname,
                                  identity,
                                  column->name,
                                  column->type,
                                  column->typmod != NULL ? column->typmod : "-1",
                                  column->generated != NULL ? column->generated : "f",
                                  column->in_identity != NULL ? column->in_identity : "f",
                                  column->key,
                                  column->base != NULL ? column->base : column->type,
                                  column->base_typmod != NULL ? column->base_typmod
                                  : column->typmod != NULL    ? column->typmod
                                                              : "-1",
                                  column->arrays != NULL ? column->arrays : "0",
                                  column->typtype != NULL ? column->typtype : "b",
                                  column->typname != NULL ? column->typname : "",
                                  column->delimiter != NULL ? column->delimiter : ","};

        for (int i = 0; i < 16; i++)
            CHECK(PQsetvalue(answer, row, i, (char *)(uintptr_t)fields[i],
                             fields[i] != NULL ? (int)strlen(fields[i]) : -1) != 0);
    }
    return answer;
}

#endif
