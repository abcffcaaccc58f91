"""The tables of events on a real server: their SQL, their partitions, and retention that drops them."""
# ruff: noqa: S608 - the names of tables are this file's own

import itertools
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from dbint import _core, errors
from dbint.events import DatabaseConfig, TableRetention, partitions, retention, tables
from dbint.events.partitions import Connection
from dbint.events.reader import connected
from stack import Endpoint
from tests.integration.events_database import column, config_for, fresh_database, installed, one

TRACE = "agent_observability.trace_events"
METRICS = "agent_observability.performance_metrics"


@pytest.fixture
def database(postgres: Endpoint) -> Iterator[tuple[Connection, DatabaseConfig]]:
    with installed(postgres) as found:
        yield found


def midnight(days: int = 0) -> datetime:
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=days)


def add_trace_events(connection: Connection, *times: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {TRACE} (timestamp, trace_id, event_type, level, message) "
            "VALUES (%s, 't', 'e', 'INFO', '')",
            [(moment,) for moment in times],
        )


def spans(connection: Connection, table: str) -> list[tuple[datetime | None, datetime | None]]:
    return [
        (one.span.start, one.span.end)
        for one in partitions.partitions(connection, table)
        if one.span is not None
    ]


def runs_soon(connection: Connection, config: DatabaseConfig) -> bool:
    """Whether the policy can be applied when the server has noticed that the leader is gone."""
    for _ in range(100):
        if retention.apply_retention(connection, config).ran:
            return True
        time.sleep(0.05)
    return False


class TestInstalling:
    def test_twice_is_once(self, database: tuple[Connection, DatabaseConfig]) -> None:
        connection, config = database
        tables_now = column(
            connection, "SELECT oid FROM pg_class WHERE relkind IN ('r', 'p', 'i') ORDER BY 1"
        )
        retention.install(connection, config)
        again = column(connection, "SELECT oid FROM pg_class WHERE relkind IN ('r', 'p', 'i') ORDER BY 1")
        assert again == tables_now

    def test_the_script_is_for_psql(self, postgres: Endpoint) -> None:
        script = tables.script() + _core.ledger_sql()
        with fresh_database(postgres) as name:
            config = config_for(postgres, name)
            conninfo = psycopg.conninfo.make_conninfo(
                **config.connection_parameters(), password=config.password
            )
            done = subprocess.run(
                ["psql", "-q", "-v", "ON_ERROR_STOP=1", conninfo],
                input=script,
                text=True,
                capture_output=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            with connected(config) as connection:
                assert partitions.is_partitioned_by(connection, TRACE, "timestamp")
                assert one(connection, "SELECT count(*) FROM dbint.server") == 1

    def test_many_at_once(self, postgres: Endpoint) -> None:
        with fresh_database(postgres) as name:
            config = config_for(postgres, name)
            problems: list[BaseException] = []

            def install() -> None:
                try:
                    with connected(config) as connection:
                        retention.install(connection, config)
                except BaseException as error:  # noqa: BLE001 - shown by the assertion
                    problems.append(error)

            threads = [threading.Thread(target=install) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            assert not problems

    @pytest.mark.parametrize("table", tables.TABLES, ids=lambda table: table.name)
    def test_the_columns_of_the_stream_are_those_of_the_table(
        self, database: tuple[Connection, DatabaseConfig], table: tables.EventTable
    ) -> None:
        connection, _ = database
        encoder = _core.RowEncoder(
            {one.name: one.declaration for one in table.columns},
            fill={one.name: one.fill for one in table.columns if one.fill},
        )
        values = {"varchar": "x", "text": "x", "double": 0.5, "boolean": True, "jsonb": {"k": [1]}}
        fields = {one.name: values[re.split(r"\W", one.type)[0]] for one in table.own_columns}
        names = ", ".join(one.name for one in table.columns)
        with (
            connection.cursor() as cursor,
            cursor.copy(f"COPY {table.qualified} ({names}) FROM STDIN (FORMAT binary)") as copy,
        ):
            copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8) + encoder.encode(**fields) + b"\xff\xff")
        cursor = connection.execute(f"SELECT * FROM {table.qualified}")
        assert [found.name for found in cursor.description or ()] == [one.name for one in table.columns]
        (row,) = cursor.fetchall()
        assert dict(zip(fields, row[2:], strict=True)) == fields
        assert isinstance(row[0], UUID)
        assert abs(row[1] - datetime.now(UTC)) < timedelta(minutes=1)  # type: ignore[operator]

    def test_the_command(self, postgres: Endpoint) -> None:
        with fresh_database(postgres) as name:
            config = config_for(postgres, name)
            environ = {
                "POSTGRES_HOST": config.host,
                "POSTGRES_PORT": str(config.port),
                "POSTGRES_DATABASE": name,
                "POSTGRES_USER": config.user,
                "POSTGRES_PASSWORD": config.password,
            }

            def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
                return subprocess.run(
                    [sys.executable, "-m", "dbint.events", *arguments],
                    env=environ | more,
                    text=True,
                    capture_output=True,
                    check=False,
                )

            early = run("retention")
            assert early.returncode == 1
            assert "python -m dbint.events install" in early.stderr
            assert (
                run("install").stdout == f"installed in the database {name} at {config.host}:{config.port}\n"
            )
            assert run("retention", "--dry-run").stdout == "nothing would be removed\n"
            assert run("sql").stdout.startswith("BEGIN;\n\nCREATE SCHEMA IF NOT EXISTS agent_observability;")
            away = run("install", POSTGRES_PORT="1")
            assert away.returncode == 1
            assert "Connection refused" in away.stderr
            assert config.password not in away.stderr
            wrong = run("install", POSTGRES_POOL_MAX_SIZE="many")
            assert wrong.returncode == 2
            assert "POSTGRES_POOL_MAX_SIZE is 'many'" in wrong.stderr
            assert "Traceback" not in early.stderr + away.stderr + wrong.stderr


