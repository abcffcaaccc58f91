# ruff: noqa: S608 - the SQL here is made of this file's own constants
"""ARRAY columns, indexes, bloom filters and properties of tables.

Sources: "ARRAY" and "Table Index" of the Doris documentation; ColumnDefinition, IndexDefinition,
InvertedIndexUtil and PropertyAnalyzer of apache/doris.
"""

import pytest

from tests.unit.emulators.conftest import Client

TAIL = "DISTRIBUTED BY HASH(id) BUCKETS 1 PROPERTIES ('replication_num' = '1'{more})"


def test_arrays(doris: Client) -> None:
    doris.table(
        "id INT NOT NULL, n ARRAY<INT>, s ARRAY<VARCHAR(5)> NOT NULL DEFAULT '[]', d ARRAY<DATE>,"
        " x ARRAY<ARRAY<DOUBLE>>, p ARRAY<DECIMAL(9, 2)>"
    )
    doris.run("INSERT INTO t VALUES (1, [1, null, 3], ['a', 'b,c'], ['2026-01-02'], [[1.5], []], [1.255])")
    doris.run("""INSERT INTO t VALUES (2, '[4]', '["é"]', NULL, NULL, '[]')""")
    doris.run("INSERT INTO t (id) VALUES (3)")
    assert doris.rows("SELECT * FROM t ORDER BY id") == [
        (1, "[1, null, 3]", '["a", "b,c"]', '["2026-01-02"]', "[[1.5], []]", "[1.26]"),
        (2, "[4]", '["é"]', None, None, "[]"),
        (3, None, "[]", None, None, None),
    ]
    # sql-functions/scalar-functions/array-functions/array-join.md
    joined = "ARRAY_JOIN(n, '-'), ARRAY_JOIN(n, '-', 'x'), ARRAY_JOIN(s, '')"
    assert doris.rows(f"SELECT {joined} FROM t ORDER BY id") == [
        ("1-3", "1-x-3", "ab,c"),
        ("4", "4", "é"),
        (None, None, ""),
    ]
    assert [row[1] for row in doris.rows("DESC t")] == [
        "int",
        "array<int>",
        "array<varchar(5)>",
        "array<date>",
        "array<array<double>>",
        "array<decimal(9,2)>",
    ]
    text = doris.rows("SHOW CREATE TABLE t")[0][1]
    assert '  `s` array<varchar(5)> NOT NULL DEFAULT "[]",\n' in text
    doris.run("DROP TABLE t")
    doris.run(text)
    assert doris.rows("SHOW CREATE TABLE t")[0][1] == text


def test_arrays_that_do_not_fit(doris: Client) -> None:
    doris.table("id INT NOT NULL, n ARRAY<TINYINT>, s ARRAY<VARCHAR(3)>")
    for values, why in [
        ("(1, [200], NULL)", "column=n, type=array<tinyint>"),
        ("(1, 'x', NULL)", "column=n, type=array<tinyint>"),
        ("(1, NULL, ['éé'])", "schema length: 3"),
    ]:
        code, message = doris.refused(f"INSERT INTO t VALUES {values}")
        assert code == 5025
        assert why in message


