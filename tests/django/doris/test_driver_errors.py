"""What becomes of the errors of Doris and of the driver: each in the class that a program would catch."""

import base64
import contextlib
import socket
import threading
import time
import urllib.request

import MySQLdb
import pymysql
import pytest
from django.db import (
    DataError,
    InterfaceError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
)

from dbint.django.backends.doris import cursor as cursor_module
from dbint.django.backends.doris.driver_errors import classified, too_many_versions
from dbint.emulators.doris import DorisEmulator

from .conftest import ALIAS
from .models import Event, Visit

BOTH_DRIVERS = True
MODULES = {"pymysql": pymysql, "mysqlclient": MySQLdb}

VERSIONS = (
    "errCode = 2, detailMessage = (10.0.0.1)[INTERNAL_ERROR]tablet writer write failed, tablet_id=10203, "
    "err=[E-235]failed to init rowset builder. version count: 2001, exceed limit: 2000, tablet: 10203"
)


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
@pytest.mark.parametrize(
    ("code", "text", "sql", "kind"),
    [
        (
            5025,
            "Insert has filtered data in strict mode. the length of input is too long",
            "INSERT",
            "DataError",
        ),
        (
            5025,
            "Insert has filtered data in strict mode. null value for not null column",
            "INSERT",
            "IntegrityError",
        ),
        (
            1105,
            "errCode = 2, detailMessage = \nmismatched input 'x' expecting",
            "SELECT",
            "ProgrammingError",
        ),
        (1105, "Table [t] does not exist in database [d].", "SELECT", "ProgrammingError"),
        (1105, "Unknown column 'x' in 'table list'", "SELECT", "ProgrammingError"),
        (
            1105,
            "Where clause only supports compound predicate, binary predicate",
            "DELETE",
            "NotSupportedError",
        ),
        (1105, "Can't append new rows in partial update when", "INSERT", "OperationalError"),
        (5024, "query timeout", "SELECT", "OperationalError"),
        (5025, VERSIONS, "INSERT", "OperationalError"),
        (2013, "Lost connection to MySQL server during query", "UPDATE", "OperationalError"),
        (1105, "something else", "SELECT", "OperationalError"),
    ],
)
def test_classes(module, code, text, sql, kind):
    error = classified(module.OperationalError(code, text), sql, module)
    assert type(error) is getattr(module, kind)
    assert error.args[0] == code
    assert text in str(error.args[1])


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_what_a_lost_connection_means(module):
    lost = module.OperationalError(2013, "Lost connection")
    assert "may have kept it, or not" in str(classified(lost, "INSERT INTO t VALUES (1)", module))
    assert classified(lost, "SELECT 1", module) is lost
    closed = module.InterfaceError(0, "")
    assert type(classified(closed, "COMMIT", module)) is module.InterfaceError
    assert too_many_versions(module.OperationalError()) is False


def test_what_libmariadb_hides_is_no_more_than_a_database_error():
    error = classified(MySQLdb.OperationalError(2027, "Malformed packet"), "INSERT", MySQLdb)
    assert type(error) is MySQLdb.DatabaseError
    assert "libmariadb" in str(error)


class TestThroughTheServer:
    def test_texts_and_numbers_that_have_no_place(self, connection):
        with connection.cursor() as cursor:
            for value in ("half \ud800", float("inf"), float("nan")):
                with pytest.raises(DataError):
                    cursor.execute("SELECT %s", [value])
                with pytest.raises(DataError):
                    cursor.executemany("SELECT %s", [[value]])
            cursor.execute("SELECT %s", ["whole"])
            assert cursor.fetchone() == ("whole",)

    def test_syntax_and_names(self, connection):
        with connection.cursor() as cursor:
            for sql in ("SELEC 1", "SELECT * FROM nowhere", "SELECT nothing FROM (SELECT 1 AS a) t"):
                with pytest.raises((ProgrammingError, OperationalError)):
                    cursor.execute(sql)
            with pytest.raises(ProgrammingError):
                cursor.execute("SELECT * FROM nowhere")
            cursor.execute("SELECT 1")
            assert cursor.fetchone() == (1,)

    def test_deleting_by_more_than_plain_comparisons(self, table):
        rows = table(Event)
        rows.create(name="a", value=1)
        with pytest.raises(NotSupportedError, match="not UNIQUE"):
            (rows.filter(name="a") | rows.filter(value=1)).delete()
        assert rows.count() == 1


