"""The journal tool and a real server: values that it reads, rows it takes out, letters it resubmits."""

import base64
import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from dbint import _core
from dbint.journal.cli import main
from dbint.journal.dead import letters
from dbint.journal.resubmit import resubmit
from dbint.journal.schema import TYPES, Column, Schema
from dbint.journal.values import decode, split, text
from stack import Endpoint
from stack.paths import CHECKOUT
from tests import quick_python
from tests.faults import Toxiproxy
from tests.unit import journal_files as files

CHAIN = uuid.uuid4()

# Column, SQL's type, and values as SQL writes them.
COLUMNS: list[tuple[str, str, list[str]]] = [
    ("b", "boolean", ["true", "false"]),
    ("i2", "smallint", ["-32768", "32767"]),
    ("i4", "integer", ["-2147483648", "2147483647"]),
    ("i8", "bigint", ["-9223372036854775808", "9223372036854775807"]),
    ("f4", "real", ["0.1", "-3.4028235e38", "1e-45", "'NaN'", "'-Infinity'", "16777217", "'-0'"]),
    ("f8", "double precision", ["0.1", "1.7976931348623157e308", "5e-324", "'NaN'", "'Infinity'", "'-0'"]),
    (
        "n",
        "numeric",
        [
            *(
                "0",
                "0.00",
                "-0.0001",
                "1e40",
                "12345678.90123",
                "10000",
                "'NaN'",
                "'Infinity'",
                "'-Infinity'",
            ),
            *("1e-40", "9999.9999", "100000000.00000000", "-123456789012345678901234567890.123456789"),
        ],
    ),
    ("n2", "numeric(10,2)", ["12345678.90", "-0.05"]),
    ("t", "text", ["''", "'Ünïcode ☃ 🜚'", "E'tab\\tquote\" back\\\\slash\\nnew'"]),
    ("v", "varchar(50)", ["'short'"]),
    ("c", "char(5)", ["'ab'"]),
    ("by", "bytea", ["''", "'\\x00ff10'"]),
    (
        "ts",
        "timestamptz",
        [
            *("'2026-11-21 14:30:00.123456+02'", "'infinity'", "'-infinity'", "'0001-01-01 00:00:00+00'"),
            *("'0044-03-15 12:00:00+00 BC'", "'4714-11-24 00:00:00+00 BC'"),
            *("'294276-12-31 23:59:59.999999+00'", "'2000-02-29 00:00:00+00'"),
            *("'1999-12-31 23:59:59.999999+00'", "'1900-02-28 23:00:00+00'"),
        ],
    ),
    ("lt", "timestamp", ["'2026-01-01'", "'1970-01-01 00:00:00.5'", "'0001-12-31 BC'"]),
    ("d", "date", ["'2026-11-21'", "'5874897-12-31'", "'4714-11-24 BC'", "'infinity'", "'-infinity'"]),
    ("tm", "time", ["'00:00'", "'24:00'", "'12:34:56.000001'"]),
    ("iv", "interval", ["'1 year 2 mons -3 days 04:05:06.7'", "'-0.000001 s'", "'0'", "'-178956970 years'"]),
    ("u", "uuid", ["'00112233-4455-6677-8899-aabbccddeeff'"]),
    ("j", "json", ['\'{"b": 1,  "a": [1.10, null]}\'', "'\"text\"'", "'1e400'"]),
    ("jb", "jsonb", ['\'{"b": 1, "a": [1.10, null]}\'', "'null'", "'1e400'"]),
    ("ip", "inet", ["'10.1.2.3'", "'10.1.2.3/8'", "'::1'", "'2001:db8::/32'", "'::ffff:1.2.3.4/120'"]),
    ("net", "cidr", ["'10.0.0.0/8'", "'192.168.1.1/32'", "'2001:db8::/32'"]),
    ("e", "mood", ["'happy'", "'not, so'"]),
    ("ia", "integer[]", ["'{}'", "'{1,NULL,-3}'", "'{{1,2},{3,4}}'"]),
    ("ta", "text[]", ["array['a,b', '', 'NULL', NULL, E'q\"\\\\{}', ' ']"]),
    ("ja", "jsonb[]", ["array['{\"a\": \"b,c\"}', 'null']::jsonb[]"]),
    ("ba", "boolean[]", ["'{t,f}'"]),
    ("tsa", "timestamptz[]", ["array['2026-01-01+00', '0044-03-15+00 BC', 'infinity']::timestamptz[]"]),
    ("ua", "uuid[]", ["array['00112233-4455-6677-8899-aabbccddeeff']::uuid[]"]),
    ("ea", "mood[]", ["array['happy', 'not, so']::mood[]"]),
    ("bya", "bytea[]", ["array['\\x00ff'::bytea]"]),
    ("iva", "interval[]", ["array['1 mon -1 s'::interval]"]),
]


