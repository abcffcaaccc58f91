"""PostgreSQL: one server, two databases.

``default`` has users and sessions, ``agent_db`` the agents' tables.
"""

from typing import Any

from dbint.django.conf import ServiceDict
from dbint.django.databases import postgres_database

POSTGRES: ServiceDict = {"database": "agent_runtime"}

DATABASES: dict[str, dict[str, Any]] = {
    "default": postgres_database(dbint={"SERVICES": {"postgres": POSTGRES}}),
    "agent_db": postgres_database(database="agent_db", dbint={"SERVICES": {"postgres": POSTGRES}}),
}
