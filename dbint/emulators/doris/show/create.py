"""A table's definition as SHOW CREATE TABLE prints it; what is printed can be run again."""

from dbint.emulators.doris.tables import partitions
from dbint.emulators.doris.tables.model import Table, quoted, single_quoted


def create_table_sql(table: Table) -> str:
    """CREATE TABLE as SHOW CREATE TABLE prints it."""
    lines = [f"  {c.sql}" for c in table.columns] + [f"  {i.sql}" for i in table.indexes]
    keys = ", ".join(f"`{c.name}`" for c in table.keys)
    text = (
        f"CREATE TABLE `{table.name}` (\n" + ",\n".join(lines) + f"\n) ENGINE=OLAP\n{table.model} KEY({keys})"
    )
    if table.comment:
        text += f"\nCOMMENT {single_quoted(table.comment)}"
    text += _partition_sql(table)
    if table.distribution:
        text += (
            f"\nDISTRIBUTED BY HASH({', '.join(f'`{c}`' for c in table.distribution)}) BUCKETS"
            f" {table.buckets}"
        )
    else:
        text += f"\nDISTRIBUTED BY RANDOM BUCKETS {table.buckets}"
    properties = ",\n".join(f"{quoted(k)} = {quoted(v)}" for k, v in table.properties.items())
    return f"{text}\nPROPERTIES (\n{properties}\n);"


def _partition_sql(table: Table) -> str:
    partitioning = table.partitioning
    if partitioning is None:
        return ""
    columns = ", ".join(f"`{c}`" for c in partitioning.columns)
    if partitioning.auto and partitioning.kind == "RANGE":
        head = f"AUTO PARTITION BY RANGE (date_trunc({columns}, '{partitioning.unit}'))"
    else:
        head = f"{'AUTO ' if partitioning.auto else ''}PARTITION BY {partitioning.kind}({columns})"
    lowest = f"('{partitions.minimum(table.column(partitioning.columns[0]).type)}')"
    parts = []
    for part in partitioning.partitions:
        if partitioning.kind == "LIST":
            values = ",".join(_tuple(v) if len(v) > 1 else f"({_item(v[0])})" for v in part.values)
            parts.append(f"PARTITION {part.name} VALUES IN ({values})")
        else:
            lower = _tuple(part.lower) if part.lower is not None else lowest
            upper = _tuple(part.upper) if part.upper is not None else "(MAXVALUE)"
            parts.append(f"PARTITION {part.name} VALUES [{lower}, {upper})")
    return f"\n{head}\n(" + ",\n".join(parts) + ")"


def _tuple(values: tuple[str | None, ...]) -> str:
    return "(" + ", ".join(_item(v) for v in values) + ")"


def _item(value: str | None) -> str:
    return "NULL" if value is None else f"'{value}'"
