"""For the tests of projects that use dbint.

:func:`capture_events` keeps the events of a test in a list instead of a database; :func:`flush_events` waits
until those of a test with a real database have landed. The pytest plugin (installed with dbint) has the
fixtures ``captured_events`` and ``event_layer``; :class:`EventsMixin` is for unittest and Django's TestCase.
"""

from dbint.testing.events import CapturedEvent, CapturedEvents, EventsMixin, capture_events, flush_events

__all__ = ["CapturedEvent", "CapturedEvents", "EventsMixin", "capture_events", "flush_events"]
