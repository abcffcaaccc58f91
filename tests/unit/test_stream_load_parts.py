"""Labels, options, JSON lines and trusted hosts of the Stream Load client."""

import datetime as dt
import decimal
import enum
import json
import uuid

import pytest

from dbint.errors import ConfigurationError
from dbint.flow.json_lines import json_line_chunks, json_lines
from dbint.flow.labels import check_label, make_label
from dbint.flow.load_options import load_headers
from dbint.flow.trusted_hosts import TrustedHosts


class TestLabels:
    @pytest.mark.parametrize("label", ["a", "A-1_b:c", "x" * 128])
    def test_accepted(self, label):
        assert check_label(label) == label

    @pytest.mark.parametrize("label", ["", "x" * 129, "a.b", "a b", "a/b", "é", "a\n"])
    def test_refused(self, label):
        with pytest.raises(ConfigurationError, match="label"):
            check_label(label)

    def test_made_labels_are_stable_and_valid(self):
        assert make_label("orders", "topic", 3, 10, 19) == make_label("orders", "topic", 3, 10, 19)
        for label in (make_label("orders", 1), make_label("", "é/ \n" * 100), make_label("x" * 500, 0)):
            check_label(label)

    def test_made_labels_do_not_collide(self):
        arguments = [("a", "b-c"), ("a-b", "c"), ("a", "b", "c"), ("a", "b.c"), ("a", "b_c"), ("a", "b\0c")]
        assert len({make_label(*words) for words in arguments}) == len(arguments)

    def test_golden(self):
        """The label of an unfinished load must be the same after an upgrade."""
        assert (
            make_label("orders", "topic", 3, 10, 19)
            == "orders-topic-3-10-19-1f30ec28d747a1cf99630949f8e61e76"
        )


class TestOptions:
    def test_defaults(self):
        assert load_headers("l", "csv", {}, None) == {
            "Expect": "100-continue",
            "group_commit": "off_mode",
            "label": "l",
            "format": "csv",
            "timezone": "UTC",
            "strict_mode": "true",
        }

    def test_json_is_read_by_line_unless_told_otherwise(self):
        assert load_headers("l", "json", {}, None)["read_json_by_line"] == "true"
        headers = load_headers("l", "json", {"strip_outer_array": True}, None)
        assert "read_json_by_line" not in headers
        assert headers["strip_outer_array"] == "true"
        assert load_headers("l", "json", {"read_json_by_line": False}, None)["read_json_by_line"] == "false"

    @pytest.mark.parametrize(
        ("option", "value", "name", "text"),
        [
            ("columns", ["a", "b", "c = a + b"], "columns", "a,b,c = a + b"),
            ("columns", "a,b", "columns", "a,b"),
            ("jsonpaths", ["$.a", "$.b[0]"], "jsonpaths", '["$.a", "$.b[0]"]'),
            ("column_separator", "\t", "column_separator", "\\x09"),
            ("column_separator", "||", "column_separator", "||"),
            ("line_delimiter", "\x01\n", "line_delimiter", "\\x010a"),
            ("max_filter_ratio", 0.25, "max_filter_ratio", "0.25"),
            ("max_filter_ratio", 0, "max_filter_ratio", "0.0"),
            ("timeout", 600, "timeout", "600"),
            ("timezone", "Europe/Berlin", "timezone", "Europe/Berlin"),
            ("sequence_column", "version", "function_column.sequence_col", "version"),
            ("num_as_string", True, "num_as_string", "true"),
            ("partial_update_new_key_behavior", "ERROR", "partial_update_new_key_behavior", "ERROR"),
            ("empty_field_as_null", True, "empty_field_as_null", "true"),
            ("partitions", ["p1", "p2"], "partitions", "p1,p2"),
            ("where", "name = 'Köln'", "where", "name = 'Köln'"),
        ],
    )
    def test_headers(self, option, value, name, text):
        assert load_headers("l", "csv", {option: value}, None)[name] == text

    @pytest.mark.parametrize(
        "options",
        [
            {"max_filter_ratio": 1.5},
            {"max_filter_ratio": True},
            {"timeout": 0},
            {"timeout": "10"},
            {"strict_mode": "true"},
            {"skip_lines": 1.0},
            {"merge_type": "MERGE"},
            {"where": "a = 1\r\nlabel: other"},
            {"colums": "a"},
            {"columns": 5},
        ],
    )
    def test_refused(self, options):
        with pytest.raises(ConfigurationError):
            load_headers("l", "csv", options, None)

    @pytest.mark.parametrize(
        "name", ["group_commit", "Two_Phase_Commit", "label", "Authorization", "Expect", "Content-Length"]
    )
    def test_headers_that_would_break_the_promise(self, name):
        with pytest.raises(ConfigurationError, match=name):
            load_headers("l", "csv", {}, {name: "x"})

    def test_further_headers(self):
        assert load_headers("l", "csv", {}, {"redirect-policy": "direct"})["redirect-policy"] == "direct"
        with pytest.raises(ConfigurationError, match="control character"):
            load_headers("l", "csv", {}, {"x": "a\nb"})

    def test_partial_updates_name_their_columns(self):
        options = {"partial_columns": True, "columns": ["id", "name"]}
        assert load_headers("l", "csv", options, None)["partial_columns"] == "true"
        for incomplete in ({"partial_columns": True}, {"unique_key_update_mode": "UPDATE_FIXED_COLUMNS"}):
            with pytest.raises(ConfigurationError, match="columns="):
                load_headers("l", "csv", incomplete, None)

    def test_group_commit_has_no_label(self):
        headers = load_headers(None, "csv", {}, None, group_commit="sync_mode")
        assert headers["group_commit"] == "sync_mode"
        assert "label" not in headers

    def test_unknown_format(self):
        with pytest.raises(ConfigurationError, match="xml"):
            load_headers("l", "xml", {}, None)


