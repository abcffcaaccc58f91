"""Apache Doris: the facts for analytics, under the alias ``doris``."""

from typing import Any

from dbint.django.conf import DorisDict
from dbint.django.databases import doris_database

DORIS: DorisDict = {"connect_timeout": 5.0}

DATABASES: dict[str, dict[str, Any]] = {
    "doris": doris_database(database="agent_analytics", dbint={"DORIS": DORIS}, stream_load=True)
}
