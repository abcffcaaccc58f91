"""Pool: its arguments, and what it does while there is no server."""

import gc
import os
import pickle
import weakref
from typing import Any

import pytest

from dbint import _core
from dbint._core import Pool
from dbint.errors import ClosedError, ConfigurationError, InterfaceError, UnreachableError

NOWHERE = "host=127.0.0.1 port=1 user=nobody password=hunter2 gssencmode=disable"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"conninfo": 1}, TypeError, "conninfo must be a str, not int"),
        ({"conninfo": "host=a\0b"}, InterfaceError, "conninfo must not contain a NUL"),
        ({"conninfo": "hunter2"}, ConfigurationError, 'missing "…" in connection info string'),
        ({"conninfo": "password=my hunter2=x"}, ConfigurationError, 'invalid connection option "…"'),
        ({"conninfo": "postgresql://u:hunter@2@h/d"}, ConfigurationError, "must be percent-encoded"),
        ({"conninfo": "postgresql://u:hunter/2@h/d"}, ConfigurationError, "must be percent-encoded"),
        ({"name": ""}, ConfigurationError, "name must not be empty"),
        ({"name": None}, TypeError, "name must be a str, not NoneType"),
        ({"max_size": 0}, ConfigurationError, "max_size must be within 1 to 1000"),
        ({"max_size": 1 << 32}, ConfigurationError, "max_size must be within 0 to 4294967295"),
        ({"max_size": "20"}, TypeError, "max_size must be an int, not str"),
        ({"min_size": 21}, ConfigurationError, "min_size must not be above max_size"),
        ({"connect_timeout": 0}, ConfigurationError, "connect_timeout must be above 0"),
        ({"max_age": -1}, ConfigurationError, "max_age must be a number of seconds, 0 or more, not -1"),
        ({"max_age_jitter": 2}, ConfigurationError, "max_age_jitter must be within 0 to 1"),
        ({"max_queries": 0}, ConfigurationError, "max_queries must be within 1 to"),
        ({"exhaustion_threshold": 0}, ConfigurationError, "exhaustion_threshold must be above 0"),
        ({"exhaustion_threshold": float("nan")}, ConfigurationError, "exhaustion_threshold must be above 0"),
        ({"colour": "red"}, TypeError, "colour"),
    ],
)
def test_what_cannot_work_is_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        Pool(**arguments)
    assert "hunter" not in str(caught.value)


def test_a_small_pool_need_not_say_its_min_size() -> None:
    assert Pool(max_size=1).snapshot()["min_size"] == 1


def test_none_is_no_limit() -> None:
    limits = ("connect_timeout", "max_age", "max_queries", "max_idle", "check_after_idle")
    assert not Pool(**dict.fromkeys(limits)).closed  # type: ignore[arg-type] # a dict of None


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((1,), TypeError, "sql must be a str, not int"),
        (("select\0",), InterfaceError, "sql must not contain a NUL"),
        (("select '\ud800'",), UnicodeEncodeError, "surrogates not allowed"),
        (("select $1", "one"), TypeError, "params must be a sequence of str and None, not one str"),
        (("select $1", [1]), TypeError, "each of params must be a str, not int"),
        (("select $1", ["\0"]), InterfaceError, "each of params must not contain a NUL"),
        (("select 1", [None] * 65536), InterfaceError, "at most 65535 params, not 65536"),
        (("select 1", [], 1.0), TypeError, "at most 2 positional arguments"),
    ],
)
def test_statements_are_checked_before_anything_is_sent(
    arguments: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    pool = Pool(NOWHERE)
    with pytest.raises(error, match=message):
        pool.execute(*arguments)
    assert pool.snapshot()["open_errors"] == 0


def test_an_absent_server_is_said_to_be_unreachable_and_no_secret_is_shown() -> None:
    pool = Pool(NOWHERE, name="absent")
    with pytest.raises(
        UnreachableError, match=r'"127\.0\.0\.1", port 1 failed: Connection refused'
    ) as caught:
        pool.execute("select 1")
    assert caught.value.code == "DBI_EUNREACHABLE"
    assert caught.value.sqlstate is None
    snapshot = pool.snapshot()
    assert (snapshot["open_errors"], snapshot["size"], snapshot["opening"]) == (1, 0, 0)
    assert snapshot["last_error"] == str(caught.value)
    assert repr(pool) == "<Pool 'absent': 0 of 20 in use, 0 idle>"
    pool.set_credentials("somebody", "hunter3")
    assert "hunter" not in f"{caught.value} {pool!r} {pool.snapshot()}"


def test_a_closed_pool_says_so() -> None:
    with Pool(NOWHERE, name="ended") as pool:
        assert not pool.closed
    assert pool.closed
    pool.close()
    assert repr(pool) == "<Pool 'ended' (closed): 0 of 20 in use, 0 idle>"
    with pytest.raises(ClosedError, match='pool "ended" is closed'):
        pool.execute("select 1")


def test_its_metrics_go_with_it() -> None:
    def shown() -> set[str]:
        return {name for name, _, labels, _ in _core.metrics_snapshot() if labels.get("pool") == "mètered"}

    pool = Pool(NOWHERE, name="mètered")
    assert {"dbint_pool_connections", "dbint_pool_closed_total", "dbint_pool_waiting"} <= shown()
    reference = weakref.ref(pool)
    del pool
    gc.collect()
    assert reference() is None
    assert shown() == set()


def test_a_pool_is_not_pickled() -> None:
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(Pool(NOWHERE))


def test_the_environment_says_what_the_conninfo_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGGSSENCMODE", "disable")
    with pytest.raises(UnreachableError, match=r'"127\.0\.0\.1", port 1 failed'):
        Pool().execute("select 1")


def test_a_forked_child_has_a_pool_of_its_own() -> None:
    pool = Pool(NOWHERE)
    child = os.fork()
    if child == 0:
        try:
            pool.execute("select 1")
        except UnreachableError:
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
