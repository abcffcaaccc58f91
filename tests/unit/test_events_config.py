"""Where the layer's configuration comes from, and what it refuses."""

import os
from pathlib import Path

import pytest

from dbint.errors import ConfigurationError
from dbint.events import DatabaseConfig, TableRetention
from dbint.events.config import VARIABLES

SERVER = {
    "POSTGRES_HOST": "db.internal",
    "POSTGRES_PORT": "5436",
    "POSTGRES_DATABASE": "omninode_bridge",
    "POSTGRES_USER": "app",
    "POSTGRES_PASSWORD": "hunter2",
}


def from_env(**variables: str) -> DatabaseConfig:
    return DatabaseConfig.from_env({**SERVER, **variables})


class TestFromEnv:
    def test_address_and_credentials(self) -> None:
        config = from_env()
        assert (config.host, config.port, config.database) == ("db.internal", 5436, "omninode_bridge")
        assert (config.user, config.password) == ("app", "hunter2")

    def test_the_defaults_are_the_seeds(self) -> None:
        config = from_env()
        assert (config.pool_min_size, config.pool_max_size, config.pool_exhaustion_threshold) == (5, 20, 80.0)
        assert (config.max_queries_per_connection, config.connection_max_age) == (10_000, 3600)
        assert (config.batch_size, config.batch_timeout_ms) == (100, 1000)
        assert (config.failure_threshold, config.recovery_timeout, config.success_threshold) == (5, 60, 3)
        days = [
            config.trace_events_retention_days,
            config.routing_decisions_retention_days,
            config.performance_metrics_retention_days,
            config.transformation_events_retention_days,
        ]
        assert days == [30, 90, 180, 90]

    def test_each_variable_sets_its_field(self) -> None:
        values = {
            "POSTGRES_POOL_MIN_SIZE": "2",
            "POSTGRES_POOL_MAX_SIZE": "9",
            "POSTGRES_POOL_EXHAUSTION_THRESHOLD": "75.5",
            "POSTGRES_MAX_QUERIES_PER_CONNECTION": "500",
            "POSTGRES_CONNECTION_MAX_AGE": "60",
            "DBINT_JOURNAL_DIR": "/srv/journal",
            "DBINT_JOURNAL_MAX_BYTES": "1048576",
            "TRACE_EVENTS_RETENTION_DAYS": "7",
            "ROUTING_DECISIONS_RETENTION_DAYS": "8.5",
            "PERFORMANCE_METRICS_RETENTION_DAYS": "0",
            "TRANSFORMATION_EVENTS_RETENTION_DAYS": "9",
        }
        assert values.keys() == VARIABLES.keys()
        config = from_env(**values)
        found = {variable: getattr(config, field) for variable, (field, _) in VARIABLES.items()}
        assert found == {
            **{name: float(text) for name, text in values.items() if name != "DBINT_JOURNAL_DIR"},
            "DBINT_JOURNAL_DIR": "/srv/journal",
        }

    def test_the_environment_wins_over_settings_and_overrides_over_both(self) -> None:
        settings = {"pool_max_size": 7, "batch_size": 50, "lanes": 2}
        environ = {**SERVER, "POSTGRES_POOL_MAX_SIZE": "8"}
        config = DatabaseConfig.resolve(settings, environ=environ, lanes=4)
        assert (config.pool_max_size, config.batch_size, config.lanes) == (8, 50, 4)

    @pytest.mark.parametrize(
        ("variable", "value", "message"),
        [
            ("POSTGRES_POOL_MIN_SIZE", "five", "POSTGRES_POOL_MIN_SIZE is 'five', which is no whole number"),
            ("POSTGRES_POOL_MIN_SIZE", "2.5", "no whole number"),
            ("POSTGRES_POOL_EXHAUSTION_THRESHOLD", "nan", "no number"),
            (
                "POSTGRES_POOL_EXHAUSTION_THRESHOLD",
                "120",
                "pool_exhaustion_threshold is not above 0, up to 100",
            ),
            ("POSTGRES_POOL_MAX_SIZE", "4", "pool_min_size is not at most pool_max_size"),
            ("TRACE_EVENTS_RETENTION_DAYS", "-1", "trace_events_retention_days is not a number of days"),
            ("DBINT_JOURNAL_DIR", "journal", "journal_dir is not an absolute path"),
            ("DBINT_JOURNAL_DIR", " ", "DBINT_JOURNAL_DIR is empty"),
        ],
    )
    def test_what_cannot_work_is_refused_by_name(self, variable: str, value: str, message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            from_env(**{variable: value})

    def test_a_database_must_be_named(self) -> None:
        environ = {name: value for name, value in SERVER.items() if name != "POSTGRES_DATABASE"}
        with pytest.raises(ConfigurationError, match="set POSTGRES_DATABASE"):
            DatabaseConfig.from_env(environ)

    def test_an_unknown_field_is_named(self) -> None:
        with pytest.raises(ConfigurationError, match="no field 'batchsize'"):
            DatabaseConfig.resolve({"batchsize": 3}, environ=SERVER)


class TestFields:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("durability", "none"),
            ("when_full", "wait"),
            ("partition_interval", "hour"),
            ("batch_size", 0),
            ("batch_size", True),
            ("lanes", 1.5),
            ("batch_timeout_ms", float("inf")),
            ("recovery_timeout", 0),
            ("health_check_interval", "60"),
            ("trace_events_retention_days", float("nan")),
            ("database", ""),
            ("options", {"password": "hunter2"}),
            ("retention_tables", {"audit": TableRetention("at", 3)}),
            ("retention_tables", {"public.audit": TableRetention("", 3)}),
            ("retention_tables", {"public.audit": TableRetention("at", -3)}),
        ],
    )
    def test_a_wrong_value_names_its_field(self, field: str, value: object) -> None:
        with pytest.raises(ConfigurationError, match=rf"DatabaseConfig\.{field}") as caught:
            DatabaseConfig(**{"database": "x", field: value})  # type: ignore[arg-type]
        assert "hunter2" not in str(caught.value)

    def test_the_password_does_not_show(self) -> None:
        config = from_env()
        assert "hunter2" not in repr(config)
        assert "hunter2" not in str(config.connection_parameters())

    def test_days_of_zero_and_none_keep_everything(self) -> None:
        config = DatabaseConfig(
            database="x", trace_events_retention_days=0, routing_decisions_retention_days=None
        )
        assert config.retention_days("trace_events") is None
        assert config.retention_days("routing_decisions") is None
        assert config.retention_days("performance_metrics") == 180

    def test_libpq_gets_its_parameters(self) -> None:
        config = DatabaseConfig(
            host="db", port=1, database="x", user="u", connect_timeout=0.5, options={"sslmode": "require"}
        )
        parameters = config.connection_parameters()
        assert parameters["host"] == "db"
        assert parameters["port"] == "1"
        assert parameters["dbname"] == "x"
        assert parameters["user"] == "u"
        assert parameters["connect_timeout"] == "1"
        assert parameters["sslmode"] == "require"


class TestJournalPath:
    def test_it_is_below_the_directory_and_named_after_the_database(self) -> None:
        config = DatabaseConfig(database="shop", journal_dir="/srv/journal")
        assert config.journal_path == Path("/srv/journal/shop")

    def test_a_name_of_its_own_keeps_it_through_a_move(self) -> None:
        config = DatabaseConfig(database="shop_2", name="shop", journal_dir="/srv/journal")
        assert config.journal_path == Path("/srv/journal/shop")

    @pytest.mark.parametrize("name", ["../../etc", "a/b", "..", "x" * 300, "\0", ".hidden"])
    def test_no_name_leads_out_of_it(self, name: str) -> None:
        path = DatabaseConfig(database=name, journal_dir="/srv/journal").journal_path
        assert path.parent == Path("/srv/journal")
        assert path.name
        assert not path.name.startswith(".")
        assert len(os.fsencode(path.name)) <= 100
