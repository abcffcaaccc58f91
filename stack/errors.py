"""The one exception of the stack."""


class StackError(Exception):
    """The message says what was wrong, where, and what to do; it holds no secret."""
