"""The project's databases when Vault is not configured."""

from typing import Any

from . import database_config_doris, database_config_postgres

DATABASES: dict[str, dict[str, Any]] = {
    **database_config_postgres.DATABASES,
    **database_config_doris.DATABASES,
}