class Colour(enum.Enum):
    RED = "red"


class TestJsonLines:
    def test_values(self):
        berlin = dt.timezone(dt.timedelta(hours=2))
        row = {
            "text": "Zürich \u2028 \n 🦉",
            "none": None,
            "flag": True,
            "int": 2**63 - 1,
            "large": -(2**127),
            "decimal": decimal.Decimal("1E+3"),
            "exact": decimal.Decimal("0.10"),
            "float": 0.1,
            "naive": dt.datetime(2026, 1, 2, 3, 4, 5, 678901),
            "aware": dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=berlin),
            "date": dt.date(2026, 1, 2),
            "uuid": uuid.UUID(int=5),
            "enum": Colour.RED,
            "json": {"a": [1, decimal.Decimal("2.5")], 3: None},
        }
        assert json.loads(json_lines([row])) == {
            "text": "Zürich \u2028 \n 🦉",
            "none": None,
            "flag": True,
            "int": 2**63 - 1,
            "large": str(-(2**127)),
            "decimal": "1000",
            "exact": "0.10",
            "float": 0.1,
            "naive": "2026-01-02 03:04:05.678901",
            "aware": "2026-01-02 01:04:05",
            "date": "2026-01-02",
            "uuid": "00000000-0000-0000-0000-000000000005",
            "enum": "red",
            "json": {"a": [1, "2.5"], "3": None},
        }

    def test_one_line_a_row(self):
        assert json_lines([{"a": "x\ny"}, {"a": "é"}]) == '{"a":"x\\ny"}\n{"a":"é"}\n'.encode()

    @pytest.mark.parametrize(
        "value",
        [float("nan"), float("inf"), decimal.Decimal("NaN"), b"bytes", object(), {"deep": [float("inf")]}],
    )
    def test_what_cannot_be_written_names_row_and_column(self, value):
        with pytest.raises(ConfigurationError, match="row 1, column 'c'"):
            json_lines([{"c": 1}, {"c": value}])

    def test_lone_surrogate(self):
        with pytest.raises(ConfigurationError, match="row 0"):
            json_lines([{"c": "\ud800"}])


class TestJsonLineChunks:
    def test_pieces_are_the_whole(self):
        rows = [{"n": n, "text": "x" * 100} for n in range(1000)]
        pieces = list(json_line_chunks(rows, size=4096))
        assert b"".join(pieces) == json_lines(rows)
        assert len(pieces) > 10
        assert max(map(len, pieces)) < 4096 + 200

    def test_rows_are_asked_for_when_they_are_sent(self):
        def rows():
            yield from ({"n": n} for n in range(100))
            raise AssertionError("too early")

        assert next(json_line_chunks(rows(), size=100)).startswith(b'{"n":0}\n')


class TestTrustedHosts:
    @pytest.mark.parametrize(
        ("allowed", "host", "trusted"),
        [
            ([], "127.0.0.1", True),
            ([], "127.8.9.1", True),
            ([], "localhost", True),
            ([], "[::1]", True),
            ([], "fe.example", True),
            ([], "FE.example.", True),
            ([], "be.example", False),
            ([], "10.0.0.5", False),
            (["be.example"], "be.example", True),
            (["be.example"], "evil-be.example", False),
            (["be.example"], "be.example.evil.org", False),
            ([".doris.svc"], "be-0.doris.svc", True),
            ([".doris.svc"], "doris.svc", False),
            ([".doris.svc"], "evildoris.svc", False),
            (["10.0.0.0/8"], "10.200.3.4", True),
            (["10.0.0.0/8"], "11.0.0.1", False),
            (["10.0.0.5"], "10.0.0.5", True),
            (["*"], "anything.example", True),
        ],
    )
    def test_rules(self, allowed, host, trusted):
        hosts = TrustedHosts(["http://fe.example:8030"], allowed, {})
        location = f"http://user:secret@{host}:8040/path?file=x"
        if trusted:
            target = hosts.follow("http://fe.example:8030", location)
            assert target.endswith(":8040/path?file=x")
            assert "secret" not in target
        else:
            with pytest.raises(ConfigurationError, match="allowed_hosts"):
                hosts.follow("http://fe.example:8030", location)

    def test_an_at_sign_in_the_password_does_not_move_the_host(self):
        hosts = TrustedHosts(["http://fe:8030"], [], {})
        with pytest.raises(ConfigurationError, match=r"evil\.example") as caught:
            hosts.follow("http://fe:8030", "http://user:p@127.0.0.1:8040@evil.example:80/")
        assert "user" not in str(caught.value)

    def test_default_ports(self):
        hosts = TrustedHosts(["http://fe:8030"], ["be"], {"be:80": "127.0.0.1:18040"})
        assert hosts.follow("http://fe:8030", "http://be/x") == "http://127.0.0.1:18040/x"
        assert hosts.follow("http://fe:8030", "https://be/x") == "https://be:443/x"
