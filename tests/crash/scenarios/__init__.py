"""What is broken: one module for each scenario, found by name."""

from tests.crash.frame import Scenario
from tests.crash.scenarios.events import EventsScenario
from tests.crash.scenarios.flow import FlowScenario
from tests.crash.scenarios.produce import ProduceScenario
from tests.crash.scenarios.stream_load import StreamLoadScenario

SCENARIOS: dict[str, type[Scenario]] = {
    scenario.name: scenario
    for scenario in (EventsScenario, FlowScenario, ProduceScenario, StreamLoadScenario)
}
