"""Entries of DATABASES and Kafka's options, made from discovery and credentials."""

import json
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from dbint.django import checks
from dbint.django.databases import doris_database, kafka_options, postgres_database, provider
from dbint.errors import ConfigurationError


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No stack, no cluster; returns the directory where a stack's state would be."""
    monkeypatch.setenv("DBINT_STACK_DIR", str(tmp_path))
    monkeypatch.setenv("DBINT_IN_KUBERNETES", "0")
    provider.cache_clear()
    return tmp_path


def test_postgres() -> None:
    assert postgres_database(database="app") == {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "app",
        "USER": "",
        "PASSWORD": "",
        "HOST": "localhost",
        "PORT": 5432,
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            "application_name": "dbint",
            "connect_timeout": 5,
            "pool": {"min_size": 1, "max_size": 8, "timeout": 10},
        },
        "TEST": {"DEPENDENCIES": []},
    }


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "HOST": "db",
        "PORT": "6432",
        "USER": "ann",
        "PASSWORD": "p",
        "DATABASE": "d",
    }.items():
        monkeypatch.setenv(f"POSTGRES_{name}", value)
    entry = postgres_database()
    assert [entry[key] for key in ("HOST", "PORT", "USER", "PASSWORD", "NAME")] == [
        "db",
        6432,
        "ann",
        "p",
        "d",
    ]
    # A second alias on the same server keeps its own database.
    assert postgres_database(database="other")["NAME"] == "other"


def test_from_the_setting() -> None:
    entry = postgres_database(dbint={"SERVICES": {"postgres": {"host": "db", "database": "d"}}})
    assert (entry["HOST"], entry["NAME"]) == ("db", "d")


def test_from_the_stack(nothing_set: Path) -> None:
    credentials = {"username": "dbint", "password": "p", "database": "agent_runtime"}
    entry = {"host": "127.0.0.1", "ports": {"sql": 4711}, "credentials": credentials}
    path = nothing_set / "state.json"
    path.write_text(json.dumps({"format": 1, "services": {"postgres": entry}}))
    path.chmod(0o600)
    made = postgres_database()
    assert [made[key] for key in ("HOST", "PORT", "USER", "PASSWORD", "NAME")] == [
        "127.0.0.1", 4711, "dbint", "p", "agent_runtime"
    ]  # fmt: skip


def test_options_of_a_url_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:p@db/x?sslmode=verify-full")
    entry = postgres_database("cdc")
    assert entry["OPTIONS"]["sslmode"] == "verify-full"
    assert entry["NAME"] == "x"


def test_pool_or_persistent_connections() -> None:
    assert postgres_database(pool={"max_size": 2})["OPTIONS"]["pool"]["max_size"] == 2
    entry = postgres_database(pool=False)
    assert "pool" not in entry["OPTIONS"]
    assert entry["CONN_MAX_AGE"] == 60


def test_overrides() -> None:
    entry = postgres_database(TEST={"NAME": "t"}, OPTIONS={"application_name": "shop"})
    assert entry["TEST"] == {"NAME": "t", "DEPENDENCIES": []}
    assert entry["OPTIONS"]["application_name"] == "shop"
    assert entry["OPTIONS"]["connect_timeout"] == 5
    with pytest.raises(ImproperlyConfigured, match="'conn_max_age' is no key of an entry of DATABASES"):
        postgres_database(conn_max_age=5)


def test_doris(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DORIS_HTTP_PORT", "18030")
    entry = doris_database(database="facts", dbint={"DORIS": {"replication_num": 1}})
    assert entry["ENGINE"] == "dbint.django.backends.doris"
    assert (entry["PORT"], entry["NAME"]) == (9030, "facts")
    assert entry["OPTIONS"] == {"http_port": 18030, "connect_timeout": 5.0, "replication_num": 1}


def test_stream_load() -> None:
    dbint = {"DORIS": {"address_map": {"10.0.0.5:8040": "127.0.0.1:18040"}}}
    assert doris_database(dbint=dbint, stream_load=True)["OPTIONS"]["stream_load"] == {
        "address_map": {"10.0.0.5:8040": "127.0.0.1:18040"},
        "allowed_hosts": (),
    }
    assert doris_database(stream_load={"threshold": 5})["OPTIONS"]["stream_load"]["threshold"] == 5


def test_wrong_variables_are_raised_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PORT", "x")
    with pytest.raises(ImproperlyConfigured, match="POSTGRES_PORT: 'x' is not a port number"):
        postgres_database()


def test_a_damaged_state_file_is_left_to_the_system_check(nothing_set: Path) -> None:
    (nothing_set / "state.json").write_text("{")
    assert postgres_database(database="app")["HOST"] == "localhost"
    assert doris_database()["PORT"] == 9030
    messages = [message for message in checks.check_discovery() if message.id == "dbint.E010"]
    assert len(messages) == 1
    assert f"{nothing_set / 'state.json'} is damaged" in messages[0].msg


class TestKafka:
    def test_address_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "a:1,b:2")
        assert kafka_options(dbint={}) == {"bootstrap.servers": "a:1,b:2", "client.id": "dbint"}

    def test_options_by_role(self) -> None:
        dbint = {"KAFKA": {"options": {"x": 1}, "producer": {"linger.ms": 5}, "consumer": {"y": 2}}}
        assert kafka_options("producer", dbint=dbint).keys() == {
            "bootstrap.servers",
            "client.id",
            "x",
            "linger.ms",
        }
        assert kafka_options("consumer", dbint=dbint).keys() == {"bootstrap.servers", "client.id", "x", "y"}

    def test_a_password_travels_encrypted_unless_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KAFKA_SASL_USERNAME", "ann")
        monkeypatch.setenv("KAFKA_SASL_PASSWORD", "p")
        options = kafka_options(dbint={})
        assert options["security.protocol"] == "SASL_SSL"
        assert (options["sasl.mechanism"], options["sasl.username"]) == ("SCRAM-SHA-512", "ann")
        options = kafka_options(dbint={"KAFKA": {"security_protocol": "SASL_PLAINTEXT"}})
        assert options["security.protocol"] == "SASL_PLAINTEXT"
        with pytest.raises(ConfigurationError, match="the security protocol is SSL"):
            kafka_options(dbint={"KAFKA": {"security_protocol": "SSL"}})

    def test_of_the_project(self) -> None:
        with override_settings(DBINT={"KAFKA": {"client_id": "shop"}}):
            assert kafka_options()["client.id"] == "shop"


def test_the_provider_follows_the_settings(tmp_path: Path) -> None:
    with override_settings(DBINT={"CREDENTIALS": {"providers": ["environment"]}}):
        assert len(provider().providers) == 1
        assert provider() is provider()
    with override_settings(DBINT={"CREDENTIALS": {"path": str(tmp_path)}}):
        assert len(provider().providers) == 3
