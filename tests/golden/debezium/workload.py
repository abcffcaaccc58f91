# ruff: noqa: E501, S104, S608 - one type or one step a line; SQL of its own
"""A workload with every type and every kind of change: what is recorded, and what both engines are compared by.

``SCHEMA`` makes the tables, ``ROWS`` is there before the capture starts (so it comes as a snapshot too),
``STEPS`` are the changes: each is one transaction, named for what it shows.
"""

NAMESPACE = "golden"
PUBLICATION = "golden"
PREFIX = "golden"

# One column per type: name, type, a usual value, the smallest, the largest, and a special one. None: NULL.
_TYPES: tuple[tuple[str, str, str | None, str | None, str | None, str | None], ...] = (
    ("c_boolean", "boolean", "true", "false", "true", "false"),
    ("c_smallint", "smallint", "12", "-32768", "32767", "0"),
    ("c_integer", "integer", "1234", "-2147483648", "2147483647", "0"),
    ("c_bigint", "bigint", "123456789012", "-9223372036854775808", "9223372036854775807", "0"),
    ("c_oid", "oid", "16384", "0", "4294967295", "1"),
    ("c_real", "real", "1.5", "-3.4028235e38", "3.4028235e38", "NaN"),
    ("c_double", "double precision", "0.1", "-1.7976931348623157e308", "1.7976931348623157e308", "Infinity"),
    ("c_double2", "double precision", "1e10", "5e-324", "123456789.125", "-Infinity"),
    ("c_double3", "double precision", "100", "1e-7", "0.001", "-0"),
    ("c_real2", "real", "0.1", "1e-45", "16777216", "-Infinity"),
    ("c_numeric", "numeric", "12345.678900", "-1e40", "1e40", "NaN"),
    ("c_numeric2", "numeric", "0", "-0.00000000000000000001", "99999999999999999999.99", "Infinity"),
    ("c_numeric_20_6", "numeric(20,6)", "1.5", "-99999999999999.999999", "99999999999999.999999", "0"),
    ("c_numeric_38", "numeric(38,0)", "7", "-" + "9" * 38, "9" * 38, "0"),
    ("c_money", "money", "1234.5", "-92233720368547758.08", "92233720368547758.07", "0"),
    ("c_char", "char(4)", "ab", "", "abcd", " x"),
    ("c_varchar", "varchar(20)", "varchar", "", "äöü€😀", 'quote " and \\ back'),
    ("c_text", "text", "text", "", "line\nline\ttab\r", "\x01\x1f\x7f\u2028 </script> é 😀"),
    ("c_name", "name", "name", "", "n" * 63, "x"),
    ("c_qchar", '"char"', "c", "", "z", "'"),
    ("c_bytea", "bytea", "\\x0102ff", "\\x", "\\x" + "00ff" * 40, "\\x00"),
    ("c_date", "date", "2026-11-22", "4713-01-01 BC", "5874897-12-31", "infinity"),
    ("c_date2", "date", "1970-01-01", "0001-01-01", "9999-12-31", "-infinity"),
    ("c_time", "time", "12:34:56.789012", "00:00:00", "24:00:00", "23:59:59.999999"),
    ("c_time_3", "time(3)", "12:34:56.789", "00:00:00", "23:59:59.999", "12:34:00"),
    ("c_timetz", "timetz", "12:34:56.789012+02", "00:00:00+15:59", "24:00:00-15:59", "12:00:00+05:30"),
    ("c_timestamp", "timestamp", "2026-11-22 12:34:56.789012", "4713-01-01 00:00:00 BC",
     "294276-12-31 23:59:59.999999", "infinity"),
    ("c_timestamp2", "timestamp", "2026-11-22 00:00:00", "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999",
     "-infinity"),
    ("c_timestamp_0", "timestamp(0)", "2026-11-22 12:34:56", "1969-12-31 23:59:59", "1970-01-01 00:00:00",
     "2000-02-29 12:00:00"),
    ("c_timestamp_3", "timestamp(3)", "2026-11-22 12:34:56.789", "1969-12-31 23:59:59.999",
     "1970-01-01 00:00:00.001", "2000-02-29 12:00:00.1"),
    ("c_timestamptz", "timestamptz", "2026-11-22 12:34:56.789012+02", "4713-01-01 00:00:00+00 BC",
     "294276-12-31 23:59:59.999999+00", "infinity"),
    ("c_timestamptz2", "timestamptz", "2026-11-22 00:00:00+00", "0001-01-01 00:00:00+00",
     "9999-12-31 23:59:59.999999+00", "-infinity"),
    ("c_timestamptz_3", "timestamptz(3)", "2026-11-22 12:34:56.5+00", "1969-12-31 23:59:59.999+00",
     "1970-01-01 00:00:00+00", "2000-02-29 12:00:00+00"),
    ("c_interval", "interval", "1 year 2 mons 3 days 04:05:06.789", "-178000000 years", "178000000 years",
     "-1 days +02:03:04.000001"),
    ("c_uuid", "uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "00000000-0000-0000-0000-000000000000",
     "ffffffff-ffff-ffff-ffff-ffffffffffff", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A12"),
    ("c_json", "json", '{"a": [1, 2.50, null], "a": "ü"}', "null", '"text"', " [1,\n 2] "),
    ("c_jsonb", "jsonb", '{"b": 1, "a": [1, 2.50, null, true]}', "null", '"text"', '{"e": 1e3, "u": "\\u00fc"}'),
    ("c_xml", "xml", "<a b='c'>text</a>", "<a/>", "<?xml version='1.0'?><a/>", "text"),
    ("c_inet", "inet", "192.168.0.1/24", "0.0.0.0", "::ffff:1.2.3.4/128", "2001:db8::1"),
    ("c_cidr", "cidr", "192.168.0.0/24", "0.0.0.0/0", "2001:db8::/32", "10.0.0.0/8"),
    ("c_macaddr", "macaddr", "08:00:2b:01:02:03", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "08002b010203"),
    ("c_macaddr8", "macaddr8", "08:00:2b:01:02:03:04:05", "00:00:00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff:ff:ff",
     "08:00:2b:01:02:03"),
    ("c_bit", "bit", "1", "0", "1", "0"),
    ("c_bit_8", "bit(8)", "10101010", "00000000", "11111111", "00000001"),
    ("c_bit_12", "bit(12)", "101010101111", "000000000000", "111111111111", "100000000000"),
    ("c_varbit", "varbit", "101", "", "1111111111111111111", "0"),
    ("c_varbit_10", "varbit(10)", "1010101011", "0", "1111111111", "10"),
    ("c_point", "point", "(1.5,2)", "(-1e300,0)", "(1e300,1)", "(NaN,0)"),
    ("c_line", "line", "{1,2,3}", "{1,0,0}", "{0,1,0}", "{1,-1,0}"),
    ("c_lseg", "lseg", "[(1,2),(3,4)]", "[(0,0),(0,0)]", "[(1,1),(2,2)]", "[(0,0),(1,1)]"),
    ("c_box", "box", "(3,4),(1,2)", "(0,0),(0,0)", "(1,1),(0,0)", "(2,2),(1,1)"),
    ("c_path", "path", "[(1,2),(3,4)]", "((0,0),(1,1))", "[(0,0)]", "((1,1),(2,2),(3,1))"),
    ("c_polygon", "polygon", "((1,2),(3,4),(5,0))", "((0,0))", "((1,1),(2,2),(3,1))", "((0,0),(1,1))"),
    ("c_circle", "circle", "<(1,2),3>", "<(0,0),0>", "<(1e10,0),1>", "<(0,0),1>"),
    ("c_int4range", "int4range", "[1,10)", "empty", "(,)", "[5,5]"),
    ("c_int8range", "int8range", "[1,10)", "empty", "(,)", "[5,)"),
    ("c_numrange", "numrange", "[1.5,10.25)", "empty", "(,)", "(1,2]"),
    ("c_tsrange", "tsrange", "[2026-01-01 00:00,2026-02-01 12:34:56.5)", "empty", "(,)", "[2026-01-01,)"),
    ("c_tstzrange", "tstzrange", "[2026-01-01 00:00+00,2026-02-01 12:34:56.5+02)", "empty", "(,)",
     "[2026-01-01 00:00+00,infinity)"),
    ("c_daterange", "daterange", "[2026-01-01,2026-02-01)", "empty", "(,)", "(2026-01-01,2026-01-05]"),
    ("c_int4multirange", "int4multirange", "{[1,3),[5,7)}", "{}", "{(,)}", "{[1,2)}"),
    ("c_tsvector", "tsvector", "'a':1 'fat':2B 'cat':3", "", "'x'", "'it''s'"),
    ("c_tsquery", "tsquery", "'fat' & ('rat' | 'cat')", "", "'x'", "!'x'"),
    ("c_enum", "golden.mood", "happy", "sad", "with space", "happy"),
    ("c_domain", "golden.positive", "1", "1", "2147483647", "5"),
    ("c_domain_text", "golden.code", "abc", "", "xyz", "é"),
    ("c_domain_numeric", "golden.amount", "12.50", "-99999999.99", "99999999.99", "0"),
    ("c_composite", "golden.pair", '(1,"a b")', "(,)", "(2147483647,x)", '(0,"quote "" comma ,")'),
    ("c_hstore", "hstore", "a=>1, b=>NULL", "", '"key with space"=>"v \\"x\\" \\\\"', "ü=>é"),
    ("c_ltree", "ltree", "a.b.c", "", "x", "Top.Science"),
    ("c_citext", "citext", "CiText", "", "ÄÖ", "x"),
    ("c_pg_lsn", "pg_lsn", "16/B374D848", "0/0", "FFFFFFFF/FFFFFFFF", "0/1"),
    ("c_xid", "xid", "42", "0", "4294967295", "3"),
    ("c_regclass", "regclass", "pg_class", "pg_type", "pg_proc", "-"),
    ("a_boolean", "boolean[]", "{t,f,NULL}", "{}", "{t}", "{NULL}"),
    ("a_smallint", "smallint[]", "{1,NULL,-3}", "{}", "{32767}", "{-32768}"),
    ("a_integer", "integer[]", "{1,NULL,-3}", "{}", "{2147483647}", "{-2147483648}"),
    ("a_bigint", "bigint[]", "{1,NULL,-3}", "{}", "{9223372036854775807}", "{-9223372036854775808}"),
    ("a_real", "real[]", "{1.5,NULL,-3}", "{}", "{1e10}", "{0.1}"),
    ("a_double", "double precision[]", "{1.5,NULL,-3}", "{}", "{1e10}", "{1e-7}"),
    ("a_numeric", "numeric[]", "{1.50,NULL,-3}", "{}", "{1e20}", "{0.000001}"),
    ("a_numeric_10_2", "numeric(10,2)[]", "{1.50,NULL,-3}", "{}", "{99999999.99}", "{0}"),
    ("a_money", "money[]", "{1.50,NULL}", "{}", "{1}", "{0}"),
    ("a_text", "text[]", '{a,NULL,"b, c","q \\" q","NULL",""}', "{}", "{ä}", '{"back\\\\slash"}'),
    ("a_varchar", "varchar(20)[]", "{a,NULL,b}", "{}", "{x}", "{y}"),
    ("a_char", "char(3)[]", "{a,NULL,abc}", "{}", "{x}", "{y}"),
    ("a_bytea", "bytea[]", '{"\\\\x0102",NULL}', "{}", '{"\\\\x"}', '{"\\\\xff"}'),
    ("a_date", "date[]", "{2026-11-22,NULL}", "{}", "{9999-12-31}", "{0001-01-01}"),
    ("a_time", "time[]", "{12:34:56.789012,NULL}", "{}", "{23:59:59}", "{00:00:00}"),
    ("a_timestamp", "timestamp[]", '{"2026-11-22 12:34:56.789012",NULL}', "{}", '{"9999-12-31 00:00:00"}',
     '{"0001-01-01 00:00:00"}'),
    ("a_timestamptz", "timestamptz[]", '{"2026-11-22 12:34:56.789012+02",NULL}', "{}",
     '{"9999-12-31 00:00:00+00"}', '{"0001-01-01 00:00:00+00"}'),
    ("a_interval", "interval[]", '{"1 day",NULL}', "{}", '{"1 mon"}', '{"-00:00:01"}'),
    ("a_uuid", "uuid[]", "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,NULL}", "{}",
     "{ffffffff-ffff-ffff-ffff-ffffffffffff}", "{00000000-0000-0000-0000-000000000000}"),
    ("a_json", "json[]", '{"{\\"a\\": 1}",NULL}', "{}", "{null}", "{1}"),
    ("a_jsonb", "jsonb[]", '{"{\\"a\\": 1}",NULL}', "{}", "{null}", "{1}"),
    ("a_inet", "inet[]", "{10.0.0.1,NULL}", "{}", "{::1}", "{0.0.0.0}"),
    ("a_enum", "golden.mood[]", '{happy,NULL,"with space"}', "{}", "{sad}", "{happy}"),
    ("a_citext", "citext[]", "{Ab,NULL}", "{}", "{X}", "{y}"),
)  # fmt: skip

_SIMPLE = """
CREATE TABLE golden.keyed (id integer PRIMARY KEY, name text, note text DEFAULT 'none');
CREATE TABLE golden.compound (a integer, b text, v text, PRIMARY KEY (b, a));
CREATE TABLE golden.no_key (a integer, b text);
ALTER TABLE golden.no_key REPLICA IDENTITY FULL;
CREATE TABLE golden.full_identity (id integer PRIMARY KEY, name text, n integer NOT NULL);
ALTER TABLE golden.full_identity REPLICA IDENTITY FULL;
CREATE TABLE golden.by_index (id integer PRIMARY KEY, code text NOT NULL, v text);
CREATE UNIQUE INDEX by_index_code ON golden.by_index (code);
ALTER TABLE golden.by_index REPLICA IDENTITY USING INDEX by_index_code;
CREATE TABLE golden.index_only (code text NOT NULL, v text);
CREATE UNIQUE INDEX index_only_code ON golden.index_only (code);
ALTER TABLE golden.index_only REPLICA IDENTITY USING INDEX index_only_code;
CREATE TABLE golden.insert_only (a integer, b text);
CREATE TABLE golden.typed_key (at timestamptz, day date, u uuid, n numeric(10,2), e golden.mood, v text,
    PRIMARY KEY (at, day, u, n, e));
CREATE TABLE golden.toast (id integer PRIMARY KEY, t text, b bytea, j jsonb, a text[], i integer[], h hstore,
    x xml, d double precision[], n integer);
ALTER TABLE golden.toast ALTER t SET STORAGE EXTERNAL, ALTER b SET STORAGE EXTERNAL,
    ALTER j SET STORAGE EXTERNAL, ALTER a SET STORAGE EXTERNAL, ALTER i SET STORAGE EXTERNAL,
    ALTER h SET STORAGE EXTERNAL, ALTER x SET STORAGE EXTERNAL, ALTER d SET STORAGE EXTERNAL;
CREATE TABLE golden.toast_full (id integer PRIMARY KEY, t text, n integer);
ALTER TABLE golden.toast_full ALTER t SET STORAGE EXTERNAL;
ALTER TABLE golden.toast_full REPLICA IDENTITY FULL;
CREATE TABLE golden.generated (id integer PRIMARY KEY, a integer, twice integer GENERATED ALWAYS AS (a * 2) STORED);
CREATE TABLE golden.parted (id integer, part integer, v text, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
CREATE TABLE golden.parted_1 PARTITION OF golden.parted FOR VALUES IN (1);
CREATE TABLE golden.parted_2 PARTITION OF golden.parted FOR VALUES IN (2);
CREATE TABLE golden.changing (id integer PRIMARY KEY, a text);
CREATE TABLE golden.truncated_1 (id integer PRIMARY KEY);
CREATE TABLE golden.truncated_2 (id integer PRIMARY KEY);
CREATE TABLE golden."Odd Näme" ("Id" integer PRIMARY KEY, "a ""b"" $é" text);
CREATE TABLE golden.marker (id integer PRIMARY KEY);
"""

SCHEMA = f"""
CREATE TYPE golden.mood AS ENUM ('sad', 'happy', 'with space');
CREATE DOMAIN golden.positive AS integer CHECK (VALUE > 0);
CREATE DOMAIN golden.code AS text;
CREATE DOMAIN golden.amount AS numeric(10,2);
CREATE TYPE golden.pair AS (n integer, t text);
CREATE TABLE golden.every_type (id bigint PRIMARY KEY, {", ".join(f"{c[0]} {c[1]}" for c in _TYPES)});
{_SIMPLE}
"""


def _quoted(value: str | None) -> str:
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"


def _every(number: int, which: int | None) -> str:
    values = ", ".join("NULL" if which is None else _quoted(column[which]) for column in _TYPES)
    return f"INSERT INTO golden.every_type VALUES ({number}, {values})"


_BIG = "(SELECT string_agg(md5(g::text), '') FROM generate_series(1, 300) g)"

ROWS = (_every(1, 2), _every(2, None), _every(3, 3), _every(4, 4), _every(5, 5),
        "INSERT INTO golden.keyed VALUES (1, 'before', DEFAULT)",
        "INSERT INTO golden.no_key VALUES (1, 'before')")  # fmt: skip

STEPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("every type: a usual value", (_every(101, 2),)),
    ("every type: NULL", (_every(102, None),)),
    ("every type: the smallest", (_every(103, 3),)),
    ("every type: the largest", (_every(104, 4),)),
    ("every type: special values", (_every(105, 5),)),
    ("every type: update to NULL", ("UPDATE golden.every_type SET c_text = NULL, c_integer = NULL WHERE id = 101",)),
    ("every type: delete", ("DELETE FROM golden.every_type WHERE id = 104",)),
    ("insert", ("INSERT INTO golden.keyed VALUES (2, 'two', 'x')",)),
    ("insert: NULL and default", ("INSERT INTO golden.keyed (id) VALUES (3)",)),
    ("update", ("UPDATE golden.keyed SET name = 'zwei' WHERE id = 2",)),
    ("update: the same values", ("UPDATE golden.keyed SET name = name WHERE id = 2",)),
    ("key change", ("UPDATE golden.keyed SET id = 20, name = 'twenty' WHERE id = 2",)),
    ("delete", ("DELETE FROM golden.keyed WHERE id = 20",)),
    ("delete of a snapshot's row", ("DELETE FROM golden.keyed WHERE id = 1",)),
    ("compound key: insert", ("INSERT INTO golden.compound VALUES (1, 'x', 'v')",)),
    ("compound key: update", ("UPDATE golden.compound SET v = 'w'",)),
    ("compound key: key change", ("UPDATE golden.compound SET a = 2",)),
    ("compound key: delete", ("DELETE FROM golden.compound",)),
    ("no key: insert", ("INSERT INTO golden.no_key VALUES (2, NULL)",)),
    ("no key: update", ("UPDATE golden.no_key SET b = 'b' WHERE a = 2",)),
    ("no key: delete", ("DELETE FROM golden.no_key WHERE a = 2",)),
    ("full identity: insert", ("INSERT INTO golden.full_identity VALUES (1, 'a', 1)",)),
    ("full identity: update", ("UPDATE golden.full_identity SET name = NULL",)),
    ("full identity: key change", ("UPDATE golden.full_identity SET id = 2",)),
    ("full identity: delete", ("DELETE FROM golden.full_identity",)),
    ("identity by index: insert", ("INSERT INTO golden.by_index VALUES (1, 'c', 'v')",)),
    ("identity by index: update", ("UPDATE golden.by_index SET v = 'w'",)),
    ("identity by index: update of the identity", ("UPDATE golden.by_index SET code = 'd'",)),
    ("identity by index: key change", ("UPDATE golden.by_index SET id = 2",)),
    ("identity by index: delete", ("DELETE FROM golden.by_index",)),
    ("identity without a key: insert", ("INSERT INTO golden.index_only VALUES ('c', 'v')",)),
    ("identity without a key: update of it", ("UPDATE golden.index_only SET code = 'd'",)),
    ("identity without a key: delete", ("DELETE FROM golden.index_only",)),
    ("insert only", ("INSERT INTO golden.insert_only VALUES (1, 'x')",)),
    ("typed key: insert", ("INSERT INTO golden.typed_key VALUES ('2026-11-22 12:34:56.789012+02', '2026-11-22', "
     "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 1.5, 'happy', 'v')",)),
    ("typed key: delete", ("DELETE FROM golden.typed_key",)),
    ("toast: insert", (f"INSERT INTO golden.toast SELECT 1, big, big::bytea, jsonb_build_object('k', big), "
     f"ARRAY[big, 'x'], (SELECT array_agg(g) FROM generate_series(1, 3000) g), hstore('k', big), "
     f"('<a>' || big || '</a>')::xml, (SELECT array_agg(g::double precision) FROM generate_series(1, 3000) g), 1 "
     f"FROM {_BIG} AS s(big)",)),
    ("toast: unchanged", ("UPDATE golden.toast SET n = 2",)),
    ("toast: one changed", ("UPDATE golden.toast SET t = 'short'",)),
    ("toast: key change", ("UPDATE golden.toast SET id = 2",)),
    ("toast: delete", ("DELETE FROM golden.toast",)),
    ("toast, full identity: insert", (f"INSERT INTO golden.toast_full SELECT 1, big, 1 FROM {_BIG} AS s(big)",)),
    ("toast, full identity: unchanged", ("UPDATE golden.toast_full SET n = 2",)),
    ("toast, full identity: delete", ("DELETE FROM golden.toast_full",)),
    ("generated column", ("INSERT INTO golden.generated (id, a) VALUES (1, 21)",)),
    ("partitions: insert", ("INSERT INTO golden.parted VALUES (1, 1, 'v')",)),
    ("partitions: to another", ("UPDATE golden.parted SET part = 2",)),
    ("partitions: delete", ("DELETE FROM golden.parted",)),
    ("changed table: before", ("INSERT INTO golden.changing VALUES (1, 'a')",)),
    ("changed table: column added", ("ALTER TABLE golden.changing ADD COLUMN b numeric(10,2) DEFAULT 1.5",
     "INSERT INTO golden.changing VALUES (2, 'a', 2.25)")),
    ("changed table: column widened", ("ALTER TABLE golden.changing ALTER COLUMN b TYPE numeric(20,4)",
     "INSERT INTO golden.changing VALUES (3, 'a', 2.25)")),
    ("changed table: column renamed and dropped", ("ALTER TABLE golden.changing RENAME COLUMN a TO c",
     "ALTER TABLE golden.changing DROP COLUMN b", "UPDATE golden.changing SET c = 'd' WHERE id = 1")),
    ("odd names", ("""INSERT INTO golden."Odd Näme" VALUES (1, 'x')""",)),
    ("truncate: rows", ("INSERT INTO golden.truncated_1 VALUES (1)", "INSERT INTO golden.truncated_2 VALUES (1)")),
    ("truncate: one table", ("TRUNCATE golden.truncated_1",)),
    ("truncate: two tables, then a row", ("TRUNCATE golden.truncated_1, golden.truncated_2 RESTART IDENTITY CASCADE",
     "INSERT INTO golden.truncated_1 VALUES (5)")),
    ("several changes of a key", ("INSERT INTO golden.keyed VALUES (50, 'a')", "UPDATE golden.keyed SET name = 'b' "
     "WHERE id = 50", "DELETE FROM golden.keyed WHERE id = 50", "INSERT INTO golden.keyed VALUES (50, 'c')")),
    ("rolled back to a savepoint", ("INSERT INTO golden.keyed VALUES (60, 'kept')", "SAVEPOINT s",
     "INSERT INTO golden.keyed VALUES (61, 'lost')", "ROLLBACK TO SAVEPOINT s")),
    ("message", ("SELECT pg_logical_emit_message(true, 'prefix', 'transactional')",)),
    ("message outside of a transaction", ("SELECT pg_logical_emit_message(false, 'prefix', 'at once')",)),
)  # fmt: skip
