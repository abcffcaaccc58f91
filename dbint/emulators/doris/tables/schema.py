# ruff: noqa: S608 - makes SQL; names are those of model.Table.relation
"""The statements that change the catalog: CREATE, DROP, TRUNCATE, ALTER, CANCEL and ADMIN."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbint.emulators.doris.errors import TABLE_EXISTS, UNKNOWN_TABLE, DorisError, NotEmulatedError
from dbint.emulators.doris.results import Result
from dbint.emulators.doris.routine_load import statements as routine_load
from dbint.emulators.doris.show import information_schema
from dbint.emulators.doris.sql.lexer import Cursor
from dbint.emulators.doris.tables import ddl, partitions, views
from dbint.emulators.doris.tables.alter import plan, with_index, without_index
from dbint.emulators.doris.tables.definition import build_table
from dbint.emulators.doris.tables.dynamic import is_dynamic
from dbint.emulators.doris.tables.model import Table
from dbint.emulators.doris.tables.write import create_relation

if TYPE_CHECKING:
    from dbint.emulators.doris.session import DorisSession

_CHECK_INTERVAL = "dynamic_partition_check_interval_seconds"


def create(session: DorisSession, cursor: Cursor) -> Result:
    """CREATE DATABASE, TABLE, VIEW, INDEX and ROUTINE LOAD."""
    cursor.expect("CREATE")
    if cursor.accept("DATABASE") or cursor.accept("SCHEMA"):
        if_not_exists = cursor.accept("IF", "NOT", "EXISTS")
        name = cursor.identifier()
        if cursor.accept("PROPERTIES"):
            cursor.properties()
        cursor.end()
        session.storage.create_database(session.cursor, name, if_not_exists=if_not_exists)
        return Result()
    if cursor.accept("TABLE"):
        return _create_table(session, ddl.parse_create_table(cursor))
    if cursor.accept("ROUTINE", "LOAD"):
        return routine_load.create(session, cursor)
    replaces = cursor.accept("OR", "REPLACE")
    if cursor.accept("VIEW"):
        return views.create(session, cursor, replaces=replaces)
    if replaces:
        cursor.fail("'VIEW'")
    if cursor.accept("INDEX"):
        return _create_index(session, cursor)
    if cursor.word() in ("UNIQUE", "FULLTEXT", "SPATIAL"):
        cursor.fail("{'CATALOG', 'DATABASE', 'EXTERNAL', 'FUNCTION', 'INDEX', 'TABLE', 'USER', 'VIEW', ...}")
    raise NotEmulatedError(f"CREATE {cursor.word()}")


def _create_table(session: DorisSession, spec: ddl.TableSpec) -> Result:
    database = session.storage.require_database(spec.name[-2] if len(spec.name) > 1 else session.database)
    if information_schema.is_system(database):
        raise DorisError(
            f"Access denied; you need (at least one of) the (CREATE) privilege(s) on {database}", 1227
        )
    with session.storage.transaction(session.cursor):
        if session.storage.find_table(database, spec.name[-1]) is not None:
            if spec.if_not_exists:
                return Result()
            raise DorisError(f"Table '{spec.name[-1]}' already exists", TABLE_EXISTS)
        number = session.storage.next_number("table_id")
        table = build_table(spec, number, database, session.cluster.backend_count)
        create_relation(session.cursor, table)
        session.storage.put_table(session.cursor, table)
    if is_dynamic(table.properties):
        session.cluster.jobs.note_change(table, is_new=True)
    return Result()


def _base_table(session: DorisSession, target: tuple[str, ...]) -> Table:
    """An existing table that is no view. Raises DorisError."""
    table = session.find(target)
    if table.is_view:
        raise views.wrong_object(table, "TABLE")
    return table


def _create_index(session: DorisSession, cursor: Cursor) -> Result:
    if_not_exists = cursor.accept("IF", "NOT", "EXISTS")
    name = cursor.identifier()
    cursor.expect("ON")
    target = cursor.qualified_name()
    start = cursor.index
    table = _base_table(session, target)
    if if_not_exists and name.lower() in (i.name.lower() for i in table.indexes):
        return Result()
    cursor.index = start
    with_index(table, cursor, name)
    cursor.end()
    end = cursor.tokens[-1].end
    quoted = "`" + name.replace("`", "``") + "`"
    return _alter_table(session, target, f"ADD INDEX {quoted} {cursor.sql[cursor.tokens[start].start : end]}")


def drop(session: DorisSession, cursor: Cursor) -> Result:
    """DROP DATABASE, TABLE, VIEW and INDEX."""
    cursor.expect("DROP")
    if cursor.accept("DATABASE") or cursor.accept("SCHEMA"):
        if_exists = cursor.accept("IF", "EXISTS")
        name = cursor.identifier()
        force = cursor.accept("FORCE")
        cursor.end()
        session.storage.drop_database(session.cursor, name, if_exists=if_exists, force=force)
        if session.database == name:
            session.database = None
        return Result()
    if cursor.accept("INDEX"):
        return _drop_index(session, cursor)
    if cursor.accept("VIEW"):
        return views.drop(session, cursor)
    if not cursor.accept("TABLE"):
        raise NotEmulatedError(f"DROP {cursor.word()}")
    if_exists = cursor.accept("IF", "EXISTS")
    target = cursor.qualified_name()
    force = cursor.accept("FORCE")
    cursor.end()
    database = session.storage.require_database(target[-2] if len(target) > 1 else session.database)
    session.cluster.jobs.run_due()
    with session.storage.transaction(session.cursor):
        table = session.storage.find_table(database, target[-1])
        if table is None:
            if if_exists:
                return Result()
            raise DorisError(f"Unknown table '{target[-1]}' in {database}", UNKNOWN_TABLE)
        if table.is_view:
            raise views.wrong_object(table, "TABLE")
        if not force and session.cluster.jobs.is_busy(table):
            raise DorisError(
                f"The table [{table.name}]'s state is SCHEMA_CHANGE, cannot be dropped. please cancel the"
                " operation on olap table firstly. If you want to forcibly drop(cannot be recovered), please"
                ' use "DROP TABLE <table> FORCE".'
            )
        session.storage.drop_table(session.cursor, table)
    return Result()


def _drop_index(session: DorisSession, cursor: Cursor) -> Result:
    if_exists = cursor.accept("IF", "EXISTS")
    name = cursor.identifier()
    cursor.expect("ON")
    target = cursor.qualified_name()
    cursor.end()
    table = _base_table(session, target)
    if without_index(table, name, if_exists=if_exists) == table:
        return Result()
    quoted = "`" + name.replace("`", "``") + "`"
    return _alter_table(session, target, f"DROP INDEX {quoted}")


def truncate(session: DorisSession, cursor: Cursor) -> Result:
    """``TRUNCATE TABLE t [PARTITION (p, …)] [FORCE]``."""
    cursor.expect("TRUNCATE", "TABLE")
    target = cursor.qualified_name()
    names: list[str] = []
    if cursor.accept("PARTITION") or cursor.accept("PARTITIONS"):
        names = cursor.names() if cursor.word() == "(" else [cursor.identifier()]
    cursor.accept("FORCE")
    cursor.end()
    session.cluster.jobs.run_due()
    with session.storage.transaction(session.cursor):
        table = _base_table(session, target)
        session.cluster.jobs.check_idle(table)
        if not names:
            session.cursor.execute(f"DELETE FROM {table.relation}")
        for partition in partitions.selected(table, names) if names else ():
            session.cursor.execute(partitions.delete_rows(table, partition))
    return Result()


def alter(session: DorisSession, cursor: Cursor) -> Result:
    """ALTER TABLE, VIEW and ROUTINE LOAD. A change that rewrites rows is left to a job."""
    cursor.expect("ALTER")
    if cursor.accept("ROUTINE", "LOAD", "FOR"):
        return routine_load.alter(session, cursor)
    if cursor.accept("VIEW"):
        return views.alter(session, cursor)
    if not cursor.accept("TABLE"):
        raise NotEmulatedError(f"ALTER {cursor.word()}")
    target = cursor.qualified_name()
    return _alter_table(session, target, cursor.rest(), offset=cursor)


def _alter_table(
    session: DorisSession, target: tuple[str, ...], clauses: str, offset: Cursor | None = None
) -> Result:
    """Plan the clauses; do them, or record a job that will. ``offset`` stands before them in the statement,
    for the position in a syntax error.
    """
    jobs = session.cluster.jobs
    jobs.run_due()
    job = None
    with session.storage.transaction(session.cursor):
        table = _base_table(session, target)
        jobs.check_idle(table)
        found = plan(session.storage, table, offset or Cursor(clauses), session.cluster.backend_count)
        done = found.light or jobs.seconds == 0
        if not found.makes_job or done:
            found.run(session.storage, session.cursor)
        if found.makes_job:
            job = jobs.add(session.cursor, table, clauses, is_done=done)
    if job is not None:
        jobs.begin(job)
    if found.operation == "MODIFY_TABLE_PROPERTY" and is_dynamic(found.table.properties):
        jobs.note_change(found.table)
    return Result()


def cancel(session: DorisSession, cursor: Cursor) -> Result:
    """``CANCEL ALTER TABLE COLUMN FROM t``."""
    cursor.expect("CANCEL")
    if not cursor.accept("ALTER", "TABLE", "COLUMN"):
        raise NotEmulatedError(f"CANCEL {cursor.word()} {cursor.word(1)}")
    cursor.expect("FROM")
    table = session.find(cursor.qualified_name())
    if cursor.word() == "(":
        cursor.group()
    cursor.end()
    session.cluster.jobs.cancel(table)
    return Result()


def admin(session: DorisSession, cursor: Cursor) -> Result:
    """``ADMIN SET FRONTEND CONFIG ("dynamic_partition_check_interval_seconds" = "5")``."""
    cursor.expect("ADMIN")
    if not cursor.accept("SET", "FRONTEND", "CONFIG") and not cursor.accept(
        "SET", "ALL", "FRONTENDS", "CONFIG"
    ):
        raise NotEmulatedError(f"ADMIN {cursor.word()} {cursor.word(1)}")
    given = cursor.properties()
    cursor.accept("ALL")
    cursor.end()
    for name, value in given.items():
        if name != _CHECK_INTERVAL:
            raise NotEmulatedError(f"the configuration {name}")
        if not value.isdigit() or int(value) < 1:
            raise DorisError(f"Unsupported configuration value type: {value}")
        session.cluster.jobs.set_interval(int(value))
    return Result()
