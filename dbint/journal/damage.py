"""The one thing that goes wrong while stored bytes are read."""


class DamageError(ValueError):
    """The bytes are not what the format says. The message says how; it shows no stored value."""
