# ruff: noqa: S608 - makes SQL; names are those of model.Table.relation
"""The statements that change the catalog: CREATE, DROP, TRUNCATE, ALTER."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbint.emulators.doris import ddl, information_schema
from dbint.emulators.doris.alter import alter_table, new_job
from dbint.emulators.doris.definition import build_table
from dbint.emulators.doris.errors import TABLE_EXISTS, UNKNOWN_TABLE, DorisError, NotEmulatedError
from dbint.emulators.doris.lexer import Cursor
from dbint.emulators.doris.results import Result
from dbint.emulators.doris.write import create_relation

if TYPE_CHECKING:
    from dbint.emulators.doris.session import DorisSession

_KEPT_ALTER_JOBS = 100


def create(session: DorisSession, cursor: Cursor) -> Result:
    """CREATE DATABASE, TABLE and INDEX."""
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
        table = build_table(spec, session.storage.next_number("table_id"), database, session.cluster.backends)
        create_relation(session.cursor, table)
        session.storage.put_table(session.cursor, table)
    return Result()


def _create_index(session: DorisSession, cursor: Cursor) -> Result:
    if_not_exists = cursor.accept("IF", "NOT", "EXISTS")
    name = cursor.identifier()
    cursor.expect("ON")
    target = cursor.qualified_name()
    start = cursor.index
    with session.storage.transaction(session.cursor):
        table = session.find(target)
        if name.lower() in (i.name.lower() for i in table.indexes):
            if if_not_exists:
                return Result()
            raise DorisError(f"index `{name}` already exist.")
        cursor.index = start
        index = ddl.parse_index(cursor, name)
        cursor.end()
        for column in index.columns:
            if table.find(column) is None:
                raise DorisError(f"Column does not exist in table. invalid column: {column}")
        session.storage.put_table(session.cursor, table.with_(indexes=(*table.indexes, index)))
    return Result()


def drop(session: DorisSession, cursor: Cursor) -> Result:
    """DROP DATABASE, TABLE and INDEX."""
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
    if not cursor.accept("TABLE"):
        raise NotEmulatedError(f"DROP {cursor.word()}")
    if_exists = cursor.accept("IF", "EXISTS")
    target = cursor.qualified_name()
    cursor.accept("FORCE")
    cursor.end()
    database = session.storage.require_database(target[-2] if len(target) > 1 else session.database)
    with session.storage.transaction(session.cursor):
        table = session.storage.find_table(database, target[-1])
        if table is not None:
            session.storage.drop_table(session.cursor, table)
        elif not if_exists:
            raise DorisError(f"Unknown table '{target[-1]}' in {database}", UNKNOWN_TABLE)
    return Result()


def _drop_index(session: DorisSession, cursor: Cursor) -> Result:
    if_exists = cursor.accept("IF", "EXISTS")
    name = cursor.identifier()
    cursor.expect("ON")
    target = cursor.qualified_name()
    cursor.end()
    with session.storage.transaction(session.cursor):
        table = session.find(target)
        kept = tuple(i for i in table.indexes if i.name.lower() != name.lower())
        if len(kept) == len(table.indexes) and not if_exists:
            raise DorisError(f"Index {name} does not exist")
        session.storage.put_table(session.cursor, table.with_(indexes=kept))
    return Result()


def truncate(session: DorisSession, cursor: Cursor) -> Result:
    """TRUNCATE TABLE."""
    cursor.expect("TRUNCATE", "TABLE")
    target = cursor.qualified_name()
    if cursor.word() == "PARTITION":
        raise NotEmulatedError("TRUNCATE … PARTITION")
    cursor.accept("FORCE")
    cursor.end()
    with session.storage.transaction(session.cursor):
        session.cursor.execute(f"DELETE FROM {session.find(target).relation}")
    return Result()


def alter(session: DorisSession, cursor: Cursor) -> Result:
    """ALTER TABLE; the change is done when this returns."""
    cursor.expect("ALTER")
    if not cursor.accept("TABLE"):
        raise NotEmulatedError(f"ALTER {cursor.word()}")
    target = cursor.qualified_name()
    with session.storage.transaction(session.cursor):
        table = session.find(target)
        alter_table(session.storage, session.cursor, table, cursor)
        job = new_job(session.storage, table)
    session.cluster.alter_jobs.append(job)
    del session.cluster.alter_jobs[:-_KEPT_ALTER_JOBS]
    return Result()
