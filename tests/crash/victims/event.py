"""The numbered events of the ``events`` scenario, as its victim makes and its account expects them."""

TABLE = "public.crash_events"
UNITS = 5  # events a call

# What the server refuses: such an event can only become a dead letter.
POISON = "poison"

DEFINITION = f"""
CREATE TABLE {TABLE} (
    event_id uuid NOT NULL, at timestamptz NOT NULL,
    caller int4 NOT NULL, number int8 NOT NULL, unit int4 NOT NULL,
    payload text NOT NULL CHECK (payload <> '{POISON}')
);
CREATE INDEX ON {TABLE} (event_id); -- not unique: what has landed twice is to be seen twice
CREATE INDEX ON {TABLE} (caller, number);
"""

COLUMNS = {
    "event_id": "uuid",
    "at": "timestamptz",
    "caller": "int4",
    "number": "int8",
    "unit": "int4",
    "payload": "text",
}
FILL = {"event_id": "uuid7", "at": "now"}


def is_poison(number: int, unit: int) -> bool:
    """About one event in three thousand."""
    return (number * UNITS + unit) % 2_999 == 1_234


def payload(caller: int, number: int, unit: int) -> str:
    """Follows from the event's numbers, is of many lengths, and not only ASCII."""
    if is_poison(number, unit):
        return POISON
    return f"{caller}/{number}/{unit} é" * (1 + (caller + number + unit) % 20)
