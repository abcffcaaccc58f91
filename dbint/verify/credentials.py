"""Are credentials managed by HashiCorp Vault? This version of dbint reads none from it, and says so."""

import os
from dataclasses import dataclass

from dbint.verify.probe import Probe, ProbeNotConfigured, Scope


@dataclass(frozen=True, kw_only=True)
class VaultProbe(Probe):
    """Never passes: no credential comes from Vault yet, whatever its address says."""

    group: str = "credentials"

    def run(self, scope: Scope) -> str:
        del scope
        if os.environ.get("VAULT_ADDR"):
            raise ProbeNotConfigured(
                "VAULT_ADDR is set, and this version of dbint takes no credentials from Vault: "
                "the connection probes say where each came from"
            )
        raise ProbeNotConfigured(
            "VAULT_ADDR is not set: the connection probes say where credentials came from"
        )
