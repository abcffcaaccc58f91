"""The one exception of the stack."""


class StackError(Exception):
    """Something the reader can mend; the message says what was wrong, where, and what to do. Never holds a secret."""
