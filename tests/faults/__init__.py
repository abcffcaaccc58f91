"""Ways to break what lies between a client and its server, and below a process: for the tests of faults."""

from tests.faults.disk import small_disk
from tests.faults.toxiproxy import Proxy, Toxiproxy

__all__ = ["Proxy", "Toxiproxy", "small_disk"]