@pytest.fixture
def server(postgres: Endpoint) -> Iterator[psycopg.Connection[Any]]:
    """A connection in a schema of the test's own, and the ledger of dbint."""
    credentials = postgres.credentials
    with psycopg.connect(
        host=postgres.host,
        port=postgres.port,
        user=str(credentials["username"]),
        password=str(credentials["password"]),
        dbname=str(credentials["database"]),
        autocommit=True,
    ) as connection:
        schema = f"journal_tool_{uuid.uuid4().hex[:12]}"
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema)))
        connection.execute("SET timezone = 'UTC'")
        with connection.transaction():
            connection.execute(_core.ledger_sql())
        yield connection
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))


@pytest.fixture
def dsn(postgres: Endpoint) -> str:
    credentials = {key: str(value) for key, value in postgres.credentials.items()}
    return psycopg.conninfo.make_conninfo(
        host=postgres.host,
        port=postgres.port,
        user=credentials["username"],
        password=credentials["password"],
        dbname=credentials["database"],
    )


def schema_name(connection: psycopg.Connection[Any]) -> str:
    row = connection.execute("SELECT current_schema").fetchone()
    assert row is not None
    return str(row[0])


def read_schema(connection: psycopg.Connection[Any], table: str) -> Schema:
    """The columns of a table, as the catalogue has them."""
    kinds = {"character varying": "text", "character": "text"}
    columns = []
    for name, oid, element, typmod, sql_type, element_type in connection.execute(
        """
        SELECT a.attname, a.atttypid::int, CASE t.typcategory WHEN 'A' THEN t.typelem ELSE 0 END::int,
               a.atttypmod, format_type(a.atttypid, a.atttypmod),
               CASE coalesce(e.typtype, t.typtype) WHEN 'e' THEN 'enum'
                    ELSE format_type(CASE t.typcategory WHEN 'A' THEN t.typelem ELSE a.atttypid END, NULL) END
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type e ON e.oid = t.typelem
        WHERE a.attrelid = %s::regclass AND a.attnum > 0 ORDER BY a.attnum
        """,
        [table],
    ):
        kind = kinds.get(element_type, element_type)
        assert kind in TYPES, f"{name}: {kind}"
        columns.append(Column(name, kind, sql_type, oid, element, 0, typmod, element != 0, True, "none"))
    return Schema(schema_name(connection), table, tuple(columns))


def tuples(connection: psycopg.Connection[Any], schema: Schema, query: str) -> list[bytes]:
    """What COPY … TO (FORMAT binary) says, as one piece of bytes a row."""
    data = b""
    with connection.cursor().copy(
        sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(sql.SQL(query))
    ) as copy:  # type: ignore[arg-type]
        for block in copy:
            data += block
    assert data.startswith(b"PGCOPY\n\xff\r\n\0")
    at, found = 19, []
    while data[at : at + 2] != b"\xff\xff":
        start, at = at, at + 2
        for _ in schema.columns:
            length = int.from_bytes(data[at : at + 4], "big", signed=True)
            at += 4 + max(length, 0)
        found.append(data[start:at])
    return found


