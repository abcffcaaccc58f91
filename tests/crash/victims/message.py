"""The numbered messages of the ``produce`` scenario, as its victim makes and its account expects them."""

PARTITIONS = 3
EVENT_ID = "event-id"


def event_id(name: int) -> bytes:
    """What the header and the key of message ``name`` hold."""
    return b"%d" % name


def payload(name: int) -> bytes:
    """200 bytes that follow from the message's number."""
    return (b"%d " % name * 200)[:200]
