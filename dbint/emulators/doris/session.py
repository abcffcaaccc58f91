"""One client's session: which statement this is, and what becomes of it. Knows nothing of the wire."""

import datetime as dt
import itertools
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import duckdb

from dbint.emulators.doris import dml
from dbint.emulators.doris.duck_errors import from_duckdb
from dbint.emulators.doris.errors import (
    BAD_TABLE,
    UNKNOWN_TIME_ZONE,
    DorisError,
    NotEmulatedError,
)
from dbint.emulators.doris.faults import Faults
from dbint.emulators.doris.nodes import Node, Nodes
from dbint.emulators.doris.results import Result, ResultField, text_result
from dbint.emulators.doris.routine_load import statements as routine_load
from dbint.emulators.doris.routine_load.service import RoutineLoads
from dbint.emulators.doris.show import information_schema
from dbint.emulators.doris.show import statements as show
from dbint.emulators.doris.sql import translate
from dbint.emulators.doris.sql.grammar import check_statement, refuse_unknown
from dbint.emulators.doris.sql.lexer import Cursor
from dbint.emulators.doris.statement_log import StatementLog
from dbint.emulators.doris.tables import schema, views
from dbint.emulators.doris.tables.jobs import Jobs
from dbint.emulators.doris.tables.model import Table
from dbint.emulators.doris.tables.storage import Storage
from dbint.emulators.doris.tables.write import read_relation
from dbint.emulators.doris.variables import DORIS_VERSION, Variables

_IN_TRANSACTION = "This is in a transaction, only insert, update, delete, commit, rollback is acceptable."

# What a frontend that is not master forwards to the one that is.
_MASTER_STATEMENTS = frozenset(
    [
        *("CREATE", "DROP", "ALTER", "TRUNCATE", "INSERT", "UPDATE", "DELETE", "BEGIN", "CANCEL", "ADMIN"),
        *("PAUSE", "RESUME", "STOP"),
    ]
)
# What EXPLAIN shows is no plan of Doris' planner, and says so in its column and its first line.
_PLAN_COLUMN = "Explain String(dbint emulator)"
_NO_PLAN_OF_DORIS = "The emulator answers by this plan of DuckDB; Doris has a planner of its own."
_OFFSET = re.compile(r"([+-])(\d{1,2}):(\d{2})")