@pytest.mark.parametrize(
    ("definition", "detail"),
    [
        (
            "(id ARRAY<INT>, v INT) DUPLICATE KEY(id)",
            "Array can only be used in the non-key column of the duplicate table at present.",
        ),
        (
            "(id INT, v ARRAY<INT> DEFAULT '[1]') DUPLICATE KEY(id)",
            "Array type column default value only support null or []",
        ),
        ("(id INT, v ARRAY<INT> SUM) AGGREGATE KEY(id)", "ARRAY column can't support aggregation SUM"),
        (
            f"(id INT, v {'ARRAY<' * 10}INT{'>' * 10}) DUPLICATE KEY(id)",
            "Type exceeds the maximum nesting depth of 9",
        ),
        (
            "(id INT, j JSON, INDEX i (j)) DUPLICATE KEY(id)",
            "JSON is not supported in INVERTED index. invalid index: i",
        ),
        (
            "(id INT, a INT, b INT, INDEX i (a, b)) DUPLICATE KEY(id)",
            "INVERTED index can only apply to a single column.",
        ),
        (
            "(id INT, s VARCHAR(9), INDEX i (s), INDEX j (s)) DUPLICATE KEY(id)",
            "same index columns have multiple same type index is not allowed.",
        ),
        (
            "(id INT, s VARCHAR(9), INDEX i (s), INDEX I (id)) DUPLICATE KEY(id)",
            "index name must be unique.",
        ),
        (
            "(id INT, s STRING, INDEX i (s) PROPERTIES('parser' = 'klingon')) DUPLICATE KEY(id)",
            (
                "invalid INVERTED index:Invalid inverted index 'parser' value: klingon, parser must be none,"
                " english, unicode, chinese, icu, basic or ik"
            ),
        ),
        (
            "(id INT, INDEX i (id) USING INVERTED PROPERTIES('parser' = 'english')) DUPLICATE KEY(id)",
            (
                "invalid INVERTED index:INVERTED index with parser: english is not supported for column: id"
                " of type INT"
            ),
        ),
        (
            "(id INT, s VARCHAR(9), INDEX i (s) USING INVERTED PROPERTIES('size' = '1')) DUPLICATE KEY(id)",
            "invalid INVERTED index:Invalid inverted index property key: size",
        ),
        (
            "(id INT, s STRING, INDEX i (s) PROPERTIES('support_phrase' = 'yes')) DUPLICATE KEY(id)",
            (
                "invalid INVERTED index:Invalid inverted index 'support_phrase' value: yes, support_phrase"
                " must be true or false"
            ),
        ),
        (
            "(id INT, INDEX i (id) USING NGRAM_BF) DUPLICATE KEY(id)",
            "INT is not supported in ngram_bf index. invalid column: id",
        ),
        (
            "(id INT, s STRING, INDEX i (s) USING NGRAM_BF PROPERTIES('gram_size'='300')) DUPLICATE KEY(id)",
            "invalid ngram bf index params:'gram_size' should be an integer between 1 and 255.",
        ),
    ],
)
def test_refused_definitions(shared: Client, definition: str, detail: str) -> None:
    assert shared.refused(f"CREATE TABLE new {definition} {TAIL.format(more='')}") == (1105, detail)


@pytest.mark.parametrize(
    ("more", "detail"),
    [
        (
            "'bloom_filter_columns' = 'tiny'",
            "TINYINT is not supported in bloom filter index. invalid column: tiny",
        ),
        (
            "'bloom_filter_columns' = 'nope'",
            "Bloom filter column does not exist in table. invalid column: nope",
        ),
        ("'bloom_filter_columns' = 'name, name'", "Reduplicated bloom filter column: name"),
        ("'colour' = 'red'", "Unknown properties: {colour=red}"),
    ],
)
def test_refused_properties(shared: Client, more: str, detail: str) -> None:
    sql = f"CREATE TABLE new (id INT, tiny TINYINT, name VARCHAR(9)) {TAIL.format(more=', ' + more)}"
    assert shared.refused(sql) == (1105, detail)


def test_indexes_are_shown(doris: Client) -> None:
    doris.run(
        "CREATE TABLE t (id INT, s VARCHAR(9), x STRING, INDEX i (s) USING INVERTED PROPERTIES("
        "'parser' = 'english', 'support_phrase' = 'true'), INDEX g (x) USING NGRAM_BF PROPERTIES("
        "'gram_size' = '3', 'bf_size' = '512') COMMENT 'grams') DUPLICATE KEY(id) "
        + TAIL.format(more=", 'bloom_filter_columns' = 'ID,s'")
    )
    text = doris.rows("SHOW CREATE TABLE t")[0][1]
    assert (
        '  INDEX i (`s`) USING INVERTED PROPERTIES("parser" = "english", "support_phrase" = "true"),\n'
        '  INDEX g (`x`) USING NGRAM_BF PROPERTIES("gram_size" = "3", "bf_size" = "512") COMMENT \'grams\'\n'
    ) in text
    assert '"bloom_filter_columns" = "id, s"' in text
    assert [row[12] for row in doris.rows("SHOW INDEX FROM t")] == [
        '("parser" = "english", "support_phrase" = "true")',
        '("gram_size" = "3", "bf_size" = "512")',
    ]
    doris.run("ALTER TABLE t RENAME COLUMN s renamed")
    text = doris.rows("SHOW CREATE TABLE t")[0][1]
    assert "INDEX i (`renamed`)" in text
    assert '"bloom_filter_columns" = "id, renamed"' in text
    doris.run("ALTER TABLE t DROP COLUMN renamed")
    text = doris.rows("SHOW CREATE TABLE t")[0][1]
    assert "INDEX i" not in text
    assert '"bloom_filter_columns" = "id"' in text
