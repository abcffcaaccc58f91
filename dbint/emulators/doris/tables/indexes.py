"""The rules of secondary indexes and of bloom filters: which columns and which properties they take.

Source: "Table Index" of the Doris documentation; IndexDefinition, InvertedIndexUtil and PropertyAnalyzer of
apache/doris.
"""

from dataclasses import replace

from dbint.emulators.doris.errors import DorisError, NotEmulatedError
from dbint.emulators.doris.tables.model import Column, Index, Table
from dbint.emulators.doris.tables.types import INTEGERS

BLOOM_FILTER = "bloom_filter_columns"
_PARSERS = ("none", "english", "unicode", "chinese", "standard", "icu", "basic", "ik")
_INVERTED = {
    "parser",
    "parser_mode",
    "support_phrase",
    "char_filter_type",
    "char_filter_pattern",
    "char_filter_replacement",
    "ignore_above",
    "lower_case",
    "stopwords",
    "dict_compression",
    "field_pattern",
    "analyzer",
    "normalizer",
}
_NGRAM_DEFAULTS = {"gram_size": "2", "bf_size": "256"}
_NGRAM_LIMITS = {"gram_size": (1, 255), "bf_size": (64, 65535)}
_INDEXED = (*INTEGERS, "BOOLEAN", "DECIMAL", "DATE", "DATETIME", "CHAR", "VARCHAR", "STRING", "VARIANT")
_INDEXED_FLOATS = ("FLOAT", "DOUBLE")
MAX_NAME = 64


def check_all(table: Table) -> Table:
    """A new table with its indexes checked and filled in. Raises DorisError."""
    done: list[Index] = []
    for index in table.indexes:
        done.append(check(table.with_(indexes=tuple(done)), index))
    return table.with_(indexes=tuple(done))


def check(table: Table, index: Index) -> Index:
    """One more index of a table, filled in. Raises DorisError where Doris refuses it."""
    if index.kind == "ANN":
        raise NotEmulatedError("an ANN index")
    if index.kind in ("INVERTED", "BITMAP") and len(index.columns) != 1:
        raise DorisError(f"{index.kind} index can only apply to a single column.")
    if len(index.name) > MAX_NAME:
        raise DorisError(f"index name too long, the index name length at most is {MAX_NAME}.")
    columns = []
    for name in index.columns:
        column = table.find(name)
        if column is None:
            raise DorisError(f"Column does not exist in table. invalid column: {name}")
        columns.append(column)
    if index.name.lower() in (i.name.lower() for i in table.indexes):
        raise DorisError("index name must be unique.")
    names = tuple(c.name for c in columns)
    if any(i.kind == index.kind and i.columns == names for i in table.indexes):
        raise DorisError("same index columns have multiple same type index is not allowed.")
    properties = index.properties
    if index.kind == "NGRAM_BF":
        properties = {**_NGRAM_DEFAULTS, **properties}
    for column in columns:
        _check_column(table, index, column, properties)
    return replace(index, columns=names, properties=properties)


def _check_column(table: Table, index: Index, column: Column, properties: dict[str, str]) -> None:
    kind = column.type
    while kind.item is not None:
        kind = kind.item
    if kind.name not in (*_INDEXED, *_INDEXED_FLOATS):
        raise DorisError(
            f"{column.type.sql.upper()} is not supported in {index.kind} index. invalid index: {index.name}"
        )
    if table.model == "AGGREGATE" and not column.key:
        raise DorisError(
            "index should only be used in columns of DUP_KEYS/UNIQUE_KEYS table or key columns of AGG_KEYS"
            f" table. invalid index: {index.name}"
        )
    if index.kind == "INVERTED":
        problem = _inverted_problem(column, properties)
        if problem:
            raise DorisError(f"invalid INVERTED index:{problem}")
    elif index.kind == "NGRAM_BF":
        if not column.type.is_string:
            raise DorisError(
                f"{column.type.sql.upper()} is not supported in ngram_bf index. invalid column: {column.name}"
            )
        if len(properties) != len(_NGRAM_LIMITS):
            raise DorisError("ngram_bf index should have gram_size and bf_size properties")
        for name, (low, high) in _NGRAM_LIMITS.items():
            text = properties[name]
            if not text.lstrip("-").isdigit():
                raise DorisError(f"invalid ngram bf index params:Invalid value for '{name}': {text}")
            if not low <= int(text) <= high:
                raise DorisError(
                    f"invalid ngram bf index params:'{name}' should be an integer between {low} and {high}."
                )