@dataclass(slots=True)
class Cluster:
    """What all sessions share."""

    storage: Storage
    user: str
    backends: int = 1
    started: str = field(default_factory=lambda: dt.datetime.now().isoformat(" ", "seconds"))
    version: str = DORIS_VERSION
    nodes: Nodes = field(default_factory=Nodes)
    jobs: Jobs = field(init=False)
    routine_loads: RoutineLoads = field(init=False)
    statement_log: StatementLog | None = None
    faults: Faults = field(default_factory=Faults)
    has_held_loads: Callable[[int], bool] = field(default=lambda _table_id: False)
    sessions: dict[int, "DorisSession"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.jobs = Jobs(self.storage, self._has_open_work, lambda: self.backend_count)
        self.routine_loads = RoutineLoads(self)

    @property
    def backend_count(self) -> int:
        """How many backends are up: as many replicas a new table can have."""
        return len(self.nodes.online_backends) if self.nodes.backends else self.backends

    def _has_open_work(self, table_id: int) -> bool:
        """Whether a transaction that is not ended has written to the table."""
        open_ones = [s.transaction for s in list(self.sessions.values())]
        return self.has_held_loads(table_id) or any(
            p.table.id == table_id for t in open_ones if t is not None for p in list(t.work)
        )

    def error_url(self, lines: list[str]) -> str:
        """Keep the reasons of filtered rows and give the address where the BE serves them."""
        name = self.storage.keep_error_log(lines)
        node = next(iter([*self.nodes.online_backends, *self.nodes.backends]))
        return f"http://{node.host}:{node.ports['http']}/api/_load_error_log?file={name}"


@dataclass(slots=True)
class Transaction:
    """Between BEGIN and COMMIT: work that is checked and waits."""

    txn_id: int
    label: str
    work: list[dml.Pending] = field(default_factory=list)

    @property
    def database(self) -> str | None:
        """The one database that it writes to, None before the first write."""
        return self.work[0].table.database if self.work else None

    def check(self, pending: dml.Pending) -> None:
        """Raises DorisError for a write that cannot follow those before it."""
        if pending.kind == "overwrite":
            raise DorisError(_IN_TRANSACTION)
        if not self.work:
            return
        if (pending.kind == "values") != (self.work[0].kind == "values"):
            raise DorisError(
                "Transaction insert can not insert into values and insert into select at the same time"
            )
        if pending.kind == "values" and pending.table.id != self.work[0].table.id:
            raise DorisError("Only one table can be inserted in one transaction.")
        if self.database != pending.table.database:
            raise DorisError(
                f"Transaction insert must be in the same database, expect database [{self.database}]"
            )
        if pending.kind == "delete" and any(
            before.table.id == pending.table.id and before.kind != "delete" for before in self.work
        ):
            raise DorisError("Can not delete because there is a insert operation for the same table")


def _no_such_table(database: str, name: str) -> DorisError:
    return DorisError(f"Table [{name}] does not exist in database [{database}].")


class DorisSession:
    """Runs statements for one connection; not for use by two threads at once."""

    _ids = itertools.count(1)

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.storage = cluster.storage
        self.id = next(self._ids)
        self.cursor = self.storage.cursor()
        self.variables = Variables(cluster.version)
        self.frontend: Node | None = None  # whose port the client has connected to
        self.database: str | None = None
        self.user = cluster.user
        self.host = "127.0.0.1"
        self.transaction: Transaction | None = None
        cluster.sessions[self.id] = self

    def close(self) -> None:
        """End the session: an open transaction is rolled back."""
        if self.cluster.sessions.pop(self.id, None) is not None:
            self.rollback()
            self.cursor.close()

    def interrupt(self) -> None:
        """Make the running statement fail; from another thread."""
        if self.id in self.cluster.sessions:
            self.cursor.interrupt()

    def execute(self, sql: str) -> Result:
        """Run one statement. Raises DorisError for every refusal."""
        cursor = Cursor(sql)
        if not cursor.tokens:
            raise DorisError("Empty query")
        word = cursor.word()
        handler = _STATEMENTS.get(word if word != "(" else "SELECT")
        if handler is None:
            refuse_unknown(cursor)
        check_statement(cursor)
        if word in _MASTER_STATEMENTS:
            self.cluster.nodes.require_master()
        if self.transaction is not None and word not in (
            "INSERT",
            "UPDATE",
            "DELETE",
            "BEGIN",
            "COMMIT",
            "ROLLBACK",
        ):
            raise DorisError(_IN_TRANSACTION)
        try:
            return handler(self, cursor)
        except duckdb.Error as error:
            raise from_duckdb(error) from None

    def use(self, database: str) -> None:
        self.database = self.storage.require_database(database)

    # -- Scope, for the translation of expressions

    @property
    def time_zone(self) -> str:
        zone = str(self.variables.get("time_zone"))
        offset = _OFFSET.fullmatch(zone)
        if offset:  # of whole hours, as _check_time_zone has seen to; POSIX counts them westwards
            hours = int(offset[2])
            return f"Etc/GMT{'-' if offset[1] == '+' else '+'}{hours}" if hours else "UTC"
        return {"SYSTEM": "UTC", "CST": "Asia/Shanghai"}.get(zone, zone)

    def relation(self, database: str | None, name: str) -> str:
        if database is None and name.lower() == "dual":
            return "(SELECT 1)"
        found = self._query_database(database)
        relation = None
        if found.lower() == "information_schema":
            relation = information_schema.relation(self.storage, name, self.cluster.version)
        elif not information_schema.is_system(found):
            table = self.storage.find_table(found, name)
            if table is not None:
                relation = views.relation(self, table) if table.is_view else read_relation(table)
        if relation is None:
            raise _no_such_table(found, name)
        return relation

    def _query_database(self, name: str | None) -> str:
        """The database of a table in SELECT and DML, whose planner has words of its own for a missing one."""
        if name is not None and not self.storage.has_database(name):
            raise DorisError(f"Database [{name}] does not exist.")
        return self.storage.require_database(name or self.database)

    def table(self, database: str | None, name: str) -> Table | None:
        return self.storage.find_table(database or self.database or "", name)

    def variable(self, name: str) -> str | int:
        return self.variables.get(name)

    def function_value(self, name: str) -> str | int | None:
        if name == "version":
            return self.variables.get("version")
        if name == "connection_id":
            return self.id
        return self.database if name in ("database", "schema") else f"'{self.user}'@'%'"

    # -- statements

    def find(self, name: tuple[str, ...]) -> Table:
        """An existing table of the user's, for DDL and SHOW. Raises DorisError 1046, 1049 or 1051."""
        database = self.storage.require_database(name[-2] if len(name) > 1 else self.database)
        table = self.storage.find_table(database, name[-1])
        if table is None:
            raise DorisError(f"Unknown table '{name[-1]}'", BAD_TABLE)
        return table

    def _find_target(self, name: tuple[str, ...]) -> Table:
        """The table that DML writes. Raises DorisError 1046 or 1105."""
        database = self._query_database(name[-2] if len(name) > 1 else None)
        table = self.storage.find_table(database, name[-1])
        if table is None:
            raise _no_such_table(database, name[-1])
        if table.is_view:
            raise DorisError("the target table of insert into is not an OLAP table")
        return table

    def _ask(self, query: str, prefix: str = "") -> tuple[duckdb.DuckDBPyConnection, translate.Translation]:
        """Run a query that is translated by the catalog; once more where that has changed meanwhile."""
        while True:
            version = self.storage.version
            translation = translate.translate_query(query.strip().rstrip(";"), self)
            try:
                return self.cursor.execute(prefix + translation.sql), translation
            except duckdb.Error as error:
                looked_up = isinstance(error, duckdb.BinderException | duckdb.CatalogException)
                if not looked_up or not self.storage.has_changed_since(version):
                    raise from_duckdb(error, translation.clauses) from None

    def _select(self, cursor: Cursor) -> Result:
        answer, translation = self._ask(cursor.sql)
        fields = []
        for n, column in enumerate(answer.description or []):
            kind = str(column[1])
            known = translation.types[n] if n < len(translation.types) else None
            if kind == "HUGEINT" and not translation.has_largeint:
                kind = "BIGINT"  # DuckDB sums integers as HUGEINT; Doris as BIGINT
            scale = known.args[0] if known is not None and known.name == "DATETIME" and known.args else None
            fields.append(ResultField(column[0], kind, scale))
        return Result(fields, answer.fetchall())

    def _show(self, cursor: Cursor) -> Result:
        if cursor.word(1) == "ROUTINE" or (cursor.word(1), cursor.word(2)) == ("ALL", "ROUTINE"):
            return routine_load.show(self, cursor)
        return show.show(self._show_context(), cursor.sql)

    def _describe(self, cursor: Cursor) -> Result:
        cursor.next()
        if cursor.word() in ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "("):
            return self._plan(cursor)
        table = self.find(cursor.qualified_name())
        cursor.accept("ALL")
        cursor.end()
        return show.describe(table)

    def _explain(self, cursor: Cursor) -> Result:
        cursor.expect("EXPLAIN")
        return self._plan(cursor)

    def _plan(self, cursor: Cursor) -> Result:
        """EXPLAIN of a query: the plan by which the emulator answers it, which says so."""
        if cursor.word() not in ("SELECT", "WITH", "("):
            raise NotEmulatedError(f"EXPLAIN {cursor.word()}")
        answer, _ = self._ask(cursor.rest(), "EXPLAIN ")
        plans = answer.fetchall()
        lines = [_NO_PLAN_OF_DORIS, *(line for _, plan in plans for line in str(plan).splitlines())]
        return text_result([_PLAN_COLUMN], [[line] for line in lines])

    def _show_context(self) -> show.ShowContext:
        cluster = self.cluster
        return show.ShowContext(
            self.storage,
            self.cursor,
            self.database,
            self.variables,
            self.find,
            cluster.nodes,
            self.frontend,
            cluster.version,
            cluster.jobs,
            lambda: [(s.id, s.user, s.host, s.database) for s in list(cluster.sessions.values())],
        )

    def _use(self, cursor: Cursor) -> Result:
        cursor.expect("USE")
        self.use(cursor.qualified_name()[-1])
        cursor.end()
        return Result()

    def _set(self, cursor: Cursor) -> Result:
        cursor.expect("SET")
        if cursor.accept("NAMES") or cursor.accept("CHARACTER", "SET") or cursor.accept("CHARSET"):
            charset = cursor.next().value.lower()
            if charset not in ("utf8mb4", "utf8", "utf8mb3", "default"):
                raise DorisError(f"Unknown character set: '{charset}'", 1115)
            return Result()
        if cursor.word() in ("PASSWORD", "ROLE", "PROPERTY", "LDAP_ADMIN_PASSWORD"):
            raise NotEmulatedError(f"SET {cursor.word()}")
        while True:
            cursor.accept("GLOBAL") or cursor.accept("SESSION") or cursor.accept("LOCAL")
            if cursor.accept("TRANSACTION"):
                return Result()
            self._set_variable(cursor)
            if not cursor.accept(","):
                break
        cursor.end()
        return Result()

    def _set_variable(self, cursor: Cursor) -> None:
        token = cursor.next()
        name = token.value
        if name.startswith("@") and not name.startswith("@@"):
            raise NotEmulatedError("a user variable")
        name = name.lstrip("@")
        if name.lower() in ("global", "session", "local") and cursor.accept("."):
            name = cursor.identifier()
        if not (cursor.accept("=") or cursor.accept(":", "=") or cursor.accept(":=")):
            cursor.fail("'='")
        sign = "-" if cursor.accept("-") else ""
        value = sign + cursor.next("expression").value
        if value.startswith("@@"):
            value = str(self.variables.get(value.lstrip("@").split(".")[-1]))
        if name.lower() == "time_zone" and value.upper() != "DEFAULT":
            self._check_time_zone(value)
        self.variables.set(name, None if value.upper() == "DEFAULT" else value)

    def _check_time_zone(self, value: str) -> None:
        offset = _OFFSET.fullmatch(value)
        if offset and int(offset[2]) <= 14:
            if offset[3] != "00":
                raise NotEmulatedError("a time zone that is not whole hours from UTC")
            return
        known = "SELECT 1 FROM pg_timezone_names() WHERE lower(name) = lower(?)"
        if value not in ("SYSTEM", "CST") and not self.cursor.execute(known, [value]).fetchall():
            raise DorisError(f"Unknown or incorrect time zone: '{value}'", UNKNOWN_TIME_ZONE)

    # -- writes and transactions

    def _write(self, cursor: Cursor) -> Result:
        self.cluster.faults.strike_statement()
        kind = cursor.word()
        run = {"INSERT": dml.insert, "UPDATE": dml.update, "DELETE": dml.delete}[kind]
        context = dml.DmlContext(
            storage=self.storage,
            cursor=self.cursor,
            scope=self,
            find=self._find_target,
            error_url=self.cluster.error_url,
            strict=self.variables.is_on("enable_insert_strict"),
            partial=self.variables.is_on("enable_unique_key_partial_update"),
        )
        sql = cursor.sql.strip().rstrip(";")
        if self.transaction is not None:
            return self._write_later(self.transaction, run(context, sql))
        with self.storage.write_lock:
            return self._write_now(run(context, sql), kind)

    def _write_now(self, pending: dml.Pending, kind: str) -> Result:
        txn_id = self.storage.next_txn()
        label = pending.label or f"label_{uuid.uuid4().hex}_{txn_id}"
        database = pending.table.database
        try:
            if pending.label is not None:
                used = self.storage.begin_label(database, label, txn_id)
                if used is not None:
                    raise DorisError(f"Label [{label}] has already been used, relate to txn [{used.txn_id}]")
            with self.storage.transaction(self.cursor):
                pending.run(self.cursor)
                if pending.label is not None:
                    self.storage.keep_label(self.cursor, database, label, txn_id)
        finally:
            pending.discard(self.cursor)
            self.storage.release_label(database, label)
        info = "" if kind == "SELECT" else _info(label, "VISIBLE", str(txn_id))
        return Result(affected=pending.affected, info=info)

    def _write_later(self, transaction: Transaction, pending: dml.Pending) -> Result:
        try:
            transaction.check(pending)
        except DorisError:
            pending.discard(self.cursor)
            raise
        transaction.work.append(pending)
        return Result(
            affected=pending.affected, info=_info(transaction.label, "PREPARE", str(transaction.txn_id))
        )

    def _begin(self, cursor: Cursor) -> Result:
        cursor.expect("BEGIN")
        label = cursor.identifier() if cursor.accept("WITH", "LABEL") else ""
        cursor.end()
        if self.transaction is None:  # a second BEGIN is ignored
            txn_id = self.storage.next_txn()
            self.transaction = Transaction(txn_id, label or f"txn_insert_{uuid.uuid4().hex}")
        return Result(info=_info(self.transaction.label, "PREPARE", ""))

    def _commit(self, cursor: Cursor) -> Result:
        cursor.expect("COMMIT")
        cursor.accept("WORK")
        cursor.end()
        transaction, self.transaction = self.transaction, None
        if transaction is None:
            return Result()
        database = transaction.database
        try:
            if database is not None:
                used = self.storage.begin_label(database, transaction.label, transaction.txn_id)
                if used is not None:
                    raise DorisError(
                        f"Label [{transaction.label}] has already been used, relate to txn [{used.txn_id}]"
                    )
                with self.storage.transaction(self.cursor):
                    for pending in transaction.work:
                        if not pending.table.same_shape(self.storage.by_id(pending.table.id)):
                            raise DorisError(
                                f"table {pending.table.name} was changed or dropped during the transaction"
                            )
                        pending.run(self.cursor)
                    self.storage.keep_label(self.cursor, database, transaction.label, transaction.txn_id)
        finally:
            for pending in transaction.work:
                pending.discard(self.cursor)
            if database is not None:
                self.storage.release_label(database, transaction.label)
        return Result(info=_info(transaction.label, "VISIBLE", str(transaction.txn_id)))

    def _rollback(self, cursor: Cursor) -> Result:
        cursor.expect("ROLLBACK")
        cursor.accept("WORK")
        if cursor.word() == "TO":
            cursor.fail("{<EOF>, ';'}")
        cursor.end()
        transaction = self.rollback()
        if transaction is None:
            return Result()
        return Result(info=_info(transaction.label, "ABORTED", str(transaction.txn_id)))

    def rollback(self) -> Transaction | None:
        """Forget what waits for a COMMIT."""
        transaction, self.transaction = self.transaction, None
        if transaction is not None:
            for pending in transaction.work:
                pending.discard(self.cursor)
        return transaction

    def _kill(self, cursor: Cursor) -> Result:
        cursor.expect("KILL")
        cursor.accept("CONNECTION") or cursor.accept("QUERY")
        session = self.cluster.sessions.get(cursor.integer())
        cursor.end()
        if session is None:
            raise DorisError("Unknown thread id", 1094)
        session.interrupt()
        return Result()

    def _start(self, _cursor: Cursor) -> Result:
        raise NotEmulatedError("START TRANSACTION (use BEGIN)")


