"""What is in the database, read from SHOW CREATE TABLE (see dbint.doris.show_create)."""

# ruff: noqa: ARG002 - these signatures are Django's

import re
from typing import Any, NamedTuple

from django.db import ProgrammingError
from django.db.backends.base.introspection import BaseDatabaseIntrospection

from dbint.django.backends.doris.types import FIELD_OF_TYPE, MAX_VARCHAR
from dbint.doris.show_create import TableDefinition, parse_create_table


class FieldInfo(NamedTuple):
    """A column as Django knows it, with its whole type and its comment."""

    name: str
    type_code: str
    display_size: int | None
    internal_size: int | None
    precision: int | None
    scale: int | None
    null_ok: bool
    default: str | None
    collation: str | None
    doris_type: str
    comment: str


class TableInfo(NamedTuple):
    """A table ("t") or view ("v")."""

    name: str
    type: str
    comment: str


DJANGOS_PRECISION = 6
_TYPE = re.compile(r"([a-z0-9_]+)\s*(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?")


class DatabaseIntrospection(BaseDatabaseIntrospection):
    connection: Any

    def get_field_type(self, data_type: str, description: Any) -> str:
        """Name of the model field; those of this package begin with ``doris.``. KeyError for types that
        there is no field for (maps, bitmaps, …).
        """
        if data_type == "array":
            return "doris.ArrayField"
        if (
            data_type.startswith("datetime")
            and datetime_precision(description.doris_type) != DJANGOS_PRECISION
        ):
            return "doris.DateTimeField"
        return FIELD_OF_TYPE[data_type]

    def get_table_list(self, cursor: Any) -> list[Any]:
        cursor.execute(
            "SELECT table_name, table_type, table_comment FROM information_schema.tables "
            "WHERE table_schema = DATABASE() ORDER BY table_name"
        )
        return [
            TableInfo(name, "v" if "VIEW" in kind.upper() else "t", comment)
            for name, kind, comment in cursor.fetchall()
        ]

    def table_definition(self, cursor: Any, table_name: str) -> TableDefinition:
        """Everything that SHOW CREATE TABLE tells; ProgrammingError when it is a view or cannot be read."""
        cursor.execute(f"SHOW CREATE TABLE {self.connection.ops.quote_name(table_name)}")
        try:
            return parse_create_table(cursor.fetchone()[1])
        except ValueError as error:
            raise ProgrammingError(f"{table_name}: {error}") from error

    def get_table_description(self, cursor: Any, table_name: str) -> list[Any]:
        try:
            columns = self.table_definition(cursor, table_name).columns
        except ProgrammingError as error:
            if "view" not in str(error):
                raise
            return self._view_description(cursor, table_name)
        return [self._field_info(c.name, c.type, c.nullable, c.default, c.comment) for c in columns]

    def _view_description(self, cursor: Any, table_name: str) -> list[Any]:
        cursor.execute(
            "SELECT column_name, column_type, is_nullable, column_default, column_comment "
            "FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = %s "
            "ORDER BY ordinal_position",
            [table_name],
        )
        return [
            self._field_info(name, kind.lower(), null == "YES", default, comment)
            for name, kind, null, default, comment in cursor.fetchall()
        ]

    def _field_info(self, name: str, kind: str, nullable: bool, default: str | None, comment: str) -> Any:
        base, first, second = split_type(kind)
        length = precision = scale = None
        if base in ("char", "varchar"):
            length = characters(base, int(first) if first else MAX_VARCHAR)
        elif base.startswith("decimal"):
            precision, scale = int(first or 38), int(second or 0)
        return FieldInfo(name, base, length, length, precision, scale, nullable, default, None, kind, comment)

    def get_sequences(self, cursor: Any, table_name: str, table_fields: Any = ()) -> list[dict[str, Any]]:
        return []

    def get_relations(self, cursor: Any, table_name: str) -> dict[str, tuple[str, str]]:
        """None: Doris has no foreign keys."""
        return {}

    def get_primary_key_columns(self, cursor: Any, table_name: str) -> list[str] | None:
        """The key of a UNIQUE or AGGREGATE table; a DUPLICATE table has none."""
        table = self._definition_or_none(cursor, table_name)
        return table.key if table is not None and table.key_model != "DUPLICATE" else None

    def get_constraints(self, cursor: Any, table_name: str) -> dict[str, dict[str, Any]]:
        table = self._definition_or_none(cursor, table_name)
        if table is None:
            return {}
        unique = table.key_model != "DUPLICATE"
        found = {"PRIMARY" if unique else f"{table.key_model}_KEY": _constraint(table.key, unique=unique)}
        for index in table.indexes:
            found[index.name] = {**_constraint(index.columns), "type": index.type.lower()}
        for column in bloom_filter_columns(table):
            found[f"bloom_filter_{column}"] = {**_constraint([column]), "type": "bloom_filter"}
        return found

    def _definition_or_none(self, cursor: Any, table_name: str) -> TableDefinition | None:
        try:
            return self.table_definition(cursor, table_name)
        except ProgrammingError as error:
            if "view" in str(error):
                return None
            raise

    def backends(self) -> list[dict[str, str]]:
        """SHOW BACKENDS, by column name: the columns differ between releases."""
        with self.connection.cursor() as cursor:
            cursor.execute("SHOW BACKENDS")
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, map(str, row), strict=True)) for row in cursor.fetchall()]

    def alive_backends(self) -> int:
        """How many backends can take a replica."""
        return sum(backend.get("Alive", "").lower() == "true" for backend in self.backends())


def bloom_filter_columns(table: TableDefinition) -> list[str]:
    """The columns with a bloom filter."""
    text = table.properties.get("bloom_filter_columns", "")
    return [name for part in text.split(",") if (name := part.strip())]


def datetime_precision(kind: str) -> int:
    """Digits of a second of ``datetime`` or ``datetime(p)``."""
    match = _TYPE.match(kind)
    return int(match[2] or 0) if match else 0


def split_type(kind: str) -> tuple[str, str | None, str | None]:
    """``decimal(9,2)`` as ``("decimal", "9", "2")``."""
    match = _TYPE.match(kind)
    return (match[1], match[2], match[3]) if match else (kind, None, None)


def characters(base: str, size: int) -> int:
    """Django's max_length for ``size`` bytes: what Django made as 4 n comes back as n."""
    return size // 4 if base == "varchar" and size % 4 == 0 else size


def _constraint(columns: list[str], *, unique: bool = False) -> dict[str, Any]:
    return {
        "columns": columns,
        "primary_key": unique,
        "unique": unique,
        "foreign_key": None,
        "check": False,
        "index": not unique,
        "orders": ["ASC"] * len(columns),
        "type": "key",
    }
