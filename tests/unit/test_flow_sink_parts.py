"""The parts of the sink that need no server: notes, labels, what a message says of itself."""

import io
import json

import pytest

from dbint.flow.dead_letters import DeadLetter
from dbint.flow.ranges import Lines, Note, Piece, Range, commit_time, field_names, sequence_of
from dbint.flow.toast import PLACEHOLDERS, missing_columns
from dbint.kafka import Message
from tests.integration.sink_messages import PLACEHOLDER, change


def message(value: bytes | None, headers: tuple[tuple[str, bytes], ...] = (), offset: int = 7) -> Message:
    return Message(("shop.public.orders", 3, offset, 1_700_000_000_000, b'{"id":1}', value, headers))


@pytest.mark.parametrize(
    "note",
    [
        Note(),
        Note(end=0),
        Note(end=12, at=1_700_000_000_000),
        Note(committed_ms=5, visible_ms=9, p50_ms=1, p99_ms=2),
        Note(end=2**62, at=2**43, committed_ms=2**43, visible_ms=2**43, p50_ms=2**31, p99_ms=2**31),
        Note(end=3, at=2**43, since_ms=2**43, attempts=7, told_ms=2**43, held=True, trouble="a=1: ü 'x'"),
    ],
)
def test_a_note_is_read_as_it_was_written(note: Note) -> None:
    assert Note.parse(note.text()) == note
    assert len(note.text()) < 200


def test_a_note_keeps_within_what_brokers_take() -> None:
    note = Note(end=3, since_ms=2**43, trouble="x" * 5000 + "\n")
    assert Note.parse(note.text()).trouble == "x" * 400
    assert Note.parse(Note(end=1, trouble="two\n  lines").text()).trouble == "two lines"


@pytest.mark.parametrize(
    "text", [None, "", "range 25-27", "dbint1", "dbint1 end=x", "dbint2 end=5", "dbint1 end=5\n", "dbint1: x"]
)
def test_what_others_have_committed_is_no_note(text: str | None) -> None:
    assert Note.parse(text) == Note()


def test_labels_differ_where_ranges_do() -> None:
    def label(start: int, end: int, at: int, stage: int = 0, path: str = "") -> str:
        return Range("shop.public.orders", 3, start, end, at, ()).label("shop", stage, path)

    labels = {
        label(0, 5, 1),
        label(0, 6, 1),
        label(1, 5, 1),
        label(0, 5, 2),
        label(0, 5, 1, 1),
        label(0, 5, 1, 0, "0"),
        label(0, 5, 1, 0, "01"),
        label(0, 5, 1, 1, "0"),
    }
    assert len(labels) == 8
    assert label(0, 5, 1) in labels
    assert all(len(name) <= 128 for name in labels)


class Values:
    """The part of a batch that Lines asks for."""

    def __init__(self, *values: bytes) -> None:
        self.values = values

    def concat(self, separator: bytes, topic: str, partition: int, *, only: list[int]) -> bytes:
        return separator.join(self.values[number] for number in only)

    def concat_size(self, *arguments: object, **which: list[int]) -> int:
        return len(self.concat(*arguments, **which))


def test_lines_are_made_while_they_are_read_and_again() -> None:
    def piece(*values: bytes) -> Piece:
        return Piece(Values(*values), 0, len(values), len(values), 0, 0)  # type: ignore[arg-type]

    chosen = [
        (piece(b"a", b"bc"), {"only": [0, 1]}),
        (piece(b""), {"only": [0]}),
        (piece(b"def"), {"only": [0]}),
    ]
    lines = Lines("t", 0, chosen)
    assert lines.size == len(b"a\nbc\ndef")
    assert lines.seekable()
    assert [lines.read(3), lines.read(3), lines.read(100), lines.tell()] == [b"a\nb", b"c", b"\n", 5]
    assert lines.seek(0, io.SEEK_END) == lines.size
    assert lines.read() == b""
    assert lines.seek(0) == 0
    assert lines.read() == b"a\nbc\ndef"
    with pytest.raises(io.UnsupportedOperation):
        lines.seek(2)
    assert Lines("t", 0, []).size == 0


def test_missing_columns_by_header_and_by_placeholder() -> None:
    value = change("u", number=1, sequence=(1, 1), after={"a": PLACEHOLDER, "b": [PLACEHOLDER], "c": "x"})
    assert missing_columns(message(value)) == ("a", "b")
    listed = (("dbint.unchanged", rb"c,with\, comma,back\\slash"),)
    assert missing_columns(message(value, listed)) == ("back\\slash", "c", "with, comma")


def test_the_placeholders_are_json() -> None:
    assert json.loads(PLACEHOLDERS[0]) == PLACEHOLDER
    assert json.loads(json.loads(PLACEHOLDERS[-1])) == {PLACEHOLDER: PLACEHOLDER}
    assert bytes(json.loads(PLACEHOLDERS[3])).decode() == PLACEHOLDER


def test_what_a_message_says_of_its_change() -> None:
    value = change("u", number=1, sequence=(2, 3), after={"a": 1}, ts_ms=99)
    assert sequence_of(message(value)) == 2 * 2**64 + 3
    assert commit_time(message(value)) == 99
    assert field_names(message(value)) == {"id", "a"}
    assert commit_time(message(change("r", number=1, sequence=(2, 2), snapshot=True))) is None
    assert commit_time(message(change("d", number=1, sequence=(2, 2), ts_ms=5))) == 5
    assert field_names(message(change("d", number=1, sequence=(2, 2)))) == frozenset()
    for other in (None, b"", b"no JSON", b"[]", b"{}"):
        assert commit_time(message(other)) is None
        assert sequence_of(message(other)) == 0
    first = json.dumps({"source": {"sequence": '[null,"7"]'}}).encode()
    assert sequence_of(message(first)) == 7


def test_a_dead_letter_is_read_as_it_was_written() -> None:
    origin = message(b'{"op":"c"}', (("x", b"1"), ("dbint.unchanged", b"doc")))
    letter = DeadLetter.of(origin, reason="the value\n is too long " + "x" * 2000, table="d.t", label="l")
    assert letter.reason.startswith("the value is too long x")
    assert len(letter.reason) == 1000
    written = Message(("shop.dead-letter", 0, 0, 0, letter.key, letter.value, tuple(letter.own_headers())))
    assert DeadLetter.read(written) == letter
    assert letter.headers == (("x", b"1"), ("dbint.unchanged", b"doc"))
    assert DeadLetter.read(origin) is None
