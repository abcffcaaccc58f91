"""The project's entry to HashiCorp Vault.

Credentials do not come from Vault yet: both ways to log in say so, and settings.py goes on with
database_config.
"""

import os
from typing import Any, NoReturn

from dbint.discovery import is_running_in_kubernetes
from dbint.errors import ConfigurationError


class VaultNotConfiguredError(ConfigurationError):
    """Vault is not there to be asked."""


class VaultClient:
    """The connection to Vault."""

    def authenticate_kubernetes(self) -> NoReturn:
        """Logs in with the pod's service account. Raises VaultNotConfiguredError."""
        self._refuse()

    def authenticate_token(self) -> NoReturn:
        """Logs in with ``VAULT_TOKEN``. Raises VaultNotConfiguredError."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        if not os.environ.get("VAULT_ADDR"):
            raise VaultNotConfiguredError("Vault is not configured (VAULT_ADDR is unset)")
        raise VaultNotConfiguredError(
            "VAULT_ADDR is set, and this version reads no credentials from Vault: unset it, or give the "
            "credentials by environment variables or files"
        )


class DatabaseSecrets:
    """Makes ``settings.DATABASES`` with credentials from Vault."""

    def __init__(self, client: VaultClient) -> None:
        self.client = client

    def configure_django_databases(self) -> dict[str, dict[str, Any]]:
        """The databases by alias. Raises VaultNotConfiguredError."""
        if is_running_in_kubernetes():
            self.client.authenticate_kubernetes()
        else:
            self.client.authenticate_token()


vault_client = VaultClient()
database_secrets = DatabaseSecrets(vault_client)