@pytest.fixture
def everything(server: psycopg.Connection[Any]) -> Schema:
    """Table ``everything``: the values of COLUMNS, one a row; NULL where a column has no more of them."""
    server.execute("CREATE TYPE mood AS ENUM ('happy', 'not, so')")
    definitions = ", ".join(f"{name} {sql_type}" for name, sql_type, _ in COLUMNS)
    server.execute(f"CREATE TABLE everything (id integer, {definitions})")
    for place in range(max(len(values) for _, _, values in COLUMNS) + 1):
        row = [values[place] if place < len(values) else "NULL" for _, _, values in COLUMNS]
        server.execute(f"INSERT INTO everything VALUES ({place}, {', '.join(row)})")  # noqa: S608 - ours
    return read_schema(server, "everything")


def test_values_are_read_as_the_server_wrote_them(
    server: psycopg.Connection[Any], everything: Schema
) -> None:
    """The text for each value becomes the same value again, in the server's own words."""
    compared = 0
    for place, data in enumerate(tuples(server, everything, "SELECT * FROM everything ORDER BY id")):
        json.dumps(decode(everything, data), allow_nan=False)
        for column, field in zip(everything.columns, split(everything, data), strict=True):
            ours = None if field is None else text(column, field)
            same = server.execute(
                sql.SQL("SELECT {} FROM everything WHERE id = %s").format(
                    sql.SQL("(%s::text::{})::text IS NOT DISTINCT FROM {}::text").format(
                        sql.SQL(column.sql_type),  # type: ignore[arg-type]
                        sql.Identifier(column.name),
                    )
                ),
                [ours, place],
            ).fetchone()
            assert same == (True,), f"{column.name}: {ours!r}"
            compared += ours is not None
    assert compared >= sum(len(values) for _, _, values in COLUMNS)


def test_values_of_json(server: psycopg.Connection[Any], everything: Schema) -> None:
    """In dumps: numbers are numbers where JSON's are exact enough, and JSON is JSON."""
    first, second, *_ = (
        decode(everything, one) for one in tuples(server, everything, "SELECT * FROM everything ORDER BY id")
    )
    assert (
        first
        | {
            "b": True,
            "i8": -(2**63),
            "f4": 0.1,
            "n": "0",
            "by": "\\x",
            "ts": "2026-11-21T12:30:00.123456+00:00",
            "d": "2026-11-21",
            "tm": "00:00:00",
            "iv": "P14M-3DT14706.700000S",
            "j": {"b": 1, "a": [1.1, None]},
            "ip": "10.1.2.3",
            "e": "happy",
            "ta": ["a,b", "", "NULL", None, 'q"\\{}', " "],
            "ja": [{"a": "b,c"}, None],
            "c": "ab   ",
        }
        == first
    )
    assert second["ia"] == [1, None, -3]
    assert second["by"] == "\\x00ff10"
    assert second["ts"] == "infinity"


def differences(server: psycopg.Connection[Any]) -> int:
    """How many rows of the tables ``everything`` and ``original`` have no counterpart."""
    row = server.execute(
        "SELECT count(*) FROM everything AS one FULL JOIN original AS other ON one::text = other::text "
        "WHERE one.id IS NULL OR other.id IS NULL"
    ).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("form", ["csv", "binary"])
