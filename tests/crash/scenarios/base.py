"""What scenarios share that break one server of the stack."""

from contextlib import ExitStack

from stack import Stack
from stack.disposable import disposable_stack
from tests.crash.frame import Scenario


class StackScenario(Scenario):
    """A scenario with one server of its own, which goes when the run does, even when that is killed."""

    server: str
    stack: Stack

    def setup(self) -> None:
        self._open = ExitStack()
        self.stack = self._open.enter_context(disposable_stack())
        self.stack.up([self.server])

    def kill_server(self) -> None:
        self.stack.kill(self.server)

    def restart_server(self) -> None:
        self.stack.start(self.server)

    def teardown(self) -> None:
        self._open.close()
