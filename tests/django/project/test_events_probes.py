"""The probes of events in a project that has no event tables."""

import pytest

from dbint.django.verification.events import NoEventsProbe, alias_of_events
from dbint.django.verification.plan import make_plan
from dbint.verify import Scope
from dbint.verify.probe import ProbeNotConfigured


def test_a_project_without_events_is_told_so() -> None:
    assert alias_of_events() is None
    [probe] = [probe for probe in make_plan().probes if probe.name.startswith("events")]
    assert isinstance(probe, NoEventsProbe)
    with pytest.raises(ProbeNotConfigured) as raised:
        probe.run(Scope(1.0))
    assert "INSTALLED_APPS" in raised.value.advice[0]
