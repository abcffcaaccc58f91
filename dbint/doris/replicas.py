"""How many replicas a new table gets where nobody says."""

DEFAULT = 3  # Doris' own


def replicas_for(alive_backends: int) -> int:
    """Doris' default fails on a cluster of fewer backends, so such a table gets as many as there are. 0: how
    many there are is not known, and it is left to Doris.
    """
    return min(DEFAULT, alive_backends)
