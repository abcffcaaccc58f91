"""The development stack: real servers from packages, without a container engine. ``python3 -m stack --help``.

from stack import Stack
stack = Stack(Path("/tmp/example"))
stack.up(["postgres", "kafka"])
stack.endpoint("kafka").port
stack.kill("kafka")
stack.down()
"""

import sys

# Run by whatever python3 the machine has, before there is an environment.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit("the stack needs Python 3.11 or newer, not " + sys.version.split()[0])

from stack.errors import StackError
from stack.supervisor import Endpoint, Stack, Status

__all__ = ["Endpoint", "Stack", "StackError", "Status"]