def test_exported_rows_are_loaded_again(
    server: psycopg.Connection[Any],
    everything: Schema,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    dsn: str,
    form: str,
) -> None:
    """By psql, with the command that export prints."""
    rows = tuples(server, everything, "SELECT * FROM everything ORDER BY id")
    records = [files.record(number, row) for number, row in enumerate(rows, 1)]
    files.segment(
        tmp_path / "j" / "slot-0000", records, meta=files.pack_meta("s", pack(everything)), size=1 << 16
    )
    output = tmp_path / "it's here"
    assert main(["export", "-d", str(tmp_path / "j"), "--as", form, "--output", str(output)]) == 0
    load = capsys.readouterr().err.strip()
    assert load.startswith("\\copy ")
    server.execute("CREATE TABLE original AS TABLE everything")
    server.execute("TRUNCATE everything")
    done = subprocess.run(
        ["psql", dsn, "-v", "ON_ERROR_STOP=1", "-c", load], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert differences(server) == 0
    assert server.execute("SELECT count(*) FROM everything").fetchone() == (len(rows),)


def pack(schema: Schema) -> bytes:
    """A schema as segments hold it (csrc/core/schema.h)."""
    head = b"dbis" + (1).to_bytes(2, "little") + len(schema.columns).to_bytes(2, "little")
    data = head + files.string(schema.nspname) + files.string(schema.relname)
    for column in schema.columns:
        for number in (column.oid, column.element_oid, 0):
            data += number.to_bytes(4, "little")
        data += column.typmod.to_bytes(4, "little", signed=True)
        data += bytes([TYPES.index(column.type), column.array | 2, 0])
        data += files.string(column.name) + files.string(column.sql_type)
    return data


# Dead letters


class Dead:
    """Dead letters of one chain, and the ledger's knowledge of it."""

    def __init__(self, directory: Path, server: psycopg.Connection[Any]) -> None:
        self.directory = directory
        self.journal = directory.parent
        self._server = server
        self._schema = schema_name(server)
        self.chain = uuid.uuid4()
        directory.mkdir(mode=0o700, parents=True)
        (self.journal / "slot-0000").mkdir()
        self.knows(1000)

    def knows(self, last: int | None) -> None:
        """The ledger's last sequence of the chain; None: it does not know the chain."""
        self._server.execute("DELETE FROM dbint.chains WHERE chain = %s", [self.chain])
        if last is not None:
            self._server.execute(
                "INSERT INTO dbint.chains (chain, last, stream, relation, lane, slot, host) "
                "VALUES (%s, %s, 's', 't', 0, '', '')",
                [self.chain, last],
            )

    def add(self, sequence: int, row: bytes, columns: list[tuple[str, str]], table: str = "t") -> None:
        line = {
            "v": 1,
            "chain": self.chain.hex,
            "sequence": sequence,
            "stream": "s",
            "table": [self._schema, table],
            "sqlstate": "23514",
            "message": "refused",
            "at": "2026-01-31T12:00:00.000001Z",
            "columns": columns,
            "tuple": base64.b64encode(row).decode(),
        }
        with (self.directory / f"{self.chain.hex}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def add_note(self, number: int, note: str | None) -> None:
        self.add(number, files.row(number, note), [("id", "bigint"), ("note", "character varying(10)")])


@pytest.fixture
def dead(tmp_path: Path, server: psycopg.Connection[Any]) -> Dead:
    server.execute("CREATE TABLE t (id bigint UNIQUE, note varchar(10))")
    return Dead(tmp_path / "journal" / "dead", server)


@pytest.fixture
def run(dead: Dead, dsn: str, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str, where: str = dsn) -> tuple[int, list[str], str]:
        capsys.readouterr()
        code = main(["resubmit", "-d", str(dead.journal), "--dsn", where, "--format", "json", *arguments])
        out, err = capsys.readouterr()
        return code, [letter["state"] for letter in json.loads(out)["letters"]] if out else [], err

    return run


def notes(server: psycopg.Connection[Any]) -> list[tuple[int, str | None]]:
    return server.execute("SELECT id, note FROM t ORDER BY id").fetchall()


def test_letters_land_once(server: psycopg.Connection[Any], dead: Dead, run: Any) -> None:
    for number in range(1, 4):
        dead.add_note(number, f"note {number}")
    dead.add_note(4, None)
    assert run("--dry-run") == (0, ["would"] * 4, "")
    assert notes(server) == []
    assert run("--from", "2", "--to", "3") == (0, ["landed"] * 2, "")
    assert run() == (0, ["landed", "done", "done", "landed"], "")
    assert run() == (0, ["done"] * 4, "")
    # Without the notes beside the letters, the ledger still knows.
    done = dead.directory / f"{dead.chain.hex}.done"
    assert oct(done.stat().st_mode & 0o777) == "0o600"
    done.unlink()
    assert run() == (0, ["earlier"] * 4, "")
    assert run() == (0, ["done"] * 4, "")
    assert notes(server) == [(1, "note 1"), (2, "note 2"), (3, "note 3"), (4, None)]


def test_a_letter_that_is_refused_again_stops_no_other(
    server: psycopg.Connection[Any], dead: Dead, run: Any
) -> None:
    dead.add_note(1, "far too long for it")
    dead.add_note(2, "good")
    dead.add(3, files.row(3, "gone"), [("id", "bigint"), ("note", "character varying(10)")], "nowhere")
    dead.add(4, files.row(4, "x"), [("id", "bigint"), ("note", "no_such_type")])
    dead.add(5, files.row(5, "x")[:-1], [("id", "bigint"), ("note", "text")])
    code, states, err = run()
    assert (code, states, err) == (1, ["refused", "landed", "refused", "refused", "refused"], "")
    assert main(["resubmit", "-d", str(dead.journal), "--dsn", "host=127.0.0.1 port=1"]) == 2
    server.execute("ALTER TABLE t ALTER note TYPE text")
    assert run()[1] == ["landed", "done", "refused", "refused", "refused"]
    assert notes(server) == [(1, "far too long for it"), (2, "good")]


def test_words_for_people(
    server: psycopg.Connection[Any], dead: Dead, dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dead.add_note(1, "far too long for it")
    dead.add_note(2, "good")
    assert main(["resubmit", "-d", str(dead.journal), "--dsn", dsn]) == 1
    head = dead.chain.hex[:8]
    assert capsys.readouterr().out == (
        f"{head} 1 s: was refused again: 22001: value too long for type character varying(10)\n"
        f"{head} 2 s: has landed\n1 has landed, 1 was refused again\n"
    )
    assert main(["resubmit", "-d", str(dead.journal), "--dsn", dsn, "--stream", "other"]) == 0
    assert capsys.readouterr().out == "no dead letter was chosen\n"


def test_a_column_that_has_changed_is_cast(server: psycopg.Connection[Any], dead: Dead, run: Any) -> None:
    """By assignment, as INSERT does: never by taking the bytes for another type's."""
    dead.add_note(1, "1.5")
    dead.add_note(2, "words")
    server.execute("ALTER TABLE t ALTER id TYPE double precision, ADD extra text DEFAULT 'new'")
    assert run()[1] == ["landed", "landed"]
    assert server.execute("SELECT * FROM t ORDER BY id").fetchall() == [
        (1.0, "1.5", "new"),
        (2.0, "words", "new"),
    ]


def test_every_type_is_resubmitted(
    server: psycopg.Connection[Any], everything: Schema, dead: Dead, run: Any
) -> None:
    columns = [(column.name, column.sql_type) for column in everything.columns]
    # Types outside of pg_catalog are written with their schema where search_path does not lead to it.
    columns = [(name, sql_type.replace("mood", f"{everything.nspname}.mood")) for name, sql_type in columns]
    rows = tuples(server, everything, "SELECT * FROM everything ORDER BY id")
    for number, row in enumerate(rows, 1):
        dead.add(number, row, columns, "everything")
    assert [letter.values()["id"] for letter in letters(dead.directory)] == list(range(len(rows)))
    server.execute("CREATE TABLE original AS TABLE everything")
    server.execute("TRUNCATE everything")
    assert run()[1] == ["landed"] * len(rows)
    assert differences(server) == 0


def test_a_row_that_is_still_in_the_journal_is_its_writers(dead: Dead, run: Any) -> None:
    dead.add_note(5, "good")
    dead.add_note(6, "good")
    dead.knows(5)
    assert run() == (0, ["landed", "waits"], "")


def test_another_database(server: psycopg.Connection[Any], dead: Dead, run: Any, dsn: str) -> None:
    dead.add_note(1, "good")
    dead.knows(None)
    code, states, err = run()
    assert (code, states) == (2, [])
    assert f"does not know chain {dead.chain.hex}: it is not the one that refused its letters" in err
    # Unless the ledger says that it has forgotten chains since.
    server.execute("UPDATE dbint.server SET collected_before = now()")
    try:
        assert run()[1] == ["landed"]
    finally:
        server.execute("UPDATE dbint.server SET collected_before = NULL")
    dead.add_note(2, "good")
    code, _, err = run(where=f"{dsn} dbname=postgres")
    assert code == 2
    assert "the database postgres has no ledger" in err


def test_two_at_once(server: psycopg.Connection[Any], dead: Dead, dsn: str) -> None:
    for number in range(1, 101):
        dead.add_note(number, "once")
    server.execute("ALTER TABLE t DROP CONSTRAINT t_id_key")
    chosen = list(letters(dead.directory))
    states: list[str] = []

    def work() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            states.extend(outcome.state for outcome in resubmit(dead.directory, chosen, connection))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states.count("landed") == 100
    assert len(states) == 200
    assert server.execute("SELECT count(*), count(DISTINCT id) FROM t").fetchone() == (100, 100)


def test_the_connection_is_lost(
    server: psycopg.Connection[Any],
    dead: Dead,
    run: Any,
    toxiproxy: Toxiproxy,
    postgres: Endpoint,
    dsn: str,
) -> None:
    """In the middle, at any byte: what landed stays, nothing lands twice when it is run again."""
    for number in range(1, 31):
        dead.add_note(number, "once")
    server.execute("ALTER TABLE t DROP CONSTRAINT t_id_key")
    proxy = toxiproxy.proxy(postgres.host, postgres.port)
    through = psycopg.conninfo.make_conninfo(dsn, host=proxy.host, port=proxy.port, sslmode="disable")
    lost = 0
    for limit in range(1500, 12_000, 1111):
        with proxy.toxic("limit_data", bytes=limit):
            code, _, err = run(where=through)
        lost += code == 2
        assert code in (0, 2), err
    assert lost > 3
    assert run()[0] == 0
    assert server.execute("SELECT count(*), count(DISTINCT id) FROM t").fetchone() == (30, 30)


def test_as_a_program(dead: Dead) -> None:
    """The server is found as everything of dbint finds it: here, by the stack's state file."""
    dead.add_note(1, "good")
    argv = [sys.executable, "-m", "dbint.journal", "resubmit", "-d", str(dead.journal)]
    environment = {**os.environ, "DBINT_IN_KUBERNETES": "0"}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("1 has landed\n")


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The reference project's command."""
    return quick_python.run(
        ["manage.py", "dbint_journal", *arguments],
        cwd=CHECKOUT,
        env={**os.environ, "DBINT_IN_KUBERNETES": "0", **environment},
    )


def test_as_a_django_command(server: psycopg.Connection[Any], dead: Dead) -> None:
    """The server is the project's, by its alias; the directory the environment's."""
    dead.add_note(1, "good")
    done = manage("resubmit", DBINT_JOURNAL_DIR=str(dead.journal))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("1 has landed\n")
    assert notes(server) == [(1, "good")]
    listed = json.loads(manage("ls", "-d", str(dead.journal), "--format", "json").stdout)
    assert [journal["directory"] for journal in listed["journals"]] == [str(dead.journal)]
    files.segment(dead.journal / "slot-0000", files.rows(1, 1), version=2)
    assert manage("check", "-d", str(dead.journal)).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ls", "-d", "/nowhere"), "cannot read the journal /nowhere: No such file or directory"),
        (("resubmit", "--database", "nobody"), "The connection 'nobody' doesn't exist."),
        (("resubmit", "--database", "doris"), "the database 'doris' is no PostgreSQL"),
        (("dump", "--limit", "many"), "argument --limit: 'many' is not a number"),
    ],
)
def test_the_django_command_says_what_is_wrong(dead: Dead, arguments: tuple[str, ...], said: str) -> None:
    dead.add_note(1, "good")
    done = manage(*arguments, DBINT_JOURNAL_DIR=str(dead.journal))
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
