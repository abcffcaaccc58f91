from django.apps import AppConfig


class PythonAgentConfig(AppConfig):
    """``python_agent``: state in PostgreSQL (alias agent_db), facts for analytics in Doris (alias doris)."""

    name = "apps.python_agent"
    label = "python_agent"
    verbose_name = "Python agents"