class Versions:
    """A driver's cursor that refuses its first statements for too many versions."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.sent = 0

    def mogrify(self, query, args):
        return query

    def execute(self, query):
        self.sent += 1
        if self.sent <= self.refusals:
            raise pymysql.OperationalError(5025, VERSIONS)
        return 1


class Wrapper:
    Database = pymysql

    def before_statement(self, sql):
        pass

    def note_write(self, sql):
        self.noted = sql

    def note_failure(self, error):
        self.failed = error


@pytest.mark.parametrize(("refusals", "sent"), [(0, 1), (3, 4), (99, 5)])
def test_too_many_versions(monkeypatch, refusals, sent):
    """The statement is repeated a few times; then the error says what to do."""
    pauses = []
    monkeypatch.setattr(cursor_module.time, "sleep", pauses.append)
    driver, wrapper = Versions(refusals), Wrapper()
    cursor = cursor_module.DorisCursor(driver, wrapper)
    if refusals < 5:
        assert cursor.execute("INSERT INTO t VALUES (1)") == 1
        assert wrapper.noted.startswith("INSERT")
    else:
        with pytest.raises(pymysql.OperationalError, match="more rows at once"):
            cursor.execute("INSERT INTO t VALUES (1)")
    assert driver.sent == sent
    assert pauses == sorted(pauses)
    assert len(pauses) == sent - 1


class Relay:
    """A server between a client and Doris, which can fall silent or hang up."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._silent = threading.Event()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            for source, sink, answers in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pass, args=(source, sink, answers), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not (answers and self._silent.is_set()):
                    sink.sendall(data)

    def fall_silent(self) -> None:
        """From now on no answer arrives."""
        self._silent.set()

    def hang_up(self) -> None:
        """End all conversations."""
        for side in self._sockets:
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()
        self._sockets.clear()

    def close(self) -> None:
        self._listener.close()
        self.hang_up()


@pytest.fixture
def relay(doris_settings):
    made = Relay((doris_settings["HOST"], int(doris_settings["PORT"])))
    yield made
    made.close()


def test_a_lost_connection(table, make_connection, relay):
    rows = table(Visit)
    through = make_connection(f"{ALIAS}_relayed", PORT=relay.port)
    away = Visit.objects.using(f"{ALIAS}_relayed")
    away.create(page="a")
    relay.hang_up()
    with pytest.raises((OperationalError, InterfaceError), match="may have kept it, or not"):
        away.create(page="b")
    with pytest.raises((OperationalError, InterfaceError)):
        away.count()
    through.close_if_unusable_or_obsolete()
    away.create(page="c")
    assert set(rows.values_list("page", flat=True)) == {"a", "c"}


def test_a_server_that_does_not_answer_in_time(make_connection, relay):
    """A read timeout ends a statement; of a write nobody knows whether it was kept."""
    through = make_connection(f"{ALIAS}_relayed", PORT=relay.port, OPTIONS={"read_timeout": 1})
    with through.cursor() as cursor:
        cursor.execute("SELECT 1")
        relay.fall_silent()
        started = time.monotonic()
        with pytest.raises(OperationalError, match="may have kept it, or not"):
            cursor.execute("DELETE FROM nowhere WHERE a = 1")
        assert time.monotonic() - started < 5


@pytest.fixture(scope="module")
def emulator():
    with DorisEmulator(password="secret", faults=True) as emulator:
        account = {"host": "127.0.0.1", "port": emulator.query_port, "user": "root", "password": "secret"}
        with pymysql.connect(**account, autocommit=True) as connection:
            connection.cursor().execute("CREATE DATABASE busy")
        yield emulator


class TestTooManyVersionsOfTheEmulator:
    @pytest.fixture
    def busy(self, emulator):
        """Make so many of the next writes fail."""

        def make(times: int, on: str) -> None:
            request = urllib.request.Request(
                f"http://127.0.0.1:{emulator.http_port}/_emulator/faults?kind=too_many_versions&on={on}&times={times}",
                method="POST",
                headers={"Authorization": "Basic " + base64.b64encode(b"root:secret").decode()},
            )
            with urllib.request.urlopen(request, timeout=10):
                pass

        return make

    @pytest.fixture
    def connection(self, emulator, make_connection):
        return make_connection(
            HOST="127.0.0.1",
            PORT=emulator.query_port,
            USER="root",
            PASSWORD="secret",
            NAME="busy",
            OPTIONS={
                "http_port": emulator.http_port,
                "replication_num": 1,
                "stream_load": {"threshold": 10, "deadline": 20.0},
            },
        )

    @pytest.fixture
    def pauses(self, monkeypatch):
        found = []
        monkeypatch.setattr(cursor_module.time, "sleep", found.append)
        return found

    def test_a_write_is_repeated(self, table, busy, pauses):
        rows = table(Visit)
        busy(2, "statement")
        visit = rows.create(page="a")
        assert len(pauses) == 2
        busy(1, "statement")
        assert rows.filter(pk=visit.pk).update(count=5) == 1
        assert rows.get().count == 5

    def test_in_the_end_it_is_an_error(self, table, busy, pauses):
        rows = table(Visit)
        busy(5, "statement")
        visit = Visit(page="a")
        with pytest.raises(OperationalError, match="more rows at once"):
            visit.save(using=ALIAS)
        assert (len(pauses), visit.pk, rows.count()) == (4, None, 0)

    def test_a_load_is_repeated(self, table, busy):
        rows = table(Visit)
        busy(2, "backend")
        rows.bulk_create([Visit(page="a") for _ in range(20)])
        assert rows.count() == 20