def _info(label: str, status: str, txn_id: str) -> str:
    """The text that Doris puts into the OK packet of a write."""
    return f"{{'label':'{label}', 'status':'{status}', 'txnId':'{txn_id}'}}"


_STATEMENTS: dict[str, Callable[[DorisSession, Cursor], Result]] = {
    "SELECT": DorisSession._select,
    "WITH": DorisSession._select,
    "SHOW": DorisSession._show,
    "DESC": DorisSession._describe,
    "DESCRIBE": DorisSession._describe,
    "EXPLAIN": DorisSession._explain,
    "USE": DorisSession._use,
    "SET": DorisSession._set,
    "CREATE": schema.create,
    "DROP": schema.drop,
    "TRUNCATE": schema.truncate,
    "ALTER": schema.alter,
    "CANCEL": schema.cancel,
    "ADMIN": schema.admin,
    "INSERT": DorisSession._write,
    "UPDATE": DorisSession._write,
    "DELETE": DorisSession._write,
    "BEGIN": DorisSession._begin,
    "COMMIT": DorisSession._commit,
    "ROLLBACK": DorisSession._rollback,
    "KILL": DorisSession._kill,
    "PAUSE": routine_load.pause,
    "RESUME": routine_load.resume,
    "STOP": routine_load.stop,
    "START": DorisSession._start,
}
