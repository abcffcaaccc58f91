"""Several frontends, and credentials that change."""

import contextlib
import socket
import threading

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, ProgrammingError

from dbint.credentials import Credentials
from dbint.django.backends.doris.account import Account, account_of, addresses_of
from dbint.django.backends.doris.frontends import AVOIDED, Address, Frontends, parse_addresses

BOTH_DRIVERS = True

SECRET = "s3cr3t-of-the-test"


class Relay:
    """A frontend that can be taken down and brought back: hands everything on to the real one."""

    def __init__(self, target):
        self.target = target
        self.taken = 0
        self._pairs = []
        self.up()

    def up(self):
        self.server = socket.create_server(("127.0.0.1", getattr(self, "port", 0)))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._accept, args=(self.server,), daemon=True).start()

    def _accept(self, server):
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                self.taken += 1
                upstream = socket.create_connection(self.target)
                self._pairs += [client, upstream]
                for one, other in ((client, upstream), (upstream, client)):
                    threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    @staticmethod
    def _copy(one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def down(self):
        # shutdown ends the accept that waits; close alone would not.
        with contextlib.suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        for end in self._pairs:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._pairs = []


@pytest.fixture
def relays(doris):
    made = [Relay((doris.host, doris.ports["query"])) for _ in range(2)]
    yield made
    for relay in made:
        relay.down()


@pytest.fixture
def connect(make_connection, relays):
    def make(**changes):
        hosts = ",".join(f"127.0.0.1:{relay.port}" for relay in relays)
        return make_connection("several", HOST="", PORT="", **{"OPTIONS": {"hosts": hosts}, **changes})

    return make


def answer(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return cursor.fetchone()[0]


class TestSeveralFrontends:
    def test_the_first_one_is_taken(self, connect, relays):
        connection = connect()
        assert answer(connection) == 1
        assert connection.address == Address("127.0.0.1", relays[0].port)
        assert relays[1].taken == 0

    def test_the_next_one_when_it_is_down(self, connect, relays):
        relays[0].down()
        connection = connect()
        assert answer(connection) == 1
        assert connection.address.port == relays[1].port

    def test_a_connection_that_breaks_goes_elsewhere(self, connect, relays):
        connection = connect()
        assert answer(connection) == 1
        relays[0].down()
        with pytest.raises(OperationalError):
            answer(connection)
        connection.close_if_unusable_or_obsolete()
        assert answer(connection) == 1
        assert connection.address.port == relays[1].port

    def test_health_checks_notice_before_the_statement(self, connect, relays):
        connection = connect(CONN_HEALTH_CHECKS=True, CONN_MAX_AGE=None)
        assert answer(connection) == 1
        relays[0].down()
        connection.close_if_unusable_or_obsolete()  # what begins a request
        assert answer(connection) == 1
        assert connection.address.port == relays[1].port

    def test_it_comes_back(self, connect, relays):
        connection = connect()
        relays[0].down()
        assert answer(connection) == 1
        connection.close()
        relays[0].up()
        for address in connection.frontends.addresses:
            connection.frontends.worked(address)  # as if the time were over
        assert answer(connection) == 1
        assert connection.address.port == relays[0].port

    def test_none_works(self, connect, relays):
        for relay in relays:
            relay.down()
        with pytest.raises(OperationalError, match="none of the Doris frontends works") as caught:
            answer(connect(PASSWORD=SECRET))
        for relay in relays:
            assert str(relay.port) in str(caught.value)
        assert SECRET not in str(caught.value)

    def test_a_wrong_password_is_the_same_everywhere(self, connect, relays):
        with pytest.raises(OperationalError, match="USER and PASSWORD"):
            answer(connect(PASSWORD=SECRET))
        assert relays[1].taken == 0

    def test_one_that_answers_nothing(self, connect, relays, monkeypatch):
        """It takes connections while its catalog is not ready."""
        connection = connect()
        driver = connection.Database
        real = driver.cursors.Cursor.execute
        first = relays[0].port

        def execute(cursor, query, args=None):
            if query == "SELECT 1" and cursor.connection.port == first:
                raise driver.OperationalError(1105, "errCode = 2, detailMessage = Node catalog is not ready")
            return real(cursor, query, args)

        monkeypatch.setattr(driver.cursors.Cursor, "execute", execute)
        connection.ensure_connection()
        assert connection.address.port == relays[1].port

    def test_one_that_lost_its_master(self, connect, relays):
        connection = connect()
        assert answer(connection) == 1
        connection.note_failure(connection.Database.OperationalError(1105, "failed to get master client."))
        connection.errors_occurred = True
        connection.close_if_unusable_or_obsolete()
        assert answer(connection) == 1
        assert connection.address.port == relays[1].port

    def test_other_errors_say_nothing_of_the_frontend(self, connect):
        connection = connect()
        with pytest.raises(ProgrammingError), connection.cursor() as cursor:
            cursor.execute("SELECT no_such_column FROM no_such_table")
        first = connection.address
        connection.close_if_unusable_or_obsolete()
        assert answer(connection) == 1
        assert connection.address == first


class TestOrder:
    def test_failed_ones_come_last_for_a_while(self):
        now = [0.0]
        one, two, three = (Address("fe", port) for port in (1, 2, 3))
        known = Frontends([one, two, one, three], clock=lambda: now[0])
        assert known.order() == [one, two, three]
        known.failed(one)
        assert known.order() == [two, three, one]
        known.failed(two)
        assert known.order() == [three, one, two]
        known.worked(one)
        assert known.order() == [one, three, two]
        now[0] += AVOIDED
        assert known.order() == [one, two, three]

    @pytest.mark.parametrize(
        ("text", "addresses"),
        [
            ("a:1,b:2", [("a", 1), ("b", 2)]),
            ("a, b", [("a", 9030), ("b", 9030)]),
            (["[::1]:9", "::1", "c"], [("::1", 9), ("::1", 9030), ("c", 9030)]),
        ],
    )
    def test_addresses(self, text, addresses):
        assert parse_addresses(text) == addresses

    @pytest.mark.parametrize("text", ["a:b", "", "a:1,,b:2", "a:70000", ":1"])
    def test_what_is_none(self, text):
        with pytest.raises(ValueError, match="host:port"):
            parse_addresses(text)

    def test_settings(self):
        assert addresses_of({"HOST": "a", "PORT": "1", "OPTIONS": {"hosts": "b:2,a:1"}}) == [
            ("a", 1),
            ("b", 2),
        ]
        assert addresses_of({"HOST": "", "PORT": "", "OPTIONS": {"hosts": ["b"]}}) == [("b", 9030)]
        assert addresses_of({"HOST": "", "PORT": ""}) == [("127.0.0.1", 9030)]
        assert str(Address("::1", 9)) == "[::1]:9"
        for wrong in ("a:b", 7, [1]):
            with pytest.raises(ImproperlyConfigured, match="hosts"):
                addresses_of({"HOST": "", "PORT": "", "OPTIONS": {"hosts": wrong}})


def test_databases_of_other_clusters_are_others(make_connection):
    """Django tests aliases with the same signature in one database."""
    one, two, three = (
        make_connection(alias, HOST="", PORT="", OPTIONS={"hosts": hosts}).creation.test_db_signature()
        for alias, hosts in (("one", "a:1,b:1"), ("two", "c:1"), ("three", ["a:1", "b:1"]))
    )
    assert one == three != two


def test_dbshell_asks_the_same_account(make_connection):
    connection = make_connection(
        "shell", HOST="", PORT="", OPTIONS={"hosts": "fe:9", "credentials": lambda: ("u", SECRET)}
    )
    args, env = connection.client.settings_to_cmd_args_env(connection.settings_dict, ["--table"])
    assert {"--host=fe", "--port=9", "--user=u", "--table"} < {*args}
    assert SECRET not in " ".join(args)
    assert env == {"MYSQL_PWD": SECRET}


def rotating():
    """A source of credentials that is named by its path."""
    return ("from_a_path", SECRET)


class TestCredentials:
    SETTINGS = {"USER": "static", "PASSWORD": "old"}

    def of(self, source):
        return account_of({**self.SETTINGS, "OPTIONS": {"credentials": source}})

    def test_forms(self):
        assert self.of(lambda: Credentials("u", "p", "test")) == ("u", "p")
        assert self.of(lambda: Credentials("", "token", "test")) == ("static", "token")
        assert self.of(lambda: ("u", "p")) == ("u", "p")
        assert self.of(lambda: None) == ("static", "old")
        assert self.of(f"{__name__}.rotating") == ("from_a_path", SECRET)
        assert account_of(self.SETTINGS) == ("static", "old")

    @pytest.mark.parametrize("wrong", [7, "no.such.path", lambda: "text", lambda: ("one",)])
    def test_what_is_none(self, wrong):
        with pytest.raises(ImproperlyConfigured, match="credentials"):
            self.of(wrong)

    def test_no_repr_shows_the_password(self):
        assert SECRET not in repr(Account("u", SECRET))

    def test_they_are_asked_for_each_connection(self, make_connection, doris_settings):
        asked = []

        def provide():
            asked.append(1)
            return Credentials(
                doris_settings["USER"], doris_settings["PASSWORD"], "test", generation=len(asked)
            )

        connection = make_connection("rotating", PASSWORD="wrong", OPTIONS={"credentials": provide})
        assert answer(connection) == 1
        connection.close()
        assert answer(connection) == 1
        assert len(asked) == 2

    def test_a_source_that_fails_says_so(self, make_connection):
        def provide():
            raise ImproperlyConfigured("the vault is sealed")

        with pytest.raises(ImproperlyConfigured, match="the vault is sealed"):
            make_connection("sealed", OPTIONS={"credentials": provide}).ensure_connection()


@pytest.mark.parametrize("name", ["enable_insert_strict", "insert_max_filter_ratio"])
def test_session_variables_that_would_lose_rows(make_connection, name):
    with pytest.raises(ImproperlyConfigured, match="leave"):
        make_connection("lossy", OPTIONS={"session": {name: "false"}})
