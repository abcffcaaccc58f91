"""Connecting: settings, versions, and errors that say what to do."""

import contextlib
import os
import socket
import sys
import threading
import time

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import NotSupportedError, OperationalError, ProgrammingError

from dbint.django.backends.doris import drivers
from dbint.django.backends.doris.base import DatabaseWrapper

BOTH_DRIVERS = True

SECRET = "s3cr3t-of-the-test"


@contextlib.contextmanager
def listener(greeting: bytes | None):
    """A port that says ``greeting`` and nothing else; None: it accepts and stays silent."""
    server = socket.create_server(("127.0.0.1", 0))
    held = []

    def serve():
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                held.append(client)
                if greeting is not None:
                    client.sendall(greeting)
                    client.close()

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1]
    server.close()
    for client in held:
        client.close()


def refused(connection) -> str:
    with pytest.raises(OperationalError) as caught:
        connection.ensure_connection()
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_version_and_state(connection):
    assert connection.get_database_version() >= (2, 1)
    assert connection.vendor == "doris"
    assert connection.emulated == ("emulator" in connection.server_comment)
    connection.ensure_connection()
    assert connection.is_usable()
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@time_zone")
        assert cursor.fetchone()[0] == "UTC"


def test_wrong_password(make_connection):
    message = refused(make_connection("wrong", PASSWORD=SECRET))
    assert "USER and PASSWORD" in message


def test_unknown_database(make_connection):
    message = refused(make_connection("wrong", NAME="nowhere_at_all"))
    assert "nowhere_at_all" in message
    assert "CREATE DATABASE" in message


def test_nobody_listens(make_connection):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert "9030" in refused(make_connection("wrong", PORT=port, PASSWORD=SECRET))


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00" * 64, b"\xff" * 400, b""])
def test_garbage(make_connection, greeting):
    with listener(greeting) as port:
        message = refused(make_connection("wrong", PORT=port, PASSWORD=SECRET))
    assert "8030" in message


def test_silence_ends_at_the_connect_timeout(make_connection):
    with listener(None) as port:
        started = time.monotonic()
        message = refused(make_connection("wrong", PORT=port, OPTIONS={"connect_timeout": 1}))
    assert time.monotonic() - started < 5
    assert "did not answer within 1 s" in message


@pytest.mark.parametrize(
    ("comment", "version"),
    [
        ("Doris version doris-4.0.2-rc02-30d2df0459", (4, 0, 2)),
        ("Doris version doris-2.1.7-rc03-443e87e203", (2, 1, 7)),
        ("Doris version doris-0.0.0-unknown", (0, 0, 0)),
        ("Doris version doris-4.0.2-abc (dbint emulator)", (4, 0, 2)),
    ],
)
def test_version_is_read_from_the_comment(make_connection, comment, version):
    connection = make_connection("version")
    connection.server_comment = comment
    assert connection.get_database_version() == version


def test_old_doris_and_other_servers_are_refused(make_connection):
    old = make_connection("version")
    old.server_comment = "Doris version doris-1.2.8-rc01-xyz"
    with pytest.raises(NotSupportedError, match=r"Apache Doris 2\.1 or later .*1\.2\.8"):
        old.check_database_version_supported()
    other = make_connection("version")
    other.server_comment = "MySQL Community Server - GPL"
    with pytest.raises(NotSupportedError, match="MySQL Community Server"):
        other.get_database_version()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"OPTIONS": {"htp_port": 8030}}, "htp_port"),
        ({"OPTIONS": {"http_port": "8030"}}, "http_port"),
        ({"OPTIONS": {"http_port": 0}}, "http_port"),
        ({"OPTIONS": {"id_node": -1}}, "id_node"),
        ({"OPTIONS": {"replication_num": 0}}, "replication_num"),
        ({"OPTIONS": {"driver": "oursql"}}, "pymysql, mysqlclient"),
        ({"OPTIONS": {"driver": "mysqlclient", "ssl_ca": "ca.pem"}}, "ssl_ca.*ssl_mode"),
    ],
)
def test_options_are_checked(make_connection, changes, message):
    with pytest.raises(ImproperlyConfigured, match=message):
        make_connection("wrong", **changes)


def test_stream_load_needs_the_http_port(doris_settings):
    settings = {**doris_settings, "OPTIONS": {"stream_load": {}}}
    with pytest.raises(ImproperlyConfigured, match="http_port"):
        DatabaseWrapper(settings, "wrong")


def test_name_and_port(make_connection):
    for changes in ({"NAME": ""}, {"PORT": "ninety"}):
        with pytest.raises(ImproperlyConfigured):
            make_connection("wrong", **changes).get_connection_params()


def test_session_variables(make_connection):
    connection = make_connection("session", OPTIONS={"session": {"query_timeout": 77}})
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@query_timeout")
        assert int(cursor.fetchone()[0]) == 77
    with pytest.raises(ImproperlyConfigured, match="not the name"):
        make_connection("wrong", OPTIONS={"session": {"a = 1; b": 1}}).ensure_connection()


def test_a_connection_that_died_is_noticed(connection, driver):
    connection.ensure_connection()
    below = connection.connection if driver == "mysqlclient" else connection.connection._sock
    with socket.socket(fileno=os.dup(below.fileno())) as underneath:
        underneath.shutdown(socket.SHUT_RDWR)
    assert not connection.is_usable()


def test_errors_have_their_class(connection):
    with connection.cursor() as cursor:
        with pytest.raises(ProgrammingError):
            cursor.execute("SELEC 1")
        with pytest.raises((ProgrammingError, OperationalError), match="no_such_table"):
            cursor.execute("SELECT * FROM no_such_table")


def test_dbshell_keeps_the_password_off_the_command_line(make_connection):
    connection = make_connection("shell", PASSWORD=SECRET)
    args, env = connection.client.settings_to_cmd_args_env(connection.settings_dict, [])
    assert SECRET not in " ".join(args)
    assert env == {"MYSQL_PWD": SECRET}
    assert args[-1] == connection.settings_dict["NAME"]


def test_ids_of_a_forked_child_are_its_own(connection):
    before = connection.ids.take(1)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, ",".join(map(str, connection.ids.take(500))).encode())
        os._exit(0)
    mine = connection.ids.take(500)
    os.waitpid(pid, 0)
    theirs = [int(number) for number in os.read(read, 1 << 20).split(b",")]
    assert len({*before, *mine, *theirs}) == 1001


def test_a_driver_that_is_not_installed(make_connection, monkeypatch):
    monkeypatch.setitem(sys.modules, "MySQLdb", None)
    monkeypatch.setattr(drivers, "_made", {})
    with pytest.raises(ImproperlyConfigured, match="pip install mysqlclient"):
        make_connection("wrong", OPTIONS={"driver": "mysqlclient"})


def test_localhost_is_no_socket_in_the_file_system(make_connection):
    connection = make_connection("by_name", HOST="localhost")
    connection.ensure_connection()
    assert connection.is_usable()
