"""The flow PostgreSQL -> Kafka -> Doris: the state that analytics asks for beside the facts.

``manage.py flow_plan --apply`` makes the tables in Doris, ``manage.py run_flow`` keeps them as PostgreSQL's
are.
"""

from collections.abc import Mapping

from dbint.django.conf import FlowDict

FLOWS: Mapping[str, FlowDict] = {
    "agents": {
        "SOURCE": "agent_db",
        "TARGET": "doris",
        "MODELS": ["python_agent.Agent", "python_agent.Task", "python_agent.Run"],
    }
}
