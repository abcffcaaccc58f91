"""The partitions in Doris' ``SHOW CREATE TABLE``; dbint.doris.show_create reads the rest of it."""

from dbint.django.backends.doris.partitions import MAXVALUE, FixedRange, InValues, LessThan, Partition, Value
from dbint.doris.show_create import StatementReader


def read_partitions(text: str) -> list[Partition]:
    """The partitions that stand in what follows PARTITION BY. Raises ValueError for what cannot be read."""
    reader = StatementReader(text)
    try:
        while reader.peek() != "(":
            reader.take()
        reader.group()
        reader.take()
        found: list[Partition] = []
        while not reader.eat(")"):
            found.append(_partition(reader))
            reader.eat(",")
    except (IndexError, ValueError) as error:
        raise ValueError(f"not the partitions of a table ({error}): {text[:200]}") from None
    return found


def _partition(reader: StatementReader) -> Partition:
    if not reader.eat("PARTITION"):
        raise ValueError(f"unexpected {reader.peek()!r}")
    name = reader.take()
    if not reader.eat("VALUES"):
        raise ValueError(f"partition {name} takes all other values")
    part: Partition
    if reader.eat("["):
        lower = _values(reader)
        reader.eat(",")
        upper = _values(reader)
        if not reader.eat(")"):
            raise ValueError(f"the range of {name} does not end")
        part = FixedRange(name, lower, upper)
    elif reader.eat("LESS", "THAN"):
        part = LessThan(name, (MAXVALUE,) if reader.eat("MAXVALUE") else _values(reader))
    elif reader.eat("IN"):
        rows: list[tuple[Value, ...]] = []
        if reader.peek(1) == "(":
            reader.take()
            while not reader.eat(")"):
                rows.append(_values(reader))
                reader.eat(",")
        else:
            rows = [(value,) for value in _values(reader)]
        part = InValues(name, tuple(rows))
    else:
        raise ValueError(f"unexpected {reader.peek()!r}")
    if reader.peek() == "(":
        reader.group()  # properties
    return part


def _values(reader: StatementReader) -> tuple[Value, ...]:
    if not reader.eat("("):
        raise ValueError(f"unexpected {reader.peek()!r}")
    found: list[Value] = []
    while not reader.eat(")"):
        if reader.eat("MAXVALUE"):
            found.append(MAXVALUE)
        elif reader.eat("NULL"):
            found.append(None)
        elif reader.peek()[:1] in "'\"":
            found.append(reader.take())
        else:
            sign = -1 if reader.eat("-") else 1
            found.append(sign * int(reader.take()))
        reader.eat(",")
    return tuple(found)
