"""One half of the flow, in a process of its own: arguments capture|sink."""

import logging
import signal
import sys

from dbint.flow.runner import PARTS, Runner
from tests.crash.victims.flow import flow_config


def main(name: str) -> int:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    runner = Runner(flow_config(), parts=[part for part in PARTS if part == name])
    signal.signal(signal.SIGTERM, lambda _number, _frame: runner.stop())
    return runner.run()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
