"""Takes a flow away, so that the server no longer keeps its log for it."""

from contextlib import closing
from typing import LiteralString

import psycopg
from psycopg import sql

from dbint.errors import ConfigurationError
from dbint.flow.config import FlowConfig
from dbint.flow.slots import drop_slot, read_slot
from dbint.kafka import KafkaAdmin

_NOTES: tuple[LiteralString, ...] = ("dbint.flow_capture", "dbint.flow_snapshot")


def remove_flow(config: FlowConfig, *, topics: bool = False) -> list[str]:
    """Drop what the flow has in PostgreSQL (slot, publication, notes), with ``topics`` its topics, too.

    The tables stay, in PostgreSQL and in Doris. Returns what was removed, in words; nothing to remove is no
    error. Raises UnreachableError, AuthenticationError, ConfigurationError, KafkaError.
    """
    removed = _remove_from_source(config)
    if topics:
        wanted = [*map(config.topic, config.tables), config.dead_letter_topic]
        with KafkaAdmin(config=config.kafka(None)) as admin:
            removed += [f"topic {topic}" for topic in wanted if admin.delete_if_there(topic, timeout=5)]
    return removed


def _remove_from_source(config: FlowConfig) -> list[str]:
    removed = []
    with closing(config.source.connect()) as connection:
        try:
            if read_slot(connection, config.slot) is not None:
                drop_slot(connection, config.slot)
                removed.append(f"slot {config.slot}")
            name = config.publication
            if connection.execute("SELECT FROM pg_publication WHERE pubname = %s", [name]).rowcount:
                connection.execute(sql.SQL("DROP PUBLICATION {}").format(sql.Identifier(name)))
                removed.append(f"publication {name}")
            for table in _NOTES:
                if connection.execute("SELECT WHERE to_regclass(%s) IS NOT NULL", [table]).rowcount:
                    notes = sql.SQL(table)
                    connection.execute(sql.SQL("DELETE FROM {} WHERE flow = %s").format(notes), [config.name])
        except psycopg.errors.InsufficientPrivilege as error:
            raise ConfigurationError(
                f"flow {config.name} cannot be removed: {error.diag.message_primary}. "
                "The role that made it can"
            ) from error
    return removed
