"""What a statement is made of, as far as Doris' grammar can mind it.

A statement is reduced to its tokens, with all names alike, all values alike, all types alike; its constructs
are the pairs of tokens that stand side by side, and the types, functions and operators that it uses. The
pairs hold the order of clauses (``NULL DEFAULT`` or ``DEFAULT NULL``), and few statements show all of them,
however the clauses are combined.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from dbint.emulators.doris.sql.lexer import Token, tokenize

# As much of a statement as is looked at: the rows of a long INSERT are alike.
_LONG = 8000


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TYPES = _words(
    """
    ARRAY BIGINT BITMAP BOOLEAN CHAR DATE DATETIME DATEV2 DATETIMEV2 DECIMAL DECIMALV3 DOUBLE FLOAT
    HLL INT INTEGER IPV4 IPV6 JSON JSONB LARGEINT MAP SMALLINT STRING STRUCT TEXT TIME TIMESTAMP
    TINYINT VARCHAR VARIANT SIGNED
    """
)
# The words of the clauses; other words are names, or functions where a parenthesis follows.
KEYWORDS = _words(
    """
    ADD ADMIN AFTER AGGREGATE ALL ALTER AND ANTI AS ASC AUTO AUTO_INCREMENT BACKENDS BEGIN BETWEEN
    BINARY BITMAP_UNION BUCKETS BUILD BY CANCEL CASE CAST CHARACTER CLUSTER COLLATION COLUMN COLUMNS
    COMMENT COMMIT CONFIG CONNECTION CONSTRAINT CREATE CROSS CURRENT CURRENT_DATE CURRENT_TIMESTAMP
    DATABASE DATABASES DEFAULT DELETE DESC DESCRIBE DISTINCT DISTRIBUTED DROP DUPLICATE DYNAMIC ELSE
    END ENGINE ENGINES ESCAPE EXCEPT EXISTS EXPLAIN EXTRACT FIRST FOLLOWING FOR FORCE FROM FRONTENDS
    FULL GENERATED GENERIC GLOBAL GROUP HASH HAVING HLL_UNION IF IN INDEX INDEXES INNER INSERT
    INTERSECT INTERVAL INTO INVERTED IS JOIN KEY KEYS KILL LABEL LAST LATERAL LEFT LESS LIKE LIMIT
    LIST LOAD MATERIALIZED MAX MAXVALUE MIN MODIFY NAMES NGRAM_BF NOT NULL NULLS OFFSET ON OR ORDER
    OUTER OVER OVERWRITE PARTITION PARTITIONS PASSWORD PRECEDING PROCESSLIST PROPERTIES QUERY RANDOM
    RANGE REGEXP RENAME REPLACE REPLACE_IF_NOT_NULL RESTRICT RIGHT RLIKE ROLLBACK ROLLUP ROUTINE ROW
    ROWS SCHEMA SCHEMAS SELECT SEMI SESSION SET SHOW STATUS SUM TABLE TABLES TABLET TEMPORARY THAN
    THEN TO TRANSACTION TRUNCATE UNBOUNDED UNION UNIQUE UPDATE USE USER USING VALUES VARIABLES VIEW
    VIEWS WHEN WHERE WITH WORK YEAR QUARTER MONTH WEEK DAY HOUR MINUTE SECOND
    """
)
_WORDS_LIKE_FUNCTIONS = _words("IF LEFT RIGHT REPLACE TRUNCATE")
_AGGREGATIONS = _words("SUM MIN MAX REPLACE")
_OPERATORS = _words("= <> != < > <= >= <=> + - * / % | & ^ ~ ! || && DIV MOD XOR")
_UNITS = _words("YEAR QUARTER MONTH WEEK DAY HOUR MINUTE SECOND")


@lru_cache(maxsize=1000)
def shape(sql: str) -> tuple[list[str], set[str]]:
    """The tokens of a statement with names, values and types alike, and the types, functions and operators in
    it.
    """
    tokens = [t for t in tokenize(sql[:_LONG]) if t.text != ";"]
    if len(sql) > _LONG:  # its last tokens may have been cut, and a cut string leaves its quote
        quote = next((n for n, t in enumerate(tokens) if t.text in ("'", '"', "`")), len(tokens))
        tokens = tokens[: quote - 2]
    found: list[str] = []
    used: set[str] = set()
    ddl = bool(tokens) and tokens[0].text.upper() in ("CREATE", "ALTER")
    for n, token in enumerate(tokens):
        following = tokens[n + 1].text if n + 1 < len(tokens) else ""
        word = _word(token, following, ddl=ddl, used=used)
        if word == "name" and found[-2:] == ["name", "."]:
            del found[-2:]
        if word == "value" and found[-1:] == ["op"] and found[-2:-1] not in (["name"], ["value"], [")"]):
            found.pop()  # a sign
        found.append(word)
    return found, used


def _word(token: Token, following: str, *, ddl: bool, used: set[str]) -> str:
    upper = token.text.upper()
    if token.kind in ("string", "number"):
        return "value"
    if token.kind == "name":
        return "name"
    if upper.startswith("@"):
        return "variable"
    if upper in _OPERATORS:
        used.add(f"operator {upper}")
        return "op"
    if token.kind == "op":
        return token.text
    is_call = following == "(" and (upper not in KEYWORDS or upper in _WORDS_LIKE_FUNCTIONS | _AGGREGATIONS)
    if upper in TYPES and not (is_call and upper in ("DATE", "TIME", "TIMESTAMP") and not ddl):
        used.add(f"type {upper}")
        return "type"
    if is_call or (following == "(" and upper in _UNITS):
        used.add(f"function {upper}")
        return "function"
    if upper in ("TRUE", "FALSE"):
        return "value"
    return upper if upper in KEYWORDS else "name"


def constructs(sql: str) -> frozenset[str]:
    """What the statement is made of."""
    found, used = shape(sql)
    following = found if len(sql) > _LONG else [*found, ""]
    return frozenset(f"{a} {b}" for a, b in zip(["", *found], following, strict=False)) | used


def kind(sql: str) -> str:
    """The kind of statement: the name of its file, such as ``alter_table_add_column``."""
    found, _ = shape(sql)
    words = [w for w in found[:8] if w.isupper() and w not in ("IF", "NOT", "EXISTS", "FULL", "TEMPORARY")]
    first = words[0] if words else found[0] if found else "empty"
    if first in ("SELECT", "WITH", "("):
        return "select"
    if words[:3] == ["CREATE", "OR", "REPLACE"]:
        del words[1:3]
    if words[:2] == ["ALTER", "TABLE"]:
        action = words[2:4] if words[3:4] and words[3] in _ALTERED else words[2:3]
        return "_".join(["alter_table", *action]).lower()
    if first == "SHOW":
        return "_".join(["show", *_show(words[1:])]).lower()
    if first == "CANCEL":
        return "_".join(words[:3]).lower()
    if first in ("CREATE", "DROP", "TRUNCATE"):
        return "_".join(words[:2]).lower()
    return first.lower()


_ALTERED = ("COLUMN", "COMMENT", "PARTITION", "PARTITIONS", "CONSTRAINT", "INDEX", "ROLLUP", "TEMPORARY")


def _show(words: list[str]) -> Iterable[str]:
    """The words that say what is shown."""
    for word in words:
        if word in ("FROM", "IN", "LIKE", "WHERE", "ORDER", "LIMIT", "FOR"):
            return
        if word not in ("GLOBAL", "SESSION"):
            yield word


def without_what_varies(sql: str) -> str:
    """The statement without the random parts of names of databases, and with one space for several."""
    text = re.sub(r"(?<=[a-z0-9])_[0-9a-f]{8}\b", "", sql.strip().rstrip(";"))
    return re.sub(r"[ \t]*\n[ \t]*", "\n", text) if "'" in text or '"' in text else re.sub(r"\s+", " ", text)
