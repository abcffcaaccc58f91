"""Does the circuit breaker stop calls to a dead server, look again, and close when the server is back?"""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from dbint.breaker import CircuitBreaker, CircuitState
from dbint.errors import CircuitOpenError
from dbint.verify.probe import Probe, ProbeFailed, Scope

FAILURES = 5
PROBES = 3
RECOVERY = 0.2  # seconds; the library's default of 60 would be no probe


@dataclass(frozen=True, kw_only=True)
class BreakerProbe(Probe):
    """Guards connections to a port of this machine: dead first, then alive."""

    group: str = "breaker"
    deadline: float = 5.0

    def run(self, scope: Scope) -> str:
        breaker = CircuitBreaker(
            "dbint-verify", failure_threshold=FAILURES, recovery_timeout=RECOVERY, half_open_calls=PROBES
        )
        with socket.socket() as server:
            # Bound and not listening: nobody else gets the port, and it refuses every connection.
            server.bind(("127.0.0.1", 0))
            address = server.getsockname()

            def call() -> None:
                with breaker, socket.create_connection(address, timeout=1):
                    pass

            scope.doing("the breaker to open")
            for _ in range(FAILURES):
                self.expect(breaker, CircuitState.CLOSED)
                self.refused(call)
            self.expect(breaker, CircuitState.OPEN)
            self.stopped(call)
            scope.doing("a probe to find the port still dead")
            self.wait_for_a_probe(scope, call, alive=False)
            self.expect(breaker, CircuitState.OPEN)
            server.listen(PROBES + 1)
            scope.doing("the probes to find the port alive")
            self.wait_for_a_probe(scope, call, alive=True)
            self.expect(breaker, CircuitState.HALF_OPEN)
            for _ in range(PROBES - 1):
                call()
            self.expect(breaker, CircuitState.CLOSED)
        return (
            f"opened after {FAILURES} refused connections, stopped calls, opened again on a failed probe, "
            f"closed after {PROBES} good ones"
        )

    def expect(self, breaker: CircuitBreaker, state: CircuitState) -> None:
        if breaker.state is not state:
            raise ProbeFailed(f"the breaker is {breaker.state.name}, and should be {state.name}")

    def refused(self, call: Callable[[], None]) -> None:
        try:
            call()
        except ConnectionRefusedError:
            return
        raise ProbeFailed("a dead port took a connection")

    def stopped(self, call: Callable[[], None]) -> None:
        try:
            call()
        except CircuitOpenError:
            return
        except ConnectionRefusedError:
            pass
        raise ProbeFailed("the open breaker let a call through")

    def wait_for_a_probe(self, scope: Scope, call: Callable[[], None], *, alive: bool) -> None:
        """Calls until the breaker lets one through, which must not be before its wait is over."""
        began = time.monotonic()
        while True:
            try:
                call()
            except CircuitOpenError:
                scope.sleep(RECOVERY / 20)
                continue
            except ConnectionRefusedError:
                if alive:
                    raise
            break
        if time.monotonic() - began < RECOVERY / 2:
            raise ProbeFailed("the open breaker let a probe through before its time")
