"""The programs that are timed: each is run in a process of its own, by ``python -m``."""
