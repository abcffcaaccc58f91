# ruff: noqa: S608 - makes SQL; names and values are quoted by model.identifier and model.literal
"""From the columns of a load's source to those of its table: the headers ``columns``, ``where``,
``merge_type`` and ``delete``.

Source: "Data Transformation" of the Doris manual; NereidsStreamLoadTask and NereidsLoadScanProvider of
apache/doris.
"""

from dataclasses import dataclass

from dbint.emulators.doris.errors import DorisError, NotEmulatedError
from dbint.emulators.doris.loads.formats import ParsedRows
from dbint.emulators.doris.sql import translate
from dbint.emulators.doris.sql.lexer import Cursor, tokenize
from dbint.emulators.doris.tables.model import CURRENT_TIMESTAMP, SEQUENCE_COLUMN, Table, identifier
from dbint.emulators.doris.tables.types import DorisType
from dbint.emulators.doris.tables.write import DELETE, convert

DELETE_SIGN = "__DORIS_DELETE_SIGN__"
_HIDDEN = frozenset([DELETE_SIGN, SEQUENCE_COLUMN, "__DORIS_VERSION_COL__"])
_SOURCE = '"__source"'


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """The header ``columns``: names of the source's columns, and expressions over them."""

    names: tuple[str, ...]
    derived: tuple[tuple[str, str], ...] = ()

    def gives(self, name: str) -> bool:
        """Whether a column of the table gets a value from the source."""
        return name.lower() in {n.lower() for n in (*self.names, *(n for n, _ in self.derived))}


@dataclass(frozen=True, slots=True)
class Selection:
    """What of the source's rows is taken, and which of them delete: the headers as they came."""

    where: str = ""
    merge_type: str = "APPEND"
    delete: str = ""
    time_zone: str = "UTC"


class LoadScope:
    """Expressions of a load see its columns and nothing else."""

    def __init__(self, time_zone: str, user: str, database: str) -> None:
        self.time_zone = time_zone
        self._database = database
        self._user = user

    def relation(self, _database: str | None, name: str) -> str:
        raise DorisError(f"a load's expression cannot read a table: {name}")

    def table(self, _database: str | None, _name: str) -> Table | None:
        return None

    def variable(self, name: str) -> str | int:
        raise DorisError(f"a load's expression cannot read the variable {name}")

    def function_value(self, name: str) -> str | int | None:
        return {"database": self._database, "user": self._user}.get(name)


def parse_columns(header: str) -> ColumnMapping:
    """The header ``columns``: ``a, b, c = a + b``. Raises DorisError."""
    names: list[str] = []
    derived: list[tuple[str, str]] = []
    depth = start = 0
    items: list[str] = []
    for token in tokenize(header):
        if token.kind == "op":
            depth += (token.text == "(") - (token.text == ")")
            if token.text == "," and depth == 0:
                items.append(header[start : token.start])
                start = token.end
    items.append(header[start:])
    for item in items:
        cursor = Cursor(item)
        name = cursor.identifier()
        if cursor.accept("="):
            derived.append((name, cursor.rest()))
        else:
            cursor.end()
            names.append(name)
    if len({n.lower() for n in names}) != len(names):
        raise DorisError("Duplicate column in the header columns")
    return ColumnMapping(tuple(names), tuple(derived))


def mapping_of(table: Table, columns: str, hidden: str) -> ColumnMapping:
    """The source's columns as the headers name them: those of the table, in its order, without ``columns``.
    ``hidden_columns`` counts only without ``columns``.
    """
    mapping = (
        parse_columns(columns)
        if columns
        else ColumnMapping((*(c.name for c in table.columns), *(h.strip() for h in hidden.split(",") if h)))
    )
    for name in mapping.names:
        if name in _HIDDEN and name != DELETE_SIGN and table.find(name) is None:
            raise NotEmulatedError(f"a load of {name}")
    return mapping


def with_sequence(table: Table, mapping: ColumnMapping, header: str) -> ColumnMapping:
    """With the hidden sequence column, where a table has one: the header names the source's column for it."""
    if not header or not table.hidden or mapping.gives(SEQUENCE_COLUMN):
        return mapping
    return ColumnMapping(mapping.names, (*mapping.derived, (SEQUENCE_COLUMN, header)))


def check_sequence(table: Table, header: str, mapping: ColumnMapping, *, named: bool, partial: bool) -> None:
    """Whether the load gives the sequence column what it needs. Raises DorisError."""
    if table.sequence is None:
        if header:
            raise DorisError(f"There is no sequence column in the table {table.name}")
        return
    column = table.find(table.sequence)
    if not named or partial or column is None or mapping.gives(column.name):
        return
    if not (column.default_is_expression and str(column.default).startswith(CURRENT_TIMESTAMP)):
        raise DorisError(f"Table {table.name} has sequence column, need to specify the sequence column")


def source_of(
    table: Table, mapping: ColumnMapping, parsed: ParsedRows, selection: Selection, scope: LoadScope
) -> str:
    """The relation of the rows to write, its columns named as the table's, with ``__delete`` beside them.

    Expressions see the source's columns, those of the table in their types; what is written without an
    expression stays as it came, for write.py to convert.
    """
    derived = {name.lower() for name, _ in mapping.derived}
    typed = {
        n: c.type for n in mapping.names if (c := table.find(n)) is not None and n.lower() not in derived
    }
    types = {n: typed.get(n, DorisType("STRING")) for n in mapping.names}

    def expression(text: str) -> str:
        return translate.translate_condition(text, scope, types)

    computed = [
        (name, expression(text)) for name, text in mapping.derived if table.find(name) or name == DELETE_SIGN
    ]
    delete = "false"
    if selection.merge_type == "DELETE":
        delete = "true"
    elif selection.merge_type == "MERGE":
        delete = expression(selection.delete)
    elif DELETE_SIGN in mapping.names:
        delete = f"TRY_CAST({_SOURCE}.{identifier(DELETE_SIGN)} AS BIGINT) <> 0"
    outputs = [f"{_SOURCE}.{identifier(n)} AS {identifier(n)}" for n in parsed.names if n in typed]
    for name, text in computed:
        if name == DELETE_SIGN:
            delete = f"({text}) <> 0"
        else:
            outputs.append(f"{text} AS {identifier(name)}")
    if not outputs:
        raise DorisError("none of the load's columns is a column of the table")
    chosen = f"{', '.join(outputs)}, coalesce({delete}, false) AS {identifier(DELETE)}"
    if not (selection.where or computed or selection.merge_type == "MERGE"):
        return f"SELECT {chosen} FROM {parsed.relation} {_SOURCE}"
    where = f" WHERE {expression(selection.where)}" if selection.where else ""
    inputs = []
    for n in parsed.names:
        raw = f"{_SOURCE}.{identifier(n)}"
        if n in typed and parsed.is_text:
            raw = convert(raw, "VARCHAR", typed[n], selection.time_zone)
        inputs.append(f"{raw} AS {identifier(n)}")
    rows = f"SELECT {_SOURCE}, {', '.join(inputs)} FROM {parsed.relation} {_SOURCE}"
    return f"SELECT {chosen} FROM ({rows}){where}"
