"""The corpus of statements: each is of its file's kind, has a page, and the emulator parses it."""

import re
from collections.abc import Iterator

import pymysql
import pytest

from dbint.emulators.doris import DorisEmulator
from tests.django.doris.corpus import DIRECTORY, PAGES, Corpus, read, statements
from tests.django.doris.corpus.shapes import constructs, kind

FILES = sorted(DIRECTORY.glob("*.sql"))


@pytest.fixture(scope="module")
def connection() -> Iterator[pymysql.Connection]:
    """To an emulator of this module's own, for some of the statements drop databases."""
    with (
        DorisEmulator(password="p") as emulator,
        pymysql.connect(host="127.0.0.1", port=emulator.query_port, user="root", password="p") as connected,
    ):
        yield connected


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_each_file_is_of_one_kind_and_names_its_page(path) -> None:
    page, found = read(path)
    assert re.fullmatch(rf"{PAGES}[\w/-]+\.md", page)
    assert found
    assert {kind(sql) for sql in found} == {path.stem}


def test_the_corpus_is_there() -> None:
    assert {"select", "insert", "update", "delete", "create_table", "alter_table_add_column"} <= {
        path.stem for path in FILES
    }


@pytest.mark.parametrize("sql", statements())
def test_the_emulator_parses_it(connection, sql: str) -> None:
    """Its tables are missing here; but nothing is a syntax error, or beyond the emulator."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
    except pymysql.MySQLError as error:
        message = str(error.args[1])
        assert not re.search("mismatched input|extraneous input|no viable alternative|not emulated", message)


def test_a_statement_that_is_made_otherwise_is_found() -> None:
    corpus = Corpus()
    assert not corpus.missing("SELECT `x`.`y` FROM `x` WHERE `x`.`z` = 7")
    assert "DEFAULT value" in constructs("ALTER TABLE t ADD COLUMN c INT NOT NULL DEFAULT '3'")
    assert not corpus.missing("ALTER TABLE t ADD COLUMN c INT NOT NULL DEFAULT '3'")
    assert "value NOT" in corpus.missing("ALTER TABLE t ADD COLUMN c INT DEFAULT '3' NOT NULL")
    assert corpus.missing("SELECT APPROX_COUNT_DISTINCT(`a`) FROM `t`") == {"function APPROX_COUNT_DISTINCT"}
    assert corpus.missing("OPTIMIZE TABLE t")


def test_of_a_long_statement_the_beginning_is_looked_at() -> None:
    row = "(1, 'it\\'s long')"
    few, many = ("INSERT INTO `t` (`a`, `b`) VALUES " + ", ".join([row] * n) for n in (3, 1000))  # noqa: S608 - of constants
    assert constructs(many) < constructs(few)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1", "select"),
        ("(SELECT 1) UNION (SELECT 2)", "select"),
        ("WITH a AS (SELECT 1) SELECT * FROM a", "select"),
        ("INSERT INTO t VALUES (1)", "insert"),
        ("CREATE TABLE IF NOT EXISTS t (a INT)", "create_table"),
        ("CREATE OR REPLACE VIEW v AS SELECT 1", "create_view"),
        ("DROP TABLE IF EXISTS t", "drop_table"),
        ("ALTER TABLE a.b ADD COLUMN c INT", "alter_table_add_column"),
        ("ALTER TABLE a RENAME b", "alter_table_rename"),
        ("ALTER TABLE a SET ('x' = 'y')", "alter_table_set"),
        ("SHOW FULL TABLES FROM a LIKE 'b'", "show_tables"),
        ("SHOW CREATE TABLE a", "show_create_table"),
        ("SHOW ALTER TABLE COLUMN FROM a WHERE TableName = 'b'", "show_alter_table_column"),
        ("CANCEL ALTER TABLE COLUMN FROM a", "cancel_alter_table"),
        ("COMMIT", "commit"),
    ],
)
def test_kinds(sql: str, expected: str) -> None:
    assert kind(sql) == expected