def _inverted_problem(column: Column, properties: dict[str, str]) -> str:
    """Why an inverted index cannot have these properties; empty where it can."""
    for name in properties:
        if name not in _INVERTED:
            return f"Invalid inverted index property key: {name}"
    for check_one in (_parser_problem, _option_problem):
        problem = check_one(properties)
        if problem:
            return problem
    parser = properties.get("parser", "none")
    if parser != "none" and not column.type.is_string and column.type.name != "VARIANT":
        return (
            f"INVERTED index with parser: {parser} is not supported for column: {column.name} of type"
            f" {column.type.primitive}"
        )
    return ""


def _parser_problem(properties: dict[str, str]) -> str:
    parser, mode = properties.get("parser"), properties.get("parser_mode")
    if parser is not None and parser not in _PARSERS:
        return (
            f"Invalid inverted index 'parser' value: {parser}, parser must be none, english, unicode,"
            " chinese, icu, basic or ik"
        )
    if mode is None:
        return ""
    if parser not in ("chinese", "ik"):
        return "parser_mode is only available for chinese and ik parser"
    modes = ("fine_grained", "coarse_grained") if parser == "chinese" else ("ik_max_word", "ik_smart")
    if mode not in modes:
        return f"Invalid inverted index 'parser_mode' value: {mode}, parser_mode must be {' or '.join(modes)}"
    return ""


def _option_problem(properties: dict[str, str]) -> str:
    for name in ("support_phrase", "lower_case"):
        value = properties.get(name)
        if value is not None and value not in ("true", "false"):
            return f"Invalid inverted index '{name}' value: {value}, {name} must be true or false"
    if properties.get("char_filter_type") == "char_replace" and not properties.get("char_filter_pattern"):
        return "Missing 'char_filter_pattern' for 'char_replace' filter type"
    above = properties.get("ignore_above")
    if above is not None:
        if not above.lstrip("-").isdigit():
            return "Invalid inverted index 'ignore_above' value, ignore_above must be integer"
        if int(above) <= 0:
            return f"Invalid inverted index 'ignore_above' value: {above}, ignore_above must be positive"
    words = properties.get("stopwords")
    if words is not None and words != "none":
        return f"Invalid inverted index 'stopWords' value: {words}, stopWords must be none"
    return ""


def bloom_filter_columns(table: Table, text: str) -> str:
    """The value of bloom_filter_columns, checked. Raises DorisError."""
    names: list[str] = []
    for name in (part.strip() for part in text.split(",") if part.strip()):
        column = table.find(name)
        if column is None:
            raise DorisError(f"Bloom filter column does not exist in table. invalid column: {name}")
        if column.type.name in ("TINYINT", "FLOAT", "DOUBLE", "BOOLEAN", "ARRAY"):
            raise DorisError(
                f"{column.type.primitive} is not supported in bloom filter index. invalid column: {name}"
            )
        if table.model == "AGGREGATE" and not column.key:
            raise DorisError(
                "Bloom filter index should only be used in columns of UNIQUE_KEYS/DUP_KEYS table or key"
                f" columns of AGG_KEYS table. invalid column: {name}"
            )
        if column.name in names:
            raise DorisError(f"Reduplicated bloom filter column: {name}")
        names.append(column.name)
    return ", ".join(names)