class TestPartitions:
    def test_those_of_today_and_of_the_days_ahead_are_there(
        self, database: tuple[Connection, DatabaseConfig]
    ) -> None:
        connection, _ = database
        assert spans(connection, TRACE) == [(midnight(n), midnight(n + 1)) for n in range(8)]
        weeks = spans(connection, METRICS)
        assert all(end and start and end - start == timedelta(days=7) for start, end in weeks)
        assert weeks[0][0] is not None
        assert weeks[0][0] <= midnight() < weeks[-1][1]  # type: ignore[operator]

    def test_a_row_goes_where_it_belongs(self, database: tuple[Connection, DatabaseConfig]) -> None:
        connection, _ = database
        add_trace_events(connection, midnight(1), midnight(2) - timedelta(microseconds=1), midnight(300))
        places = column(connection, f"SELECT tableoid::regclass::text FROM {TRACE} ORDER BY timestamp")
        assert places == [f"{TRACE}_{midnight(1):%Y%m%d}"] * 2 + [f"{TRACE}_default"]

    def test_rows_of_the_default_partition_move_into_the_one_that_is_made(
        self, database: tuple[Connection, DatabaseConfig]
    ) -> None:
        connection, config = database
        times = [midnight(9) + timedelta(hours=hour) for hour in (0, 5, 23)] + [midnight(-3), midnight(-2)]
        add_trace_events(connection, *times)
        assert one(connection, f"SELECT count(*) FROM {TRACE}_default") == 5
        made = retention.ensure_partitions(connection, config)
        assert made == [f"{TRACE}_{midnight(day):%Y%m%d}" for day in (-3, -2, 9)]
        assert one(connection, f"SELECT count(*) FROM {TRACE}_default") == 0
        assert sorted(column(connection, f"SELECT timestamp FROM {TRACE}")) == sorted(times)
        assert retention.ensure_partitions(connection, config) == []

    def test_who_looks_while_rows_move_sees_them(
        self, database: tuple[Connection, DatabaseConfig], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection, config = database
        add_trace_events(connection, midnight(-2))
        counts: list[int] = []
        original = partitions._transaction

        def look() -> None:
            with connected(config) as reader:
                counts.append(one(reader, f"SELECT count(*) FROM {TRACE}"))

        reader = threading.Thread(target=look)

        @contextmanager
        def slow(mine: Connection) -> Iterator[None]:
            with original(mine):
                yield
                # Everything is done but the commit: the reader waits for a lock, with a plan or without.
                reader.start()
                time.sleep(0.5)

        monkeypatch.setattr(partitions, "_transaction", slow)
        assert len(retention.ensure_partitions(connection, config)) == 1
        reader.join(20)
        assert counts == [1]

    def test_rows_may_come_while_a_partition_is_made(
        self, database: tuple[Connection, DatabaseConfig]
    ) -> None:
        connection, config = database
        add_trace_events(connection, *(midnight(-day) for day in range(1, 12)))
        added = 0
        done = threading.Event()

        def write() -> None:
            nonlocal added
            with connected(config) as writer:
                while not done.is_set():
                    add_trace_events(writer, midnight(-added % 12))
                    added += 1

        thread = threading.Thread(target=write)
        thread.start()
        retention.ensure_partitions(connection, config)
        done.set()
        thread.join()
        retention.ensure_partitions(connection, config)
        assert added > 0
        assert one(connection, f"SELECT count(*) FROM {TRACE}") == 11 + added
        assert one(connection, f"SELECT count(*) FROM {TRACE}_default") == 0

    def test_the_partition_that_is_made_has_the_tables_indexes(
        self, database: tuple[Connection, DatabaseConfig]
    ) -> None:
        connection, _ = database
        attached = """SELECT count(*) FROM pg_index i JOIN pg_inherits h ON h.inhrelid = i.indexrelid
                      WHERE i.indrelid = %s::regclass"""
        parents = one(connection, "SELECT count(*) FROM pg_index WHERE indrelid = %s::regclass", TRACE)
        assert parents == 4
        assert one(connection, attached, f"{TRACE}_{midnight():%Y%m%d}") == parents

    def test_a_changed_interval_goes_around_what_is_there(
        self, database: tuple[Connection, DatabaseConfig]
    ) -> None:
        connection, _ = database
        made = partitions.ensure_partitions(connection, TRACE, "timestamp", "month", days_ahead=40)
        found = spans(connection, TRACE)
        assert made
        assert len(found) == 8 + len(made)
        for (_, end), (start, _) in itertools.pairwise(found):
            assert end == start

    def test_writers_are_not_kept_waiting_for_long(
        self, database: tuple[Connection, DatabaseConfig], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection, config = database
        monkeypatch.setattr(partitions, "LOCK_TIMEOUT", "100ms")
        monkeypatch.setattr(partitions, "ATTEMPTS", 2)
        add_trace_events(connection, midnight(20))
        with connected(config) as writer, writer.transaction():
            add_trace_events(writer, midnight(20))
            began = time.monotonic()
            with pytest.raises(psycopg.errors.LockNotAvailable):
                retention.ensure_partitions(connection, config)
            assert time.monotonic() - began < 5
        assert retention.ensure_partitions(connection, config) == [f"{TRACE}_{midnight(20):%Y%m%d}"]
        assert one(connection, f"SELECT count(*) FROM {TRACE}_default") == 0

    def test_a_wrong_clock_does_not_make_partitions_without_end(
        self, database: tuple[Connection, DatabaseConfig]
    ) -> None:
        connection, config = database
        add_trace_events(connection, *(midnight(1000 + 3 * n) for n in range(150)))
        connection.execute(
            f"INSERT INTO {TRACE} (timestamp, trace_id, event_type, level, message) "
            "VALUES ('infinity', '', '', '', '')"
        )
        assert len(retention.ensure_partitions(connection, config)) == 100


class TestPruning:
    def explained(self, connection: Connection, where: str, *parameters: Any) -> str:
        return "\n".join(column(connection, f"EXPLAIN SELECT * FROM {TRACE} WHERE {where}", *parameters))

    def test_a_range_of_time_reads_its_partitions_alone(
        self, database: tuple[Connection, DatabaseConfig]
    ) -> None:
        connection, _ = database
        plan = self.explained(connection, "timestamp >= %s AND timestamp < %s", midnight(2), midnight(3))
        assert f"trace_events_{midnight(2):%Y%m%d}" in plan
        assert plan.count("trace_events_2") == plan.count(f"trace_events_{midnight(2):%Y%m%d}")
        assert "trace_events_default" not in plan

    @pytest.mark.parametrize(
        ("where", "index"),
        [
            ("trace_id = 't'", "trace_id_timestamp_idx"),
            ("agent_name = 'a'", "agent_name_timestamp_event_type_idx"),
            ("event_type = 'e'", "event_type_timestamp_idx"),
            ("timestamp < now()", "pkey"),
        ],
    )
    def test_each_filter_has_its_index(
        self, database: tuple[Connection, DatabaseConfig], where: str, index: str
    ) -> None:
        connection, _ = database
        connection.execute("SET enable_seqscan = off")
        connection.execute("SET enable_bitmapscan = off")
        connection.execute("SET enable_sort = off")
        plan = self.explained(connection, f"{where} ORDER BY timestamp DESC, event_id DESC LIMIT 100")
        assert f"{midnight():%Y%m%d}_{index}" in plan
        assert "Seq Scan" not in plan

    def test_agent_and_type_are_both_looked_up_in_the_index(
        self, database: tuple[Connection, DatabaseConfig]
    ) -> None:
        connection, _ = database
        connection.execute("SET enable_seqscan = off")
        connection.execute("SET enable_bitmapscan = off")
        connection.execute(f"DROP INDEX {tables.SCHEMA}.trace_events_type")
        plan = self.explained(
            connection, "agent_name = 'a' AND event_type = 'e' ORDER BY timestamp DESC LIMIT 100"
        )
        condition = re.search(r"Index Cond: (.*)", plan)
        assert condition is not None
        assert "agent_name" in condition[1]
        assert "event_type" in condition[1]
        assert "Filter" not in plan


class TestRetention:
    @pytest.fixture
    def old_and_new(self, database: tuple[Connection, DatabaseConfig]) -> tuple[Connection, DatabaseConfig]:
        """Two days that are past and two that are not, in partitions; one past row in DEFAULT."""
        connection, config = database
        days = (-33, -32, -29, -1)
        add_trace_events(connection, *(midnight(day) + timedelta(hours=12) for day in days))
        for day in days:
            span = partitions.span_at("day", midnight(day))
            default = partitions.partitions(connection, TRACE)[-1]
            partitions._make(connection, TRACE, "timestamp", span, default)
        add_trace_events(connection, midnight(-50))
        return connection, config

    def test_what_is_past_goes_and_nothing_else(self, old_and_new: tuple[Connection, DatabaseConfig]) -> None:
        connection, config = old_and_new
        report = retention.apply_retention(connection, config)
        assert report.ran
        assert not report.errors
        removed = [(one.action, one.partition, one.rows, one.exact) for one in report.removals]
        assert removed == [
            ("drop_partition", f"{TRACE}_{midnight(-33):%Y%m%d}", 1, True),
            ("drop_partition", f"{TRACE}_{midnight(-32):%Y%m%d}", 1, True),
            ("delete_rows", f"{TRACE}_default", 1, True),
        ]
        assert report.removed_rows == 3
        left = column(connection, f"SELECT timestamp FROM {TRACE} ORDER BY 1")
        assert left == [midnight(day) + timedelta(hours=12) for day in (-29, -1)]

    def test_everything_that_went_is_written_down(
        self, old_and_new: tuple[Connection, DatabaseConfig]
    ) -> None:
        connection, config = old_and_new
        report = retention.apply_retention(connection, config)
        log = connection.execute(
            """SELECT action, relation, partition, range_start, removed_rows, exact, cutoff, done_by
               FROM dbint.retention_log WHERE action <> 'make_partition' ORDER BY id"""
        ).fetchall()
        cutoff = report.removals[0].cutoff
        who = retention.whoami()
        assert log == [
            ("drop_partition", TRACE, f"{TRACE}_{midnight(-33):%Y%m%d}", midnight(-33), 1, True, cutoff, who),
            ("drop_partition", TRACE, f"{TRACE}_{midnight(-32):%Y%m%d}", midnight(-32), 1, True, cutoff, who),
            ("delete_rows", TRACE, f"{TRACE}_default", None, 1, True, cutoff, who),
            ("run", None, None, None, 3, True, None, who),
        ]

    def test_a_dry_run_says_the_same_and_changes_nothing(
        self, old_and_new: tuple[Connection, DatabaseConfig]
    ) -> None:
        connection, config = old_and_new
        before = column(connection, f"SELECT ctid::text || tableoid || timestamp FROM {TRACE} ORDER BY 1")
        objects = one(connection, "SELECT count(*) FROM pg_class")
        dry = retention.apply_retention(connection, config, dry_run=True)
        assert dry.dry_run
        assert not dry.partitions_made
        assert (
            column(connection, f"SELECT ctid::text || tableoid || timestamp FROM {TRACE} ORDER BY 1")
            == before
        )
        assert one(connection, "SELECT count(*) FROM pg_class") == objects
        assert one(connection, "SELECT count(*) FROM dbint.retention_log WHERE action = 'run'") == 0
        real = retention.apply_retention(connection, config)
        assert [(one.action, one.partition, one.rows) for one in dry.removals] == [
            (one.action, one.partition, one.rows) for one in real.removals
        ]

    def test_a_partition_in_use_is_tried_again_later_and_keeps_nobody_waiting(
        self, old_and_new: tuple[Connection, DatabaseConfig], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection, config = old_and_new
        monkeypatch.setattr(partitions, "LOCK_TIMEOUT", "100ms")
        monkeypatch.setattr(partitions, "ATTEMPTS", 2)
        with connected(config) as reader, reader.transaction():
            reader.execute(f"SELECT FROM {TRACE}_{midnight(-33):%Y%m%d}")
            report = retention.apply_retention(connection, config)
            assert [error.partition(":")[0] for error in report.errors] == [TRACE]
            assert "lock timeout" in report.errors[0]
        assert [one.action for one in retention.apply_retention(connection, config).removals] == [
            "drop_partition",
            "drop_partition",
            "delete_rows",
        ]

    def test_of_two_leaders_at_once_one_runs(self, old_and_new: tuple[Connection, DatabaseConfig]) -> None:
        connection, config = old_and_new
        with connected(config) as other:
            other.execute("SELECT pg_advisory_lock(%s)", (retention.LEADER_LOCK,))
            assert not retention.apply_retention(connection, config).ran
            assert retention.ensure_partitions(connection, config) == []
        assert runs_soon(connection, config)

    def test_many_workers_at_once_remove_everything_once(
        self, old_and_new: tuple[Connection, DatabaseConfig]
    ) -> None:
        _, config = old_and_new
        barrier = threading.Barrier(4)
        reports: list[retention.RetentionReport] = []

        def work() -> None:
            with connected(config) as mine:
                barrier.wait()
                reports.append(retention.apply_retention(mine, config, only_when_due=True))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(report.ran for report in reports) == [False, False, False, True]
        assert sum(report.removed_rows for report in reports) == 3

    def test_it_is_due_once_in_its_interval(self, postgres: Endpoint) -> None:
        with installed(postgres, retention_interval=3600) as (connection, config):
            assert retention.apply_retention(connection, config, only_when_due=True).ran
            assert not retention.apply_retention(connection, config, only_when_due=True).ran
            connection.execute("UPDATE dbint.retention_log SET at = at - interval '61 minutes'")
            assert retention.apply_retention(connection, config, only_when_due=True).ran

    def test_for_ever_is_for_ever(self, postgres: Endpoint) -> None:
        with installed(postgres, trace_events_retention_days=0) as (connection, config):
            add_trace_events(connection, midnight(-5000))
            assert retention.apply_retention(connection, config).removals == ()
            assert one(connection, f"SELECT count(*) FROM {TRACE}") == 1

    def test_a_partition_that_is_partly_past_stays(self, postgres: Endpoint) -> None:
        with installed(postgres, partition_interval="month") as (connection, config):
            add_trace_events(connection, midnight(-30))
            retention.ensure_partitions(connection, config)
            assert retention.apply_retention(connection, config).removals == ()
            assert one(connection, f"SELECT count(*) FROM {TRACE}") == 1

    def test_a_connection_that_is_lost_gives_the_lead_to_others(
        self, old_and_new: tuple[Connection, DatabaseConfig]
    ) -> None:
        connection, config = old_and_new

        def lead_and_die() -> None:
            with connected(config) as doomed, retention._leadership(doomed) as leader:
                assert leader
                assert not retention.apply_retention(connection, config).ran
                connection.execute("SELECT pg_terminate_backend(%s)", (doomed.info.backend_pid,))
                doomed.execute("SELECT 1")

        with pytest.raises(errors.OperationalError):
            lead_and_die()
        assert runs_soon(connection, config)


class TestOtherTables:
    """Tables of the user: whatever their form, past rows go."""

    def config(self, database: DatabaseConfig, table: str, days: float = 10) -> DatabaseConfig:
        return DatabaseConfig(
            host=database.host,
            port=database.port,
            user=database.user,
            password=database.password,
            database=database.database,
            retention_tables={table: TableRetention("at", days)},
        )

    def test_a_plain_table_loses_rows_in_batches(
        self, database: tuple[Connection, DatabaseConfig], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection, config = database
        monkeypatch.setattr(retention, "BATCH", 100)
        monkeypatch.setattr(retention, "PAUSE", 0)
        connection.execute('CREATE TABLE public."Audit log" (at timestamptz, number int)')
        connection.execute(
            """INSERT INTO public."Audit log"
               SELECT now() - n * interval '1 hour', n FROM generate_series(1, 1000) AS n"""
        )
        report = retention.apply_retention(connection, self.config(config, "public.Audit log"))
        assert not report.errors
        assert report.removed_rows == 761  # 10 days are 240 hours, and the 240th is past by some milliseconds
        assert one(connection, 'SELECT max(number) FROM public."Audit log"') == 239
        # Many batches, one line, and its number is of them all.
        assert connection.execute(
            "SELECT relation, partition, removed_rows FROM dbint.retention_log WHERE action = 'delete_rows'"
        ).fetchall() == [("public.Audit log", None, 761)]

    def test_what_was_removed_before_a_crash_is_written_down(
        self, database: tuple[Connection, DatabaseConfig], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection, config = database
        monkeypatch.setattr(retention, "BATCH", 100)
        connection.execute("CREATE TABLE public.audit (at timestamptz)")
        connection.execute("INSERT INTO public.audit SELECT '2020-01-01' FROM generate_series(1, 1000)")

        def crash(_seconds: float) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("dbint.events.retention.time.sleep", crash)
        with pytest.raises(KeyboardInterrupt):
            retention.apply_retention(connection, self.config(config, "public.audit"))
        logged = one(connection, "SELECT removed_rows FROM dbint.retention_log WHERE action = 'delete_rows'")
        assert logged == 100
        assert one(connection, "SELECT count(*) FROM public.audit") == 900

    def test_a_locked_row_is_left_for_the_next_time(
        self, database: tuple[Connection, DatabaseConfig]
    ) -> None:
        connection, config = database
        connection.execute("CREATE TABLE public.audit (at timestamptz, number int)")
        connection.execute("INSERT INTO public.audit SELECT '2020-01-01', n FROM generate_series(1, 5) AS n")
        with connected(config) as other, other.transaction():
            other.execute("SELECT FROM public.audit WHERE number = 3 FOR UPDATE")
            report = retention.apply_retention(connection, self.config(config, "public.audit"))
            assert report.removed_rows == 4
        assert retention.apply_retention(connection, self.config(config, "public.audit")).removed_rows == 1

    def test_one_that_is_partitioned_by_its_time_loses_partitions(
        self, database: tuple[Connection, DatabaseConfig]
    ) -> None:
        connection, config = database
        connection.execute("CREATE TABLE public.audit (at date) PARTITION BY RANGE (at)")
        connection.execute(
            "CREATE TABLE public.old PARTITION OF public.audit FOR VALUES FROM (MINVALUE) TO ('2020-01-01')"
        )
        connection.execute(
            "CREATE TABLE public.since PARTITION OF public.audit FOR VALUES FROM ('2020-01-01') TO (MAXVALUE)"
        )
        connection.execute("INSERT INTO public.audit VALUES ('2019-05-05'), ('2020-05-05')")
        report = retention.apply_retention(connection, self.config(config, "public.audit"))
        assert [(one.action, one.partition, one.rows) for one in report.removals] == [
            ("drop_partition", "public.old", 1)
        ]
        assert not report.errors
        # No partitions are made for other people's tables.
        assert len(partitions.partitions(connection, "public.audit")) == 1

    def test_one_that_is_partitioned_otherwise_loses_rows_of_each_partition(
        self, database: tuple[Connection, DatabaseConfig]
    ) -> None:
        connection, config = database
        connection.execute("CREATE TABLE public.audit (at timestamptz, kind int) PARTITION BY LIST (kind)")
        for kind in (1, 2):
            connection.execute(
                f"CREATE TABLE public.audit_{kind} PARTITION OF public.audit FOR VALUES IN ({kind})"
            )
        connection.execute(
            """INSERT INTO public.audit SELECT moment::timestamptz, kind
               FROM unnest(ARRAY['2020-01-01', '2030-01-01']) AS moment, generate_series(1, 2) AS kind"""
        )
        report = retention.apply_retention(connection, self.config(config, "public.audit"))
        assert [(one.partition, one.rows) for one in report.removals] == [
            ("public.audit_1", 1),
            ("public.audit_2", 1),
        ]
        assert one(connection, "SELECT count(*) FROM public.audit") == 2

    def test_one_that_is_not_there_keeps_no_other_from_its_turn(
        self, database: tuple[Connection, DatabaseConfig]
    ) -> None:
        connection, config = database
        add_trace_events(connection, midnight(-50))
        report = retention.apply_retention(connection, self.config(config, "public.nowhere"))
        assert report.errors == ('public.nowhere: relation "public.nowhere" does not exist',)
        assert report.removed_rows == 1
        assert retention.describe(report)[-1].startswith("error: public.nowhere")

    def test_forgotten_chains_leave_the_ledger(self, database: tuple[Connection, DatabaseConfig]) -> None:
        connection, config = database
        connection.execute(
            """INSERT INTO dbint.chains (chain, stream, relation, lane, slot, host, advanced_at)
               VALUES (gen_random_uuid(), 's', 'r', 0, 'slot-0000', 'h', now()),
                      (gen_random_uuid(), 's', 'r', 0, 'slot-0000', 'h', now() - interval '91 days')"""
        )
        report = retention.apply_retention(connection, config)
        assert report.chains_collected == 1
        assert one(connection, "SELECT count(*) FROM dbint.chains") == 1
        assert (
            one(connection, "SELECT removed_rows FROM dbint.retention_log WHERE action = 'collect_chains'")
            == 1
        )
